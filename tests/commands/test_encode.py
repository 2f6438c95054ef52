"""`cpmn-encode`: what it prints and writes is what `cpmn-build-records` takes."""

import json
import shlex
import sys
import types

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf.commands import encode
from cpmn_tf.data.manifest import Manifest
from tfrecords_tools.commands import build_records

NAMES = ("Jump one", "-jump", "Plongée 動画")


@pytest.fixture
def folder(video_writer, tmp_path):
    """Three clips of 60 frames at 10 per second."""
    (tmp_path / "my clips").mkdir()
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        images = [np.roll(noise, k, 1) for k in range(60)]
        video_writer(tmp_path / "my clips" / f"{name}.mkv", images)
    return tmp_path / "my clips"


@pytest.fixture
def opened(monkeypatch, mean_color) -> list:
    """The calls of `open_encoder`, which gives networks that average colors."""
    calls = []

    def open_encoder(name, **settings):
        calls.append((name, settings))
        channels = {"rgb": 3, "flow": 2 * settings["flow_frames"]}
        nets = {stream: mean_color(28, channels[stream]) for stream in settings["streams"]}
        return types.SimpleNamespace(streams=nets)

    module = types.ModuleType("cpmn_tf.encoding.encoders")
    module.open_encoder = open_encoder
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_from_videos_to_records(folder, opened, tmp_path, capsys):
    out = tmp_path / "the features"
    arguments = [f"--videos={folder}", f"--output_dir={out}", "--unit_frames=5", "--weights=random"]
    assert encode.main(arguments) == 0
    assert opened == [
        (
            "untrimmednet",
            {
                "weights": "random",
                "layer": "fc-action",
                "flow_frames": 5,
                "seed": 0,
                "streams": ("rgb", "flow"),
                "precision": "float32",
                "devices": [],
            },
        )
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "optical flow: dis, 5 frame pairs per unit"
    facts = "12 units, 60 frames at 10 per second, 6.000 s; 0 repeated, 0 skipped"
    assert lines[1:4] == [f"{name}: {facts}" for name in sorted(NAMES)]
    assert lines[4] == "3 encoded, 0 finished before, 0 failed"
    labels = dict(zip(NAMES, ("Jump", "Jump", "Dive"), strict=True))
    database = {
        name: {"subset": "training", "annotations": [{"label": label, "segment": [1, 3]}]}
        for name, label in labels.items()
    }
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    command = lines[5].removeprefix("next: ")
    command = command.replace("ANNOTATIONS", str(tmp_path / "labels.json"))
    program, *flags = shlex.split(command.replace("RECORDS", str(tmp_path / "records")))
    assert program == "cpmn-build-records" and build_records.main(flags) == 0
    manifest = Manifest.load(tmp_path / "records")
    assert {spec.name: spec.width for spec in manifest.streams} == {"rgb": 3, "flow": 10}
    assert sum(shard.units for shard in manifest.splits["training"]) == 36
    capsys.readouterr()
    assert encode.main(arguments) == 0
    assert "0 encoded, 3 finished before, 0 failed" in capsys.readouterr().out


def test_one_failure_ends_with_exit_code_1(folder, opened, tmp_path, capsys):
    (folder / "b.mp4").write_text("no video")
    more = ["--unit_frames=16", "--weights=rgb=a.h5", "--streams=rgb", "--crops=10", "--fps=20"]
    assert encode.main([f"--videos={folder}", f"--output_dir={tmp_path / 'out'}", *more]) == 1
    assert opened[0][1]["weights"] == {"rgb": "a.h5"} and opened[0][1]["streams"] == ("rgb",)
    out, error = capsys.readouterr()
    assert "optical flow" not in out
    assert (
        "7 units, 120 frames at 20 per second, 6.000 s; 60 repeated, 0 skipped; the last 8" in out
    )
    assert "3 encoded, 0 finished before, 1 failed" in out
    assert error.startswith(f"cpmn-encode: error: {folder / 'b.mp4'}: cannot be read as a video")
    assert error.endswith("(1 video not encoded)\n") and error.count("\n") == 1


@pytest.mark.parametrize(
    "change, code, expected",
    [
        (["--output_dir="], 2, "--output_dir must be given"),
        (["--weights=imagenet,rgb=x"], 2, "give random, imagenet, or rgb=FILE,flow=FILE"),
        (["--crops=5"], 2, "crops"),
        (["--unit_frames=-1"], 1, "--unit_frames is -1"),
        (["--fps=-2"], 1, "--fps is -2"),
    ],
)
def test_refusals(folder, opened, tmp_path, capsys, change, code, expected):
    arguments = [f"--videos={folder}", f"--output_dir={tmp_path / 'out'}", "--unit_frames=5"]
    assert encode.main([*arguments, "--weights=random", *change]) == code
    error = capsys.readouterr().err
    assert expected in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_layers_left_over_are_named(folder, opened, mean_color, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mean_color, "left_over", ("fc", "loss"))
    arguments = [f"--videos={folder}", f"--output_dir={tmp_path / 'out'}", "--unit_frames=5"]
    assert encode.main([*arguments, "--weights=random", "--streams=rgb"]) == 0
    line = "rgb: layers of the file that are not used: fc, loss"
    assert capsys.readouterr().out.splitlines()[0] == line


def test_without_the_libraries(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = [f"--videos={folder}", f"--output_dir={tmp_path}", "--unit_frames=5"]
    assert encode.main([*arguments, "--weights=random"]) == 1
    assert "PyAV is not installed; run: pip install 'cpmn-tf[video]'" in capsys.readouterr().err
