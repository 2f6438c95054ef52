"""cpmn-convert: detections to tools' files and labels back, by flags alone."""

import json

import pytest

from cpmn_tf.commands import convert
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.formats.detection_files import load_detection_file
from cpmn_tf.formats.detections import Detections, save_detections

# Ids and labels as people write them. With 30 frames per second, no time is on a frame's border.
ROWS = [
    ("video 1", "Jump & run", 1.23456, 4.5, 0.9),
    ("video 1", "Dive", 0.21, 7.77, 0.4),
    ("v-ü.2", 'say "a, b" <c>', 100.013, 101.987, 0.7),
    ("v-ü.2", "Dive", 3600.5, 3700.25, 0.2),
]


@pytest.fixture
def found(tmp_path):
    """A result file; `empty` was looked at, and nothing found."""
    path = tmp_path / "found.json"
    save_detections(path, Detections.from_rows(["video 1", "empty"], ROWS), "test")
    return path


def command(**flags):
    return convert.main([f"--{name}={value}" for name, value in flags.items()])


def submitted(tasks):
    """The export of tasks whose predictions someone accepted as they are."""
    for task in tasks:
        result = task["predictions"][0]["result"]
        task["annotations"] = [{"id": 1, "result": result, "was_cancelled": False}]
    return tasks


# From detections to the tool's file, and from what is saved there to annotations: how far times may
# move, in seconds.
@pytest.mark.parametrize(
    "name, apart",
    [("csv", 0), ("via", 0), ("label_studio_series", 0), ("label_studio", 0.5 / 30 + 1e-9)],
)
def test_there_and_back(found, tmp_path, capsys, name, apart):
    path, back = tmp_path / f"tool.{'csv' if name == 'csv' else 'json'}", tmp_path / "back.json"
    assert command(input=found, format=name, output=path, fps=30) == 0
    assert "4 detections in 3 videos" in capsys.readouterr().out
    if name.startswith("label_studio"):
        path.write_text(json.dumps(submitted(json.loads(path.read_text()))))
    reader = name.removesuffix("_series")
    assert command(to="annotations", input=path, format=reader, output=back, subset="test") == 0
    assert "4 instances of 3 classes" in capsys.readouterr().out
    annotations = load_annotations(back)
    assert {video.subset for video in annotations.videos.values()} == {"test"}
    again = sorted(
        (video.id, item.label, item.start, item.end)
        for video in annotations.videos.values()
        for item in video.instances
    )
    for row, (video, label, start, end) in zip(sorted(ROWS), again, strict=True):
        assert (video, label) == row[:2]
        assert abs(start - row[2]) <= apart and abs(end - row[3]) <= apart
    # An accepted task without a region is a video that shows nothing; other tools do not say that.
    assert ("empty" in annotations.videos) == name.startswith("label_studio")


