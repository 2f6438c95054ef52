"""THUMOS14's official text files, as they are and as they are broken."""

import json

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import load_annotations
from tfrecords_tools.commands import build_records, validate_records
from tfrecords_tools.findings import Findings, raise_errors
from tfrecords_tools.reading.databases import parse
from tfrecords_tools.sources.thumos14 import read_folders

SUFFIXES = {"validation": "val", "test": "test"}


def write_official(folder, annotations, subset):
    """Writes a subset as the official text files."""
    folder.mkdir()
    lines: dict[str, list[str]] = {"Ambiguous": []}
    for video in annotations.subset(subset).videos.values():
        for item in video.instances:
            lines.setdefault(item.label, []).append(f"{video.id}  {item.start} {item.end}")
        lines["Ambiguous"] += [f"{video.id}  {start} {end}" for start, end in video.ambiguous]
    for name, rows in lines.items():
        (folder / f"{name}_{SUFFIXES[subset]}.txt").write_text("\n".join(rows) + "\n")


def test_the_real_annotations(thumos14, tmp_path, capsys):
    """Test text is the official one; the validation text is written anew from thumos14.json."""
    truth = load_annotations(thumos14 / "thumos14.json")
    write_official(tmp_path / "val", truth, "validation")
    info = ["video,duration,fps"]
    info += [f"{key},{video.duration!r},{video.fps!r}" for key, video in truth.videos.items()]
    (tmp_path / "info.csv").write_text("\n".join(info))
    rng = np.random.default_rng(0)
    for video in truth.videos.values():
        path = tmp_path / "features" / video.subset / "rgb" / f"{video.id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        units = max(round(video.duration * video.fps / 160), 1)
        np.save(path, rng.normal(size=(units, 2)).astype(np.float16))
    arguments = [
        "--source=thumos14",
        f"--features_dir={tmp_path / 'features'}",
        f"--annotations={tmp_path / 'val'},{thumos14 / 'test_annotations'}",
        f"--video_info={tmp_path / 'info.csv'}",
        "--unit_frames=160",
        f"--output_dir={tmp_path / 'records'}",
    ]
    assert build_records.main(arguments) == 0
    built = load_annotations(tmp_path / "records" / "annotations.json")
    assert built.classes == truth.classes and set(built.videos) == set(truth.videos)
    counts = {}
    for subset in ("validation", "test"):
        videos = built.subset(subset).videos.values()
        counts[subset] = (
            len(videos),
            sum(len(video.instances) for video in videos),
            sum(len(video.ambiguous) for video in videos),
        )
    assert counts == {"validation": (200, 3007, 89), "test": (213, 3358, 99)}
    for key, video in truth.videos.items():
        assert sorted(built.videos[key].instances) == sorted(video.instances)
        assert sorted(built.videos[key].ambiguous) == sorted(video.ambiguous)
        assert built.videos[key].fps == video.fps


@pytest.fixture
def official(tmp_path):
    folder = tmp_path / "official"
    folder.mkdir()
    (folder / "Run_val.txt").write_text("a  0.5 1.5\nb 2 3\n\n")
    (folder / "Run_test.txt").write_text("c 0 1\n")
    (folder / "Ambiguous_test.txt").write_text("d 4 5\n")
    (folder / "detclasslist.txt").write_text("1 Run\n")
    return folder


def test_text_files(official):
    raw = read_folders(str(official), raise_errors)
    assert raw["classes"] == ["Run"]
    assert {key: entry["subset"] for key, entry in raw["database"].items()} == {
        "a": "validation",
        "b": "validation",
        "c": "test",
        "d": "test",
    }
    entry = raw["database"]["d"]
    assert entry["ambiguous"] == [[4.0, 5.0]] and not entry["annotations"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\n", r"Jump_val.txt line 1: has 2 fields"),
        ("a 2 1\n", "ends before it starts"),
        ("a 1 nan\n", "must be finite"),
        ("../../x 1 2\n", "'../../x': this id cannot name a file"),
        ("c 1 2\n", "'c' is in another subset too"),
    ],
)
def test_broken_text_files(official, text, message):
    (official / "Jump_val.txt").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        parse(official, read_folders(str(official), raise_errors), raise_errors)
    assert str(official) in str(error.value) and "\n" not in str(error.value)


def test_all_broken_lines_at_once(official, tmp_path, capsys):
    text = "a 2 1\nb 1\nb x 2\nc 1 2\n../../x 1 2\nb 4 5\n"
    (official / "Jump_val.txt").write_text(text.replace("\n", "\r\n"))
    (official / "._Jump_val.txt").write_bytes(b"\0\5\x16\7")  # macOS
    rng = np.random.default_rng(0)
    for name in "abcd":
        path = tmp_path / "features" / "rgb" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.normal(size=(20, 2)))
    flags = ["--source=thumos14", f"--features_dir={tmp_path / 'features'}", "--fps=25", "--json"]
    arguments = [*flags, f"--annotations={official}", "--unit_frames=16"]
    assert validate_records.main(arguments) == 1
    content = json.loads(capsys.readouterr().out)
    counts = {item["kind"]: item["count"] for item in content["findings"]}
    assert counts == {"annotation": 2, "id": 1, "overlap": 1, "reversed": 1}  # c: in the test set
    assert content["videos"] == 4


def test_the_same_video_in_two_folders(official, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "Run_test.txt").write_text("a 0 1\n")
    with pytest.raises(UserError, match="'a' is in another folder too"):
        read_folders(f"{official},{other}", raise_errors)
    findings = Findings()
    read_folders(f"{official},{other}", findings.add)
    assert json.dumps(findings.to_json()).count("'a' is in another") == 1
    assert findings.found.keys() == {"overlap"}  # of validation, and of test
    with pytest.raises(UserError, match="holds no class file"):
        read_folders(str(tmp_path), raise_errors)
