"""Tells why a detector errs and how sure its mAP is: tables, one JSON, one page of plots.

Example:

  cpmn-analyze --annotations=thumos14.json --split=test --protocol=thumos14 \\
      --detections=new.json --baseline=old.json --output_dir=analysis

Kinds of errors are DETAD's (Alwassel et al., ECCV 2018); intervals are bootstrapped over videos.
"""

import functools
import os
import sys

from cpmn_tf.analysis.diagnosis import analyze
from cpmn_tf.analysis.report import analysis_json, analysis_text
from cpmn_tf.analysis.sensitivity import BOUNDS
from cpmn_tf.commands import cli, evaluation_inputs
from cpmn_tf.evaluation import PROTOCOLS
from cpmn_tf.evaluation.results import facts, to_json
from cpmn_tf.files import write_json
from cpmn_tf.formats.thumos_text import digest


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    evaluation_inputs.define_flags(values)
    values.choice(
        "protocol", PROTOCOLS, "Whose rules decide what is a true positive.", default="activitynet"
    )
    values.string(
        "baseline",
        "Detections of another run on the same videos: its mAP, and the difference with its "
        "interval.",
    )
    values.string(
        "output_dir",
        "Folder that analysis.json (every figure) and analysis.png (the page) are written to.",
    )
    values.integer("samples", "Bootstrap samples of the videos.", default=1000, least=2)
    values.integer("seed", "Seed of the bootstrap.", default=0, least=0)


def run(values: cli.Flags) -> None:
    """Analyses, writes and prints."""
    cli.require(values, "output_dir")
    inputs = evaluation_inputs.load_inputs(values)
    sources, baseline = inputs.sources, None
    if values.baseline:
        truth, split = sources.annotation_file, sources.split
        baseline = evaluation_inputs.load_judged(values.baseline, inputs.annotations, truth, split)
    analysis = analyze(
        inputs.annotations,
        inputs.detections,
        protocol=values.protocol,
        tiou=inputs.tiou,
        baseline=baseline,
        bounds=values.preset if values.preset in BOUNDS else None,
        samples=values.samples,
        seed=values.seed,
        order=inputs.order,
        drop_duplicates=inputs.drop_duplicates,
    )
    written = {**to_json(analysis.evaluation, sources), **analysis_json(analysis)}
    lines = facts(analysis.evaluation, sources)
    if values.baseline:
        sha256 = digest(values.baseline)
        written["baseline"] |= {"detection_file": values.baseline, "detection_sha256": sha256}
        lines += [f"baseline     {values.baseline}", f"             SHA-256 {sha256}"]
    write_json(os.path.join(values.output_dir, "analysis.json"), written)
    from cpmn_tf.analysis.figure import save_page  # matplotlib is slow to load: not for --help

    page = os.path.join(values.output_dir, "analysis.png")
    save_page(page, analysis, sources, values.baseline or "")
    lines += evaluation_inputs.remarks(inputs)
    print("\n".join([*lines, "", *analysis_text(analysis), "", f"plots: {page}"]))


main = functools.partial(cli.execute, "cpmn-analyze", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())
