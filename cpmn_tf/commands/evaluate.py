"""Gives the mAP of detections by a named protocol, on screen and as JSON.

Example:

  cpmn-evaluate --annotations=thumos14.json --split=test --detections=found.json --protocol=both
"""

import sys
from collections.abc import Sequence

from absl import flags

from cpmn_tf.commands import cli, evaluation_inputs
from cpmn_tf.evaluation import PROTOCOLS, evaluate
from cpmn_tf.evaluation.results import to_json, to_text
from cpmn_tf.files import write_json


def define_flags(values: flags.FlagValues) -> None:
    """Defines this command's flags."""
    evaluation_inputs.define_flags(values)
    flags.DEFINE_enum(
        "protocol",
        "activitynet",
        [*PROTOCOLS, "both"],
        "Whose rules: ActivityNet's evaluation or the official THUMOS14 toolkit's; both prints "
        "them side by side. They differ by up to 5.5 points on the same file.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output",
        None,
        "JSON file to write: protocol, tiou, map (fractions parallel to tiou), average_map, "
        "per_class, the files with their SHA-256 and counts; with --protocol=both one such object "
        "per protocol, by its name.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Evaluates, prints and writes.

    Raises:
      UserError: naming the file and the mend.
    """
    truth = evaluation_inputs.load_inputs(values)
    detections = evaluation_inputs.load_judged(values.detections, truth)
    sources = evaluation_inputs.sources_of(values.detections, truth)
    names = list(PROTOCOLS) if values.protocol == "both" else [values.protocol]
    results = [
        evaluate(truth.annotations, detections, protocol=name, tiou=truth.tiou) for name in names
    ]
    if values.output:  # before printing, which `| head` cuts short
        written = {result.protocol: to_json(result, sources) for result in results}
        write_json(values.output, written if len(results) > 1 else written[names[0]])
    print(to_text(results, sources))
    for line in evaluation_inputs.remarks(detections, truth):
        print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; see :func:`cpmn_tf.commands.cli.execute` for exit codes."""
    return cli.execute("cpmn-evaluate", __doc__, define_flags, run, argv)


def console() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    console()
