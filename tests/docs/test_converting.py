"""The commands on the page about converting run as they are printed, and its table is complete."""

import json
import pathlib
import re
import shlex

import pytest

from cpmn_tf.commands import convert
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.formats.detections import Detections, save_detections

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "converting.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The files that the page speaks of, but for those that tools write."""
    rows = [("clip", "Jump", 1.0, 2.5, 0.8), ("clip", "Throw", 4.0, 6.0, 0.4)]
    save_detections(tmp_path / "detections.json", Detections.from_rows((), rows), "test")
    (tmp_path / "videos.csv").write_text("video,fps\nclip,25\n")
    (tmp_path / "corrected.csv").write_text("video,label,start,end\nclip,Jump,1,2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(here):
    blocks = re.findall(r"^```\n(cpmn-convert .*?)```$", PAGE, re.DOTALL | re.MULTILINE)
    commands = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    assert len(commands) == 8
    for command in commands:
        _, *arguments = shlex.split(command)
        assert convert.main(arguments) == 0, command
        if "--format=label_studio " in command and "tasks.json" in command:
            tasks = json.loads((here / "tasks.json").read_text())
            assert tasks[0]["data"]["video"] == "/data/local-files/?d=clips/clip.mp4"
            tasks[0]["annotations"] = tasks[0]["predictions"]  # submitted as they are
            (here / "export.json").write_text(json.dumps(tasks))
        if "--output=project.json" in command:  # opened and saved
            (here / "via_project.json").write_text((here / "project.json").read_text())
        if "--to=annotations" in command:
            assert load_annotations(here / "annotations.json").videos["clip"].instances


def test_interfaces_have_the_names_that_are_written():
    for tag, name in (("TimelineLabels", "video"), ("TimeSeriesLabels", "series")):
        assert f'<{tag} name="actions" toName="{name}">' in PAGE
        assert f'name="{name}"' in PAGE and f'value="${name}"' in PAGE


def test_every_format_is_in_the_table():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == convert.FORMATS
