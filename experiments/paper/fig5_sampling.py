"""Figure 5, left: how training samples the units of a video for the cascade.

The paper (THUMOS14): sparse sampling is best, shot-based sampling better than uniform sampling;
it plots mAP against tIoU for the cascaded classification module and prints no figures.

    python -m experiments.paper.fig5_sampling --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains one cascade per sampling, seed and stream; the module is judged by itself, without attention.
Writes fig5_sampling.json, .md and .png.
"""

import sys

from absl import flags

from cpmn_tf.commands import cli
from experiments.harness.report import write
from experiments.harness.study import Study, Variant, define_flags

PAPER = "sparse sampling best, then shot-based, then uniform (THUMOS14, drawn without figures)."
ALONE = "localization.attention=false"
VARIANTS = [
    Variant("uniform", ("cascade.sampling=uniform", ALONE)),
    Variant("shot-based", ("cascade.sampling=shot", ALONE)),
    Variant("sparse", (ALONE,)),
]


def run(values: flags.FlagValues) -> None:
    """Runs all samplings and seeds."""
    study = Study(values)
    results = study.results(VARIANTS)
    title = "Figure 5, left: sampling in the cascade"
    write(study, "fig5_sampling", title, PAPER, VARIANTS, results, reference=0)


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.paper.fig5_sampling", __doc__, define_flags, run))
