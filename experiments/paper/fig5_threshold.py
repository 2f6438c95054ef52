"""Figure 5, right: the erasing threshold ζ from 0.3 to 0.7.

The paper (THUMOS14): 0.4 is best, larger and smaller ones fail to make the second classifier mine
entire regions; it plots mAP against tIoU for the two-stage module and prints no figures.

    python -m experiments.paper.fig5_threshold --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains one cascade per threshold, seed and stream; the module is judged by itself, without
attention. Writes fig5_threshold.json, .md and .png.
"""

import sys

from absl import flags

from cpmn_tf.commands import cli
from experiments.harness.report import write
from experiments.harness.study import Study, Variant, define_flags

PAPER = "0.4 best of 0.3, 0.4, 0.5, 0.6, 0.7 (THUMOS14, drawn without figures)."
ALONE = "localization.attention=false"
VARIANTS = [
    Variant(f"ζ = {zeta}", (f"cascade.threshold={zeta}", ALONE))
    for zeta in ("0.3", "0.4", "0.5", "0.6", "0.7")
]


def run(values: flags.FlagValues) -> None:
    """Runs all thresholds and seeds."""
    study = Study(values)
    results = study.results(VARIANTS)
    title = "Figure 5, right: erasing threshold"
    write(study, "fig5_threshold", title, PAPER, VARIANTS, results, reference=1)


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.paper.fig5_threshold", __doc__, define_flags, run))
