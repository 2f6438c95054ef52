"""Tells why a detector errs and how sure its mAP is: tables, one JSON, one page of plots.

Example:

  cpmn-analyze --annotations=thumos14.json --split=test --protocol=thumos14 \\
      --detections=new.json --baseline=old.json --output_dir=analysis

Kinds of errors are DETAD's (Alwassel et al., ECCV 2018); intervals are bootstrapped over videos.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags

from cpmn_tf.analysis.diagnosis import analyze
from cpmn_tf.analysis.report import analysis_json, analysis_text
from cpmn_tf.analysis.sensitivity import BOUNDS
from cpmn_tf.commands import cli, evaluation_inputs
from cpmn_tf.evaluation import PROTOCOLS
from cpmn_tf.evaluation.results import facts, to_json
from cpmn_tf.files import write_json


def define_flags(values: flags.FlagValues) -> None:
    """Defines this command's flags."""
    evaluation_inputs.define_flags(values)
    flags.DEFINE_enum(
        "protocol",
        "activitynet",
        list(PROTOCOLS),
        "Whose rules decide what is a true positive.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "baseline",
        None,
        "Detections of another run on the same videos: its mAP, and the difference with its "
        "interval.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder that analysis.json (every figure) and analysis.png (the page) are written to.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "samples", 1000, "Bootstrap samples of the videos.", lower_bound=2, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.", lower_bound=0, flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Analyses, prints and writes.

    Raises:
      UserError: naming the file and the mend.
    """
    cli.require(values, "output_dir")
    truth = evaluation_inputs.load_inputs(values)
    detections = evaluation_inputs.load_judged(values.detections, truth)
    baseline = evaluation_inputs.load_judged(values.baseline, truth) if values.baseline else None
    analysis = analyze(
        truth.annotations,
        detections,
        protocol=values.protocol,
        tiou=truth.tiou,
        baseline=baseline,
        bounds=values.preset if values.preset in BOUNDS else None,
        samples=values.samples,
        seed=values.seed,
    )
    sources = evaluation_inputs.sources_of(values.detections, truth)
    written = {**to_json(analysis.evaluation, sources), **analysis_json(analysis)}
    lines = facts(analysis.evaluation.counts, sources)
    if values.baseline:
        other = evaluation_inputs.sources_of(values.baseline, truth)
        written["baseline"]["detection_file"] = other.detection_file
        written["baseline"]["detection_sha256"] = other.detection_sha256
        lines += [
            f"baseline     {other.detection_file}",
            f"             SHA-256 {other.detection_sha256}",
        ]
    write_json(os.path.join(values.output_dir, "analysis.json"), written)
    from cpmn_tf.analysis.figure import save_page  # matplotlib is slow to load: not for --help

    page = os.path.join(values.output_dir, "analysis.png")
    save_page(page, analysis, sources, values.baseline or "")
    lines += evaluation_inputs.remarks(detections, truth)
    print("\n".join([*lines, "", *analysis_text(analysis), "", f"plots: {page}"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; see :func:`cpmn_tf.commands.cli.execute` for exit codes."""
    return cli.execute("cpmn-analyze", __doc__, define_flags, run, argv)


def console() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    console()
