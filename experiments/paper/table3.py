"""Table 3: what each part of the method adds, from one training per seed.

The paper (THUMOS14, mAP at tIoU 0.5): original T-CAS 11.4, with mining T-CAS 14.5, with the
pyramidal attention map 16.1.

    cpmn-build-records --source=watch --output_dir=runs/watch
    python -m experiments.run table3 --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Two minutes a seed on `watch` on 2 cores. Writes table3.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

STUDY = Study(
    title="Table 3: parts of CPMN",
    paper="original T-CAS 11.4, + mining T-CAS 14.5, + attention 16.1 (THUMOS14, tIoU 0.5).",
    variants=(
        Variant("original T-CAS", ("localization.attention=false", "localization.mining=false")),
        Variant("+ mining T-CAS", ("localization.attention=false",)),
        Variant("+ attention (CPMN)"),
    ),
)
