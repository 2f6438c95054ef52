"""The demonstration on videos: its commands exist, and it runs from pixels on in miniature."""

import importlib
import json
import shlex

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf.commands import cli, encode
from experiments import synthetic_videos, video_demo
from experiments.synthetic_videos import ACTIONS

STEPS = [*video_demo.steps(), video_demo.shown_video()]


def test_every_step_is_a_command_with_its_flags():
    programs = []
    for _, _, command in STEPS:
        program, *arguments = shlex.split(command)
        package = "tfrecords_tools" if program.endswith("-records") else "cpmn_tf"
        name = program.removeprefix("cpmn-").replace("-", "_")
        module = importlib.import_module(f"{package}.commands.{name}")
        values = cli.Flags()
        module.define_flags(values)
        assert values([program, *arguments]) == [program]  # none is left over, none is unknown
        programs.append(program.removeprefix("cpmn-"))
    assert programs == [
        *("encode", "build-records", "train"),
        *("localize", "evaluate") * 3,
        "localize",
    ]


def test_every_step_makes_what_it_says_and_a_later_one_takes():
    made = {output for _, output, _ in STEPS}
    assert len(made) == len(STEPS)
    for _, output, command in STEPS:
        assert f"OUT/{output}" in command
    given = {"videos", "networks", *(path.split("/")[0] for path in made)}
    for _, _, command in STEPS:
        used = {word.split("OUT/")[1].split("/")[0] for word in command.split() if "OUT/" in word}
        assert used <= given


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Seven clips and three videos."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_demo, "CLIPS", 1)
        patch.setattr(video_demo, "VIDEOS", {"training": 2, "testing": 1})
        video_demo.draw(out)
    return out


def test_what_is_drawn(drawn):
    clips = sorted(path.name for path in (drawn / "videos" / "clips").iterdir())
    assert clips == [f"{label}_00.mp4" for label in range(len(ACTIONS) + 1)]
    content = json.loads((drawn / "videos" / "annotations.json").read_text())
    assert content["classes"] == list(ACTIONS)
    files = {path.stem: path.parent.name for path in (drawn / "videos").glob("t*/*.mp4")}
    assert files == {name: entry["subset"] for name, entry in content["database"].items()}
    assert sorted(files) == ["testing_00", "training_00", "training_01"]


def test_networks_encode_what_comes_next(drawn, monkeypatch, capsys):
    monkeypatch.setattr(video_demo, "EPOCHS", 1)
    video_demo.train_networks(drawn)
    assert sorted(path.name for path in (drawn / "networks").iterdir()) == [
        "flow.keras",
        "rgb.keras",
    ]
    shown = capsys.readouterr().out
    assert "    rgb: " in shown and "    flow: " in shown and "% of the clips' units right" in shown
    _, *arguments = STEPS[0][2].replace("OUT", str(drawn)).split()
    assert encode.main(arguments) == 0
    content = json.loads((drawn / "videos" / "annotations.json").read_text())
    for name, entry in content["database"].items():
        last = entry["annotations"][-1]["segment"][1]
        for stream in ("rgb", "flow"):
            values = np.load(drawn / "encoded" / "features" / stream / f"{name}.npy")
            assert values.shape[1] == len(ACTIONS) + 1 and np.isfinite(values).all()
            # Between the last action and the end are 2 to 5 seconds, a unit is a third of one.
            seconds = len(values) * video_demo.UNIT_FRAMES / synthetic_videos.FPS
            assert last + 1.6 < seconds < last + 5.1


def test_the_summary_is_of_the_classes_by_what_tells_them(tmp_path, capsys):
    for streams, value in (("rgb", 0.0), ("flow", 0.2), ("rgb_flow", 0.4)):
        by_class = {
            action: [value, value + 0.2 * (place >= 3)] for place, action in enumerate(ACTIONS)
        }
        content = {"per_class": by_class}
        (tmp_path / f"metrics_{streams}.json").write_text(json.dumps(content))
    video_demo.summarize(tmp_path, 7.0)
    lines = capsys.readouterr().out.splitlines()
    assert "SYNTHETIC" in lines[1]
    assert [line.split() for line in lines[3:7]] == [
        ["by", "motion", "by", "colour", "all"],
        ["RGB", "alone", "0.0", "10.0", "5.0"],
        ["flow", "alone", "20.0", "30.0", "25.0"],
        ["both", "40.0", "50.0", "45.0"],
    ]
