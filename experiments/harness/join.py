"""One table of the same experiment on several data sets, such as the folds of one.

    python -m experiments.run join --name=options --results=runs/folds/0,runs/folds/1 \\
        --output_dir=runs/results/folds

Each folder of ``--results`` holds the NAME.json of one run. Means and standard errors are over the
folders (and their seeds). Writes NAME.json, .md and .png.
"""

import pathlib

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from experiments.harness.report import publish
from experiments.harness.study import Result, Variant

_ALIKE = ("variants", "preset", "set", "precision", "reference")
_COPIED = ("title", "paper", "data", "simulated", "preset", "split", "set", "precision")
_ADDED = ("videos", "instances")


def define_flags(values: cli.Flags) -> None:
    """Flags of joining."""
    values.separated("results", "Folders with results.")
    values.string("name", "Of the experiment's files, such as options.")
    values.string("output_dir", "Folder of the joined table.")


def run(values: cli.Flags) -> None:
    """Joins.

    Raises:
      UserError: if a file cannot be read or is of something else, or its rows are not those of the
        first.
    """
    cli.require(values, "results", "name", "output_dir")
    paths = [pathlib.Path(folder) / f"{values.name}.json" for folder in values.results]
    runs = [read_json(path) for path in paths]
    first, results, trainings = runs[0], [], 0
    for path, one in zip(paths, runs, strict=True):
        if not isinstance(one, dict) or "variants" not in one:
            raise UserError(
                f"{path}: is not the table of an experiment; --name is one of table3, options and "
                "others that write rows over seeds"
            )
        for key in _ALIKE:
            if one[key] != first[key]:
                raise UserError(f"{path}: {key} is not as in {paths[0]}; run both alike")
        seeds = sorted({result["seed"] for result in one["results"]})
        # A training's number among all: two folders' seed 0 are different trainings.
        for item in one["results"]:
            number = trainings + seeds.index(item["seed"])
            results.append(Result(**{**item, "seed": number}))
        trainings += len(seeds)
    facts = {key: first[key] for key in _COPIED}
    facts |= {key: sum(one[key] for one in runs) for key in _ADDED}
    facts |= {"joined": [str(path) for path in paths], "trainings": trainings}
    to = first["to"]
    variants = [
        Variant(name, tuple(settings), tuple(to.get(name, ())))
        for name, settings in first["variants"].items()
    ]
    path = pathlib.Path(values.output_dir) / values.name
    publish(path, facts, variants, results, first["reference"])
