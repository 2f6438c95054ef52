"""Gives the mAP of detections by a named protocol, on screen and as JSON.

Example:

  cpmn-evaluate --annotations=thumos14.json --split=test --detections=found.json --protocol=both
"""

import functools
import sys

from cpmn_tf.commands import cli, evaluation_inputs
from cpmn_tf.evaluation import PROTOCOLS
from cpmn_tf.evaluation.results import to_json
from cpmn_tf.files import write_json


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    evaluation_inputs.define_flags(values)
    values.choice(
        "protocol",
        [*PROTOCOLS, "both"],
        "Whose rules: ActivityNet's evaluation or the official THUMOS14 toolkit's; both prints "
        "them side by side. They differ by up to 5.5 points on the same file.",
        default="activitynet",
    )
    values.string(
        "output",
        "JSON file to write: protocol, tiou, map (fractions parallel to tiou), average_map, "
        "per_class, the files with their SHA-256 and counts; with --protocol=both one such object "
        "per protocol, by its name.",
    )


def run(values: cli.Flags) -> None:
    """Evaluates, writes and prints."""
    inputs = evaluation_inputs.load_inputs(values)
    results = evaluation_inputs.judge(inputs, values.protocol)
    if values.output:  # before printing, which `| head` cuts short
        written = {result.protocol: to_json(result, inputs.sources) for result in results}
        write_json(values.output, written if len(results) > 1 else written[values.protocol])
    print(evaluation_inputs.report(inputs, results))


main = functools.partial(cli.execute, "cpmn-evaluate", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())
