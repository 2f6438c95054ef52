"""Runs an experiment by its name.

    python -m experiments.run                  # what there is
    python -m experiments.run NAME --help      # what it measures, what it writes, its flags
    python -m experiments.run NAME --flags

An experiment is a file of ``paper/`` or ``ours/``, and its name the file's: nothing else lists it.
The file holds a ``STUDY``, or a function ``run(lab)`` where it measures in its own way; with
``define_flags(values)`` it adds flags to those that all have. What was finished before is not
computed again, so that the same command goes on with a run that was killed.
"""

import ast
import functools
import importlib
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType

from cpmn_tf.commands import cli

HERE = pathlib.Path(__file__).parent
COMMANDS = {
    "join": "harness/join.py",
    "page": "harness/results_page.py",
    "rivals_page": "harness/rivals_page.py",
}


def files() -> dict[str, pathlib.Path]:
    """The file of each name."""
    paper, ours = (sorted((HERE / folder).glob("[!_]*.py")) for folder in ("paper", "ours"))
    experiments = {path.stem: path for path in [*paper, *ours]}
    return experiments | {name: HERE / path for name, path in COMMANDS.items()}


def load(name: str) -> ModuleType:
    """Imports the module of a name."""
    path = files()[name].relative_to(HERE)
    return importlib.import_module(f"experiments.{path.parent.name}.{path.stem}")


def usage() -> str:
    """This program's help: every name with the first line of its file."""
    lines = [(__doc__ or "").strip(), "", "names:"]
    for name, path in files().items():
        summary = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        lines.append(f"  {name:18s}{summary.splitlines()[0]}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment that is named first; returns its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("--help", "-h"):
        print(usage())
        return 0
    if name not in files():
        print(f"experiments.run: no experiment is called {name!r}; see --help", file=sys.stderr)
        return 2
    if name in COMMANDS:
        module = load(name)
        define_flags, run = getattr(module, "define_flags", lambda values: None), module.run
    else:
        cli.load_tensorflow()  # before anything else does
        from experiments.harness import lab

        module = load(name)
        define_flags = functools.partial(lab.define_flags, module)
        run = functools.partial(lab.run, module)
    return cli.execute(f"experiments.run {name}", module.__doc__, define_flags, run, rest)


if __name__ == "__main__":
    sys.exit(main())
