"""`cpmn-localize --video`: from a file's pixels to what a person looks at."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

import av
from PIL import Image

from cpmn_tf.commands import export, localize

NAME = "clip 3"  # of the test split


@pytest.fixture
def arguments(of_videos, tmp_path) -> list[str]:
    return [
        f"--video={of_videos.videos / f'{NAME}.mkv'}",
        f"--model_dir={of_videos.model}",
        f"--output={tmp_path / 'out' / 'found.json'}",
    ]


@pytest.fixture
def silent_model(of_videos, tmp_path):
    """The model's folder, without how its features were made."""
    folder = shutil.copytree(of_videos.model, tmp_path / "silent")
    value = json.loads((folder / "model.json").read_text())
    del value["encoder"]
    (folder / "model.json").write_text(json.dumps(value))
    return folder


def rows(path) -> list[tuple]:
    """(label, start, end, score) of the one video of a result file."""
    ((video, found),) = json.loads(path.read_text())["results"].items()
    assert video == NAME
    return [(row["label"], *row["segment"], row["score"]) for row in found]


@pytest.fixture(scope="module")
def in_records(of_videos, tmp_path_factory) -> list[tuple]:
    """What is found in the video's records."""
    path = tmp_path_factory.mktemp("records") / "found.json"
    flags = [f"--data_dir={of_videos.records}", f"--model_dir={of_videos.model}"]
    assert localize.main([*flags, f"--output={path}"]) == 0
    results = json.loads(path.read_text())["results"]
    return [(row["label"], *row["segment"], row["score"]) for row in results[NAME]]


def assert_same(ours, theirs):
    assert len(ours) > 3 and [row[0] for row in ours] == [row[0] for row in theirs]
    np.testing.assert_allclose([r[1:] for r in ours], [r[1:] for r in theirs], rtol=1e-4, atol=1e-5)


def test_all_that_is_written(arguments, of_videos, in_records, tmp_path, capsys):
    copy = tmp_path / "copy.mp4"
    more = [f"--encoder={of_videos.encoder}", f"--annotated_video={copy}", "--shown=3"]
    assert localize.main([*arguments, *more]) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        f"found.{e}" for e in ("json", "vtt", "srt", "png")
    }
    found = rows(out / "found.json")
    assert_same(found, in_records)
    details = json.loads((out / "found.json").read_text())["external_data"]["details"]
    assert details == f"cpmn_tf, {of_videos.model}"

    best = sorted(sorted(found, key=lambda row: -row[3])[:3], key=lambda row: (row[1], row[2]))
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == f"{NAME}: 30 units, 60 frames at 10 per second, 6.000 s; 0 repeated, 0 skipped"
    )
    assert lines[1].split() == ["start", "end", "score", "action"]
    assert [line.split() for line in lines[2:5]] == [
        [f"{start:.2f}", f"{end:.2f}", f"{score:.3f}", label] for label, start, end, score in best
    ]
    paths = [*(out / f"found.{ending}" for ending in ("json", "vtt", "srt", "png")), copy]
    assert lines[5] == f"{len(found)} detections: {', '.join(map(str, paths))}" and len(lines) == 6

    for ending in ("vtt", "srt"):
        text = (out / f"found.{ending}").read_text()
        assert text.count(" --> ") == 3 and f"{best[0][0]} {best[0][3]:.2f}" in text
    assert Image.open(out / "found.png").size[0] == 1210  # 11 inches
    with av.open(str(copy)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60


def test_the_picture_has_the_videos_frames_on_top(arguments, of_videos, tmp_path, monkeypatch):
    from cpmn_tf import plotting

    drawn = []

    def figure(curves, frames):
        drawn.append((curves, frames))
        return draw(curves, frames)

    draw = plotting.figure
    monkeypatch.setattr(plotting, "figure", figure)
    assert localize.main([*arguments, f"--encoder={of_videos.encoder}"]) == 0
    ((curves, frames),) = drawn
    assert (curves.id, curves.duration) == (NAME, 6.0)
    assert all(item.labelled is None and item.truth is None for item in curves.classes)
    assert len(frames) == 9 and {frame.shape for frame in frames} == {(96, 144, 3)}


def test_no_detection_is_said_by_every_file(arguments, of_videos, tmp_path, capsys):
    copy = tmp_path / "copy.mp4"
    more = [f"--encoder={of_videos.encoder}", f"--annotated_video={copy}"]
    assert localize.main([*arguments, *more, "--set=localization.min_seconds=1e6"]) == 0
    assert rows(tmp_path / "out" / "found.json") == []
    assert "\n0 detections: " in capsys.readouterr().out
    assert (tmp_path / "out" / "found.vtt").read_text() == "WEBVTT\n" and copy.exists()


def test_a_model_that_says_nothing_is_told_the_encoder(
    arguments, silent_model, of_videos, in_records, tmp_path, capsys
):
    arguments[1] = f"--model_dir={silent_model}"
    given = [f"--encoder={of_videos.encoder}", "--unit_frames=2", "--flow_frames=2"]
    assert localize.main([*arguments, *given]) == 0
    unchecked = "the model does not say how its features were made: nothing was checked\n"
    assert capsys.readouterr().out.startswith(unchecked)
    assert_same(rows(tmp_path / "out" / "found.json"), in_records)
    # Units of another length are other units: it is the flag that is followed.
    assert localize.main([*arguments, *given[::2], "--unit_frames=3", "--fps=20"]) == 0
    assert "40 units, 120 frames at 20 per second" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["encoder", "unit_frames"])
