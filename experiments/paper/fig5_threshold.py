"""Figure 5, right: the erasing threshold ζ from 0.3 to 0.7.

The paper (THUMOS14): 0.4 is best, larger and smaller ones fail to make the second classifier mine
entire regions; it plots mAP against tIoU for the two-stage module and prints no figures.

    python -m experiments.run fig5_threshold --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains one cascade per threshold, seed and stream; the module is judged by itself, without
attention. Writes fig5_threshold.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

STUDY = Study(
    title="Figure 5, right: erasing threshold",
    paper="0.4 best of 0.3, 0.4, 0.5, 0.6, 0.7 (THUMOS14, drawn without figures).",
    variants=[
        Variant(f"ζ = {zeta}", (f"cascade.threshold={zeta}", "localization.attention=false"))
        for zeta in ("0.3", "0.4", "0.5", "0.6", "0.7")
    ],
    reference=1,
)
