"""What the pages of the documentation refer to is there."""

import importlib
import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
REFERENCES = sorted(
    {
        name
        for page in PAGES
        for name in re.findall(
            r"\{py:\w+\}`~?([\w.]+)`|auto\w+:: ([\w.]+)", page.read_text(encoding="utf-8")
        )
        for name in name
        if name
    }
)


@pytest.mark.parametrize("name", REFERENCES)
def test_reference(name):
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in ("av", "cv2"):
            pytest.skip("the extra [video] is not installed")
        getattr(importlib.import_module(module), attribute)


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.stem == "index" or re.search(rf"^{page.stem}$", index, re.MULTILINE), page
