"""Table 3: what each part of the method adds, from one training per seed and control row.

The paper (THUMOS14, mAP at tIoU 0.5): original T-CAS 11.4, with mining T-CAS 14.5, with the
pyramidal attention map 16.1.

Two control rows that the paper does not have tell what erasing adds from what a second classifier
adds by itself: two classifiers without any erasing, and with random erasing (Hide-and-Seek), both
trained for it, without attention, and joined by the maximum as in the row of mining.

    cpmn-build-records --source=watch --output_dir=runs/watch
    python -m experiments.run table3 --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Two minutes a seed on `watch` on 2 cores, and half as long again for the two control rows. Writes
table3.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

ALONE = "localization.attention=false"
# Of one training; `make demo` shows them.
PARTS = (
    Variant("original T-CAS", (ALONE, "localization.mining=false")),
    Variant("+ mining T-CAS", (ALONE,)),
    Variant("+ attention (CPMN)"),
)
TO = tuple(part.name for part in PARTS[:2])
STUDY = Study(
    title="Table 3: parts of CPMN",
    paper="original T-CAS 11.4, + mining T-CAS 14.5, + attention 16.1 (THUMOS14, tIoU 0.5).",
    variants=(
        *PARTS,
        Variant("two classifiers, no erasing, no attention", (ALONE, "cascade.erasing=none"), TO),
        Variant(
            "two classifiers, random erasing, no attention", (ALONE, "cascade.erasing=random"), TO
        ),
    ),
)
