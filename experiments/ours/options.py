"""What the method's open points do: one option at a time against the preset, from one training.

The paper leaves them open or contradicts itself; `--print_config` says what each one means. All of
them act after training, so that every row of a seed is the same model.

    python -m experiments.ours.options --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Uses the models of Table 3, and trains them if need be. Writes options.json, .md and .png.
"""

import sys

from absl import flags

from cpmn_tf.commands import cli
from experiments.harness.report import write
from experiments.harness.study import Study, Variant, define_flags

PAPER = "nothing; these are the points it leaves open."
OPTIONS = (
    "localization.p_class=all",
    "localization.p_class=first",
    "localization.p_act=phi",
    "localization.p_act=raw",
    "localization.fusion=sigmoid",
    "localization.fusion=raw",
    "localization.confidence=product",
    "localization.confidence=outer_inner",
    "cascade.inference_erasing=per_class",
    "cascade.inference_erasing=union",
    "cascade.combine=normalized",
    "cascade.inference=every_unit",
    "localization.nms=soft",
)


def variants(study: Study) -> list[Variant]:
    """The preset itself, and each option that differs from it."""
    changed = [option for option in OPTIONS if study.changes(option)]
    return [Variant("the preset"), *(Variant(option, (option,)) for option in changed)]


def run(values: flags.FlagValues) -> None:
    """Judges all options over all seeds."""
    study = Study(values)
    rows = variants(study)
    title = "Options that act after training"
    write(study, "options", title, PAPER, rows, study.results(rows), reference=0)


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.ours.options", __doc__, define_flags, run))
