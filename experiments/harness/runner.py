"""Runs the experiment that a module of ``paper/`` or ``ours/`` holds."""

from types import ModuleType

from cpmn_tf.commands import cli
from cpmn_tf.config import TIOU
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import parse_tiou
from experiments.harness import lab, published, report
from experiments.harness.study import Study


def define_flags(module: ModuleType, values: cli.Flags) -> None:
    """Flags of every experiment, and the module's own; only what trains over seeds has --seeds."""
    lab.define_flags(values)
    if hasattr(module, "STUDY"):
        lab.define_seeds(values)
    if hasattr(module, "define_flags"):
        module.define_flags(values)


def run(module: ModuleType, values: cli.Flags) -> None:
    """Runs the module's study, or what it does itself.

    Raises:
      UserError: if the data cannot be read or a setting is wrong.
    """
    if hasattr(module, "STUDY"):
        run_study(module.STUDY, values)
    else:
        module.run(lab.Lab(values))


def run_study(study: Study, values: cli.Flags) -> None:
    """Trains and judges a study's variants, and writes its files.

    Raises:
      UserError: as of :func:`run`, and if ``--preset`` reports other tIoU than published rows do.
    """
    beside = study.published
    if beside is not None and not set(beside.tiou) <= set(parse_tiou(TIOU[values.preset])):
        raise UserError(
            f"--preset={values.preset} reports other tIoU; use --preset={beside.preset}"
        )
    here = lab.Lab(values)
    variants = here.distinct(study.variants)
    results = here.results(variants)
    facts = {"title": study.title, "paper": study.paper}
    facts |= {**here.describe(), "seeds": values.seeds}
    data = ("SIMULATED: " if facts["simulated"] else "") + facts["data"]
    appendix = published.table(beside, results, data) if beside else ""
    report.publish(here.output / study.name, facts, variants, results, study.reference, appendix)
