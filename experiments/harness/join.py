"""One table of the same experiment on several data sets, such as the folds of one.

    python -m experiments.harness.join --name=options --results=runs/folds/0,runs/folds/1 \\
        --output_dir=runs/results/folds

Each folder of ``--results`` holds the NAME.json of one run. Means and standard errors are over the
folders (and their seeds). Writes NAME.json, .md and .png.
"""

import pathlib
import sys

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from experiments.harness.report import publish
from experiments.harness.study import Result, Variant


def define_flags(values: flags.FlagValues) -> None:
    """Flags of joining."""
    flags.DEFINE_list("results", [], "Folders with results.", flag_values=values)
    cli.define_string(values, "name", None, "Of the experiment's files, such as options.")
    cli.define_string(values, "output_dir", None, "Folder of the joined table.")


def run(values: flags.FlagValues) -> None:
    """Joins.

    Raises:
      UserError: if a file cannot be read, or its rows are not those of the first.
    """
    cli.require(values, "results", "name", "output_dir")
    paths = [pathlib.Path(folder) / f"{values.name}.json" for folder in values.results]
    runs = [read_json(path) for path in paths]
    first, results, number = runs[0], [], 0
    for path, one in zip(paths, runs, strict=True):
        for key in ("variants", "preset", "set", "precision", "reference"):
            if one.get(key) != first.get(key):
                raise UserError(f"{path}: {key} is not as in {paths[0]}; run both alike")
        seeds = sorted({result["seed"] for result in one["results"]})
        # A training's number among all: two folders' seed 0 are different trainings.
        results += [
            Result(**{**item, "seed": number + seeds.index(item["seed"])})
            for item in one["results"]
        ]
        number += len(seeds)
    variants = [Variant(name, tuple(settings)) for name, settings in first["variants"].items()]
    shared = ("title", "paper", "data", "simulated", "preset", "split", "set", "precision")
    facts = {key: first[key] for key in shared}
    facts |= {key: sum(one[key] for one in runs) for key in ("videos", "instances")}
    publish(
        pathlib.Path(values.output_dir) / values.name,
        {**facts, "joined": [str(path) for path in paths]},
        variants,
        results,
        first["reference"],
        f"{number} trainings",
        f"{len(runs)} data sets",
    )


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.harness.join", __doc__, define_flags, run))
