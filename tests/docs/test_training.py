"""What the page on training says may happen: each row names the tests that make it happen."""

import pathlib
import re

TESTS = pathlib.Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "training.md").read_text(encoding="utf-8")


def test_what_may_happen_is_tested():
    table = PAGE[PAGE.index("| what happens |") :].split("\n\n")[0].splitlines()[2:]
    assert len(table) >= 14
    code = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    for row in table:
        named = re.findall(r"`(\w+)`", row.split("|")[4])
        assert named and set(named) <= known, row
