"""WORKSPACE.md's tables of the paper: every function is there, and every value is the preset's."""

import functools
import importlib
import pathlib
import re

import pytest

from cpmn_tf.config import preset

TEXT = (pathlib.Path(__file__).parents[1] / "WORKSPACE.md").read_text()


def rows_of(first: str) -> list[list[str]]:
    """The cells of the table whose header begins with ``first``, without backticks."""
    lines = TEXT[TEXT.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    rows = [line.strip("|").replace("`", "").split("|") for line in lines]
    return [[cell.strip() for cell in row] for row in rows]


PAPER = rows_of("paper | file")
SETTINGS = rows_of("hyper-parameter")


@pytest.mark.parametrize("paper, file, name", PAPER, ids=[row[0] for row in PAPER])
def test_a_function_names_the_place_in_the_paper(paper, file, name):
    if "/encoding/" in file:  # of the extra [video]
        pytest.importorskip("av")
        pytest.importorskip("cv2")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found = functools.reduce(getattr, name.split("."), module)
    assert found.__module__ == module.__name__
    for place in re.findall(r"Eq\. \d|Algorithm 1(?:, line \d+)?|Section \d\.\d|Fig\. \d", paper):
        assert place in " ".join(found.__doc__.split())


def test_all_of_the_method_is_in_the_table():
    text = " ".join(row[0] for row in PAPER)
    for number in range(1, 9):
        assert f"Eq. {number}" in text
    assert "Algorithm 1:" in text


@pytest.mark.parametrize("what, paper, name, thumos14, activitynet13", SETTINGS)
def test_a_hyper_parameter_is_what_the_preset_holds(what, paper, name, thumos14, activitynet13):
    if name.startswith("("):  # no setting
        return
    section, field = name.split(".")
    for config, wanted in (("thumos14", thumos14), ("activitynet13", activitynet13)):
        value = getattr(getattr(preset(config), section), field)
        (value,) = value if isinstance(value, tuple) else (value,)
        assert value == type(value)(wanted), what


def test_section_4_1_is_in_the_table():
    names = {row[2] for row in SETTINGS if row[1] == "Section 4.1"}
    training = ("batch_size", "learning_rate", "epochs", "final_learning_rate", "final_epochs")
    wanted = {"cascade.threshold", "pyramid.window", "localization.nms_threshold"}
    wanted |= {"training.cascade_l2", *(f"training.{name}" for name in training)}
    assert wanted == {name for name in names if not name.startswith("(")}
