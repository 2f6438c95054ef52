"""Runs the experiment that a module of ``paper/`` or ``ours/`` holds."""

from collections.abc import Sequence
from types import ModuleType

from cpmn_tf.commands import cli
from cpmn_tf.config import TIOU
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import parse_tiou
from experiments.harness import published, report
from experiments.harness.lab import Lab, define_flags
from experiments.harness.study import Study


def execute(program: str, module: ModuleType, argv: Sequence[str]) -> int:
    """Parses the flags and runs the module's study, or its own ``run``; returns the exit code."""

    def define(values: cli.Flags) -> None:
        define_flags(values)
        if hasattr(module, "define_flags"):
            module.define_flags(values)

    def run(values: cli.Flags) -> None:
        if hasattr(module, "STUDY"):
            run_study(module.STUDY, values)
        else:
            module.run(Lab(values))

    return cli.execute(program, module.__doc__, define, run, argv)


def run_study(study: Study, values: cli.Flags) -> None:
    """Trains and judges a study's variants, and writes its files.

    Raises:
      UserError: if the data cannot be read, a setting is wrong, or ``--preset`` does not report the
        thresholds of published rows.
    """
    beside = study.published
    if beside is not None and not set(beside.tiou) <= set(parse_tiou(TIOU[values.preset])):
        raise UserError(
            f"--preset={values.preset} reports other tIoU; use --preset={beside.preset}"
        )
    lab = Lab(values)
    variants = lab.distinct(study.variants)
    results = lab.results(variants)
    facts = {"title": study.title, "paper": study.paper, **lab.describe()}
    data = ("SIMULATED: " if facts["simulated"] else "") + facts["data"]
    appendix = published.table(beside, results, data) if beside else ""
    report.publish(lab.output / study.name, facts, variants, results, study.reference, appendix)