def test_csv_is_read_as_detections_again(found, tmp_path):
    assert command(input=found, format="csv", output=tmp_path / "d.csv") == 0
    lines = (tmp_path / "d.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["video,label,start,end,score", "video 1,Dive,0.21,7.77,0.4"]
    again = load_detection_file(tmp_path / "d.csv")
    assert sorted(again.score.tolist()) == [0.2, 0.4, 0.7, 0.9]


def test_scores_and_counts(found, tmp_path):
    def kept(**flags):
        assert command(input=found, format="csv", output=tmp_path / "d.csv", **flags) == 0
        return sorted(load_detection_file(tmp_path / "d.csv").score.tolist())

    assert kept(min_score=0.4) == [0.4, 0.7, 0.9]
    assert kept(top_k=1) == [0.7, 0.9]
    assert kept(min_score=0.8, top_k=1) == [0.9]
    assert kept(top_k=9) == [0.2, 0.4, 0.7, 0.9]


@pytest.mark.parametrize("name", ["vtt", "srt"])
def test_subtitles_of_every_video(found, tmp_path, name):
    """Called as the video, for players look there; empty ones replace those of an earlier model."""
    assert command(input=found, format=name, output=tmp_path / "out") == 0
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    assert files.keys() == {f"video 1.{name}", f"empty.{name}", f"v-ü.2.{name}"}
    assert files[f"video 1.{name}"].count(" --> ") == 2
    assert " --> " not in files[f"empty.{name}"]


def test_subtitles_of_one_video(found, tmp_path, capsys):
    assert command(input=found, format="vtt", output=tmp_path / "one.vtt") == 1
    assert "one.vtt: is for one video, and the detections are of 3" in capsys.readouterr().err
    save_detections(found, Detections.from_rows((), ROWS[:2]), "test")
    assert command(input=found, format="vtt", output=tmp_path / "one.vtt", min_score=0.5) == 0
    assert (tmp_path / "one.vtt").read_text().endswith("00:00:04.500\nJump &amp; run 0.90\n")


def test_an_id_that_names_no_file(found, tmp_path, capsys):
    save_detections(found, Detections.from_rows((), [("../a", *ROWS[0][1:])]), "test")
    assert command(input=found, format="srt", output=tmp_path / "out") == 1
    assert "video '../a': this id cannot name a file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_video_info_goes_before_fps(found, tmp_path, capsys):
    (tmp_path / "videos.csv").write_text(
        "video,fps,duration,subset\nvideo 1,10,8,validation\nempty,10,5,\n", encoding="utf-8"
    )
    flags = {"input": found, "format": "label_studio", "output": tmp_path / "t.json"}
    assert command(**flags, video_info=tmp_path / "videos.csv") == 1
    error = capsys.readouterr().err
    assert "video 'v-ü.2': Label Studio counts frames" in error
    assert "give --fps or --video_info" in error
    assert command(**flags, video_info=tmp_path / "videos.csv", fps=50) == 0
    tasks = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    rates = {task["data"]["video_id"]: task["data"]["fps"] for task in tasks}
    assert rates == {"video 1": 10, "empty": 10, "v-ü.2": 50}
    assert tasks[0]["predictions"][0]["model_version"] == "found"
    (tmp_path / "t.json").write_text(json.dumps(submitted(tasks)))
    flags |= {"input": tmp_path / "t.json", "output": tmp_path / "a.json"}
    assert command(to="annotations", **flags, video_info=tmp_path / "videos.csv") == 0
    videos = load_annotations(tmp_path / "a.json").videos
    known = {name: (video.subset, video.duration, video.fps) for name, video in videos.items()}
    assert known["video 1"] == ("validation", 8, 10)
    assert known["v-ü.2"] == ("training", None, None)


def test_what_is_left_out_is_said(tmp_path, capsys):
    region = {"type": "choices", "value": {"choices": ["good"]}}
    task = {"data": {"video": "a.mp4"}, "annotations": [{"result": [region]}]}
    (tmp_path / "e.json").write_text(json.dumps([task]))
    flags = {"input": tmp_path / "e.json", "output": tmp_path / "a.json"}
    assert command(to="annotations", format="label_studio", **flags) == 0
    shown = capsys.readouterr().out
    assert "left out, regions of the type 'choices': 1" in shown
    assert "0 instances of 0 classes in 1 video" in shown


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"format": "vtt"}, "--output must be given"),
        ({"format": "ass", "output": "x"}, "--format=ass: value should be one of"),
        ({"format": "via", "output": "x", "media": "a.mp4"}, "--media must hold {}"),
        ({"format": "vtt", "output": "x", "to": "annotations"}, "--to=annotations reads"),
        ({"format": "via", "output": "x", "to": "annotations", "top_k": 2}, "are of detections"),
        ({"format": "via", "output": "x", "top_k": 0}, "top_k"),
        ({"format": "vtt", "output": "x.srt"}, "--output=x.srt is not of --format=vtt"),
    ],
)
def test_wrong_flags(found, capsys, flags, message):
    assert command(input=found, **flags) == 2
    assert message in capsys.readouterr().err


def test_fps_must_be_positive(found, tmp_path, capsys):
    output = tmp_path / "x.json"
    assert command(input=found, format="label_studio", output=output, fps=-1) == 1
    assert "--fps is -1.0; it must be positive" in capsys.readouterr().err
