"""The notebook runs, prints the figures committed with it, and shows what it says it shows."""

import contextlib
import io
import json
import pathlib
import re
import tempfile

import matplotlib
import numpy as np
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / "notebooks" / "erasing_step_by_step.ipynb"
CELLS = [
    cell
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]


def printed(cell) -> str:
    """What a cell printed when it was committed."""
    texts = [output["text"] for output in cell["outputs"] if output["output_type"] == "stream"]
    return "".join("".join(text) for text in texts)


def figures(text: str) -> list[float]:
    """The numbers in a text that are no part of a name."""
    return [float(number) for number in re.findall(r"(?<![\w/.-])-?\d+(?:\.\d+)?(?![\w/])", text)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The names that the cells define, and what each cell prints, from one run of all."""
    import matplotlib.pyplot as plt

    before = matplotlib.get_backend()
    matplotlib.use("agg")
    names: dict = {}
    outputs = []
    folder = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("notebook"))
    for cell in CELLS:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec("".join(cell["source"]), names)
        outputs.append(output.getvalue())
    plt.close("all")
    tempfile.tempdir = folder
    matplotlib.use(before)
    return names, outputs


def test_figures_are_the_committed_ones(run):
    _, outputs = run
    for cell, output in zip(CELLS, outputs, strict=True):
        if "build_records" not in "".join(cell["source"]):
            # Processors round differently; a detection more or less is 1 or 2 points of an AP.
            assert figures(output) == pytest.approx(figures(printed(cell)), abs=5)


def test_a_finds_the_cores_and_they_are_erased(run):
    names, _ = run
    assert names["means"]["M(A)"]["cores"] > 3 * names["means"]["M(A)"]["flanks"]
    assert names["share"]["cores"] == 1
    assert names["share"]["flanks"] < 0.3
    assert names["share"]["background"] < 0.05
    erased = names["erased"][0].numpy()
    left = names["left"][0].numpy()
    assert not left[erased].any()
    assert (left[~erased] == names["video"][~erased]).all()


def test_b_finds_the_flanks_and_the_maximum_has_both(run):
    names, _ = run
    means = names["means"]
    assert means["M(B)"]["flanks"] > means["M(A)"]["flanks"] > means["M(A)"]["background"]
    assert means["M(B)"]["flanks"] > 5 + means["M(B)"]["cores"]
    assert (names["cascaded"] >= names["original"]).all()
    assert (names["cascaded"] >= names["mined"]).all()


def test_the_parts_are_what_the_model_does(run):
    """The steps by hand give the curves that the model's own trace has."""
    names, _ = run
    units = len(names["video"])
    model = names["cpmn_tf"].load_model(names["work"] / "model")
    trace = model.trace({"rgb": names["batch"]}, np.array([units]), np.array([4.0], np.float32))
    assert trace.rows.numpy().tolist() == [[0, names["LABEL"]]]
    np.testing.assert_allclose(trace.original[0, 0], names["original"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(trace.cascaded[0, 0], names["cascaded"], rtol=1e-3, atol=1e-3)


def test_each_row_is_better_than_the_one_above(run):
    names, _ = run
    original, mining, attention = names["average"].values()
    assert original + 10 < mining < attention


def test_every_picture_is_committed():
    drawn = [cell for cell in CELLS if "= axes(" in "".join(cell["source"])]
    for cell in drawn:
        assert any("image/png" in output.get("data", {}) for output in cell["outputs"])
    assert NOTEBOOK.stat().st_size < 300_000
