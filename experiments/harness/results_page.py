"""Puts the tables of results/ into README.md, so that no figure on that page is typed in.

A command on the page, `python -m experiments.run NAME ... --output_dir=runs/results/DATA ...`, is
above the table that it wrote; the table is taken from results/DATA/NAME.md, the one whose first
cell is the same. `join --name=NAME` wrote NAME.md; `fig4_fig6` writes no table.

    cp runs/results/watch/*.json runs/results/watch/*.md runs/results/watch/*.png \\
        experiments/results/watch/
    python -m experiments.run page
"""

import pathlib
import re

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.files import write_text

HERE = pathlib.Path(__file__).parents[1]
_COMMAND = re.compile(
    r"python -m experiments\.run (?!fig4_fig6)(?:join --name=)?(\w+)"
    r"[^`]*?--output_dir=runs/results/([\w/]+)"
)
_TABLE = re.compile(r"^\|(.+?)\|.*\n(?:\|.*\n)+", re.MULTILINE)


def updated(page: str, results: pathlib.Path) -> str:
    """The page with each command's table as it is in ``results``.

    Raises:
      UserError: naming a command whose table is not there.
    """
    parts, begin = [], 0
    for command in _COMMAND.finditer(page):
        name, data = command.groups()
        table = _TABLE.search(page, command.end())
        path = results / data / f"{name}.md"
        if table is None or not path.is_file():
            raise UserError(f"{path}: there is no such file, or the page has no place for it")
        parts += [page[begin : table.start()], table_of(path, table[1].strip())]
        begin = table.end()
    return "".join([*parts, page[begin:]])


def table_of(path: pathlib.Path, head: str) -> str:
    """The table of a file whose first cell is ``head``.

    Raises:
      UserError: if there is none, or several.
    """
    found = [t[0] for t in _TABLE.finditer(path.read_text("utf-8")) if t[1].strip() == head]
    if len(found) != 1:
        raise UserError(f"{path}: has no table of {head!r}")
    return found[0]


def run(_: cli.Flags) -> None:
    """Brings the page up to date.

    Raises:
      UserError: naming a command whose table is not there.
    """
    page = HERE / "README.md"
    write_text(page, updated(page.read_text("utf-8"), HERE / "results"))
