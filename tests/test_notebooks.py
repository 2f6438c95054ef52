"""The notebooks run, on a small model in the demo's place."""

import json
import pathlib
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
