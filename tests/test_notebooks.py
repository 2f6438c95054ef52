"""The notebooks' and the README's Python runs, on a small model in the demo's place."""

import inspect
import json
import pathlib
import re
import shutil

import pytest

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebook_runs(path, data_set, model_dir, tmp_path, monkeypatch, capsys):
    shutil.copytree(data_set, tmp_path / "runs" / "demo" / "records")
    shutil.copytree(model_dir, tmp_path / "runs" / "demo" / "model")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "commit notebooks without outputs"
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "average" in capsys.readouterr().out
    assert names["view"].id == "video_010"


def test_readme_from_python_runs(data_set, model_dir, tmp_path, monkeypatch, capsys):
    """All but the training, whose call is held against the function's signature."""
    shutil.copytree(data_set, tmp_path / "records")
    shutil.copytree(model_dir, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    readme = (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(from cpmn_tf.*?)```", readme, re.DOTALL)
    (call,) = re.findall(r"^train\((.*)\)$", block, re.MULTILINE)
    names: dict = {}
    exec(block.replace(f"train({call})", f"arguments = dict({call})"), names)
    inspect.signature(names["train"]).bind(**names["arguments"])
    assert 0 < float(capsys.readouterr().out) <= 1
