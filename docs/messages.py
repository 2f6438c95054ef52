"""The Sphinx directive ``messages``: every error message of some modules, read from their source.

    ```{messages} cpmn_tf/config.py cpmn_tf/formats/*.py
    is not one of: use one of the values that the message lists
    ```

makes a table of what is wrong and what to do. A message of the house says both, apart by a
semicolon; the lines of the directive say what to do for those that hold ``is not one of``.
"""

import ast
import pathlib

from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Whatever makes an error from a message, which is an argument with a space in it.
MAKERS = ("UserError", "Defect", "problem")
GAP = "…"  # for what the program fills in


def message_of(node: ast.AST) -> str:
    """The text that an expression gives, with a gap for every part not known before it runs."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(message_of(part) or GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (message_of(node.left) or GAP) + (message_of(node.right) or GAP)
    return ""


def messages_of(path: pathlib.Path) -> list[str]:
    """The error messages of a module, in order and once each."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        named: dict[str, list[str]] = {}  # texts that get a name before they become a message
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                named.setdefault(node.targets[0].id, []).append(message_of(node.value))
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            maker = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if maker.lstrip("_") not in MAKERS:
                continue
            for argument in node.args:
                texts = [message_of(argument), *named.get(getattr(argument, "id", ""), [])]
                found += [(node.lineno, text) for text in texts if " " in text.strip(GAP + ": ")]
    return list(dict.fromkeys(text for _, text in sorted(found)))


def split_message(message: str, hints: dict[str, str]) -> tuple[str, str]:
    """What is wrong and what to do; the latter is empty if neither message nor hints say it."""
    for fragment, what_to_do in hints.items():
        if fragment in message:
            return message, what_to_do
    wrong, _, what_to_do = message.rpartition("; ")
    return (wrong, what_to_do) if wrong else (message, "")


def parse_directive(arguments: str, content: str) -> tuple[list[pathlib.Path], dict[str, str]]:
    """The modules that a directive names, and its hints by fragment."""
    paths = [path for pattern in arguments.split() for path in sorted(ROOT.glob(pattern))]
    lines = [line.partition(": ") for line in content.splitlines() if line.strip()]
    return paths, {fragment.strip(): hint.strip() for fragment, _, hint in lines}


class Messages(Directive):
    """See the module."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table."""
        paths, hints = parse_directive(self.arguments[0], "\n".join(self.content))
        rows = {split_message(text, hints) for path in paths for text in messages_of(path)}
        for path in paths:
            self.state.document.settings.env.note_dependency(str(path))
        return [_table(sorted(row for row in rows if row[0].strip(GAP + ": ")))]


class Kinds(Directive):
    """``{kinds}``: the kinds of findings of `cpmn-validate-records`, and what to do about each."""

    def run(self) -> list[nodes.Node]:
        """The table, errors first."""
        from tfrecords_tools.findings import KINDS

        rows = [(f"{kind.level}: {kind.title}", kind.fix) for kind in KINDS.values()]
        return [_table(rows)]


def _table(rows: list[tuple[str, str]]) -> nodes.table:
    body = nodes.tbody("", *(_row(*row) for row in rows))
    head = nodes.thead("", _row("what is wrong", "what to do", literal=False))
    columns = [nodes.colspec(colwidth=width) for width in (60, 40)]
    return nodes.table("", nodes.tgroup("", *columns, head, body, cols=2))


def _row(wrong: str, what_to_do: str, literal: bool = True) -> nodes.row:
    first = [nodes.literal(text=wrong)] if literal else [nodes.Text(wrong)]
    # Every second part is between backquotes.
    second = [
        nodes.literal(text=part) if number % 2 else nodes.Text(part)
        for number, part in enumerate(what_to_do.split("`"))
    ]
    cells = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in (first, second)]
    return nodes.row("", *cells)


def setup(app) -> None:
    """Called by Sphinx."""
    app.add_directive("messages", Messages)
    app.add_directive("kinds", Kinds)