def test_a_model_that_says_nothing_needs_both(
    arguments, silent_model, of_videos, tmp_path, capsys, missing
):
    arguments[1] = f"--model_dir={silent_model}"
    given = {"encoder": of_videos.encoder, "unit_frames": 2, "flow_frames": 2}
    del given[missing]
    flags = [f"--{name}={value}" for name, value in given.items()]
    assert localize.main([*arguments, *flags]) == 1
    assert capsys.readouterr().err == (
        f"cpmn-localize: error: {silent_model}: does not say how its features were made; give "
        "--encoder, --unit_frames and what else they were made with\n"
    )
    assert not (tmp_path / "out").exists()


def test_features_of_another_width_are_refused(arguments, silent_model, tmp_path, capsys):
    arguments[1] = f"--model_dir={silent_model}"
    given = ["--encoder=MobileNetV2", "--weights=random", "--unit_frames=2", "--streams=rgb"]
    assert localize.main([*arguments, *given]) == 1
    assert capsys.readouterr().err == (
        "cpmn-localize: error: --encoder=MobileNetV2: makes 1280 values of rgb, the model takes 6; "
        "give the encoder of its training videos\n"
    )
    assert not (tmp_path / "out").exists()


def test_an_export_needs_no_more(arguments, of_videos, in_records, tmp_path, capsys):
    versions = tmp_path / "versions"
    assert export.main([f"--model_dir={of_videos.model}", f"--export_dir={versions}"]) == 0
    asset = json.loads((versions / "1" / "assets" / "model.json").read_text())
    assert asset["encoder"] == json.loads((of_videos.encoded / "encoder.json").read_text())
    arguments[1] = f"--saved_model={versions}"
    assert localize.main([*arguments, f"--encoder={of_videos.encoder}"]) == 0
    assert_same(rows(tmp_path / "out" / "found.json"), in_records)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"found.json", "found.vtt", "found.srt"}  # curves are not in a graph


@pytest.mark.parametrize(
    "flag",
    ["unit_frames=2", "fps=10", "flow=dis", "flow_frames=2", "layer=x", "seed=1", "crops=10"],
)
def test_what_the_model_says_is_not_given(arguments, of_videos, tmp_path, capsys, flag):
    assert localize.main([*arguments, f"--encoder={of_videos.encoder}", f"--{flag}"]) == 1
    name = flag.partition("=")[0]
    assert capsys.readouterr().err == (
        f"cpmn-localize: error: --{name}: the model says what it was; leave it out\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change, code, expected",
    [
        ([], 1, "were made by the files of 'flow.keras' (sha256:"),
        (["--data_dir=x"], 2, "give either --data_dir or --video"),
        (["--video="], 2, "give either --data_dir or --video"),
        (["--output="], 2, "--output must be given"),
        (["--evaluate=both"], 2, "--evaluate goes with --data_dir only"),
        (["--class_scores=x"], 2, "--class_scores goes with --data_dir only"),
        (["--video=", "--data_dir=x", "--encoder=tsn"], 2, "--encoder goes with --video only"),
        (["--video=", "--data_dir=x", "--shown=3"], 2, "--shown goes with --video only"),
        (["--shown=0"], 2, "shown"),
    ],
)
def test_refusals(arguments, tmp_path, capsys, change, code, expected):
    assert localize.main([*arguments, *change]) == code
    error = capsys.readouterr().err
    assert expected in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_another_encoder_is_refused_by_field(arguments, encoder_writer, tmp_path, capsys):
    other = encoder_writer(tmp_path / "networks", seed=1)
    assert localize.main([*arguments, f"--encoder={other}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "cpmn-localize: error: --encoder: the model's features were made with flow.weights='sha256:"
    )
    assert error.endswith("; give the encoder that made them\n") and error.count("\n") == 1


def test_a_copy_that_cannot_be_written_is_one_line(arguments, of_videos, tmp_path, capsys):
    copy = tmp_path / "copy.txt"
    more = [f"--encoder={of_videos.encoder}", f"--annotated_video={copy}"]
    assert localize.main([*arguments, *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"cpmn-localize: error: {copy}: cannot be written as H.264 in .txt (")
    assert error.count("\n") == 1 and not copy.exists()


def test_without_the_libraries(arguments, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert localize.main(arguments) == 1
    assert "PyAV is not installed; run: pip install 'cpmn-tf[video]'" in capsys.readouterr().err
