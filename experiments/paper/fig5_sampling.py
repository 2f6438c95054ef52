"""Figure 5, left: how training samples the units of a video for the cascade.

The paper (THUMOS14): sparse sampling is best, shot-based sampling better than uniform sampling;
it plots mAP against tIoU for the cascaded classification module and prints no figures.

    python -m experiments.run fig5_sampling --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains one cascade per sampling, seed and stream; the module is judged by itself, without attention.
Writes fig5_sampling.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

ALONE = "localization.attention=false"
STUDY = Study(
    title="Figure 5, left: sampling in the cascade",
    paper="sparse sampling best, then shot-based, then uniform (THUMOS14, drawn without figures).",
    variants=(
        Variant("uniform", ("cascade.sampling=uniform", ALONE)),
        Variant("shot-based", ("cascade.sampling=shot", ALONE)),
        Variant("sparse", (ALONE,)),
    ),
    reference=0,
)
