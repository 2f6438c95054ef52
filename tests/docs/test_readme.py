"""The README's own-features example runs as it is printed, in five commands and in six lines."""

import importlib
import json
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def tiny(small_settings):
    """Assignments that make training a matter of seconds."""
    few = ("epochs=1", "final_epochs=1", "updates=1", "pictures=0")
    training = [f"training.{setting}" for setting in few]
    return [*small_settings, "cascade.layers=1", "pyramid.levels=1", *training]


@pytest.fixture
def here(dataset_writer, tmp_path, monkeypatch):
    """The features and labels that the README speaks of, in the working folder."""
    _, make_videos = dataset_writer
    database = {}
    for number, video in enumerate(make_videos(12)):
        for stream in ("rgb", "flow"):
            path = tmp_path / "features" / stream / f"{video['id']}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, video[stream])
        seconds = [[16 * start / 25, 16 * end / 25] for start, end in video["spans"]]
        label = ("Dive", "Jump", "Throw")[video["label"]]
        testing = number >= 8
        items = [{"label": label, "segment": segment} for segment in seconds]
        database[video["id"]] = {
            "subset": "testing" if testing else "training",
            "fps": 25,
            "annotations": items if testing else [{"label": label}],
        }
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(here, tiny, capsys):
    shutil.rmtree(here / "features" / "flow")  # one stream trains in half the time
    (block,) = re.findall(r"```\n(cpmn-build-records --source=folders.*?)```", README, re.DOTALL)
    modules = dict(re.findall(r'"(cpmn-[\w-]+)": "([\w.]+)', (ROOT / "setup.py").read_text()))
    programs = []
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        if program == "cpmn-train":
            arguments += [f"--set={setting}" for setting in tiny]
        assert importlib.import_module(modules[program]).main(arguments) == 0
        programs.append(program)
    assert len(programs) == 5
    assert "activitynet" in capsys.readouterr().out
    assert list((here / "pictures").glob("*.png"))


def test_python(here, tiny, capsys):
    (block,) = re.findall(r"```python\n(import cpmn_tf.*?)```", README, re.DOTALL)
    settings = {
        name: text if name.startswith("data.") else float(text) if "." in text else int(text)
        for name, text in (setting.split("=") for setting in tiny)
    }
    assert block.count('preset="plus"') == 1
    block = block.replace('preset="plus"', f'preset="plus", settings={settings}')
    names: dict = {}
    exec(block, names)
    assert "average" in capsys.readouterr().out
    assert names["model"].manifest.classes == ("Dive", "Jump", "Throw")
    # and the one video of the paragraph below
    (call,) = re.findall(r"`(cpmn_tf\.localize\(model, \{.*?\))`", README)
    video = {name: np.load(here / f"features/{name}/video_009.npy") for name in ("rgb", "flow")}
    found = eval(call, names | video)
    assert len(found) and found.videos == ("video",)


def test_every_command_is_listed():
    commands = re.findall(r'"(cpmn-[\w-]+)": "', (ROOT / "setup.py").read_text())
    assert sorted(re.findall(r"^\| `(cpmn-[\w-]+)` \|", README, re.MULTILINE)) == sorted(commands)


def test_links_lead_somewhere():
    text = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
