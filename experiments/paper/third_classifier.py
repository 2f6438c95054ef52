"""Section 4.3: one, two and three cascaded classifiers.

The paper: a third classifier, fed what the first two left, gives no significant improvement. The
row of one classifier is the CAM baseline, trained alone.

    python -m experiments.paper.third_classifier --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains one cascade per number of classifiers, seed and stream; the module is judged by itself,
without attention. Writes third_classifier.json, .md and .png.
"""

import sys

from absl import flags

from cpmn_tf.commands import cli
from experiments.harness.report import write
from experiments.harness.study import Study, Variant, define_flags

PAPER = "no significant improvement by a third classifier (THUMOS14, no figures)."
ALONE = "localization.attention=false"
VARIANTS = [
    Variant("one classifier", ("cascade.stages=1", ALONE)),
    Variant("two classifiers", (ALONE,)),
    Variant("three classifiers", ("cascade.stages=3", ALONE)),
]


def run(values: flags.FlagValues) -> None:
    """Runs all numbers of classifiers and seeds."""
    study = Study(values)
    results = study.results(VARIANTS)
    write(study, "third_classifier", "A third classifier (Section 4.3)", PAPER, VARIANTS, results)


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.paper.third_classifier", __doc__, define_flags, run))
