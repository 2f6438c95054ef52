"""Runs the examples of docs/your_own_data.md, each on a small data set of exactly its form."""

import importlib
import json
import pathlib
import re
import shlex
import struct

import numpy as np
import pytest

from cpmn_tf.data.manifest import Manifest
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.formats.detections import load_detections

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your_own_data.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```console (\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
MODULES = dict(re.findall(r'"(cpmn-[\w-]+)": "([\w.]+)"', (ROOT / "setup.py").read_text()))
SETTINGS = [
    f"--set={setting}"
    for setting in (
        "cascade.units=32",
        "cascade.filters=8",
        "cascade.stages=1",
        "cascade.layers=1",
        "pyramid.filters=8",
        "pyramid.levels=1",
        "pyramid.window=16",
        "pyramid.train_stride=16",
        "pyramid.stride=16",
        "training.batch_size=4",
        "training.epochs=1",
        "training.final_epochs=1",
    )
]
CLASSES = ("Dive", "Jump")


def run(name: str) -> list[int]:
    """Runs a block's commands in the working folder, training tiny; returns their exit codes."""
    codes = []
    for line in BLOCKS[name].replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line)
        if program == "cpmn-train":
            arguments += SETTINGS
        codes.append(importlib.import_module(MODULES[program]).main(arguments))
    return codes


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def features(units: int, label: int, width: int, seed: int) -> np.ndarray:
    """Noise, and the class in the middle third."""
    values = np.random.default_rng(seed).normal(size=(units, width)).astype(np.float32)
    values[units // 3 : 2 * units // 3, label :: len(CLASSES)] += 3
    return values


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def plain(folder, subsets) -> dict:
    """features/STREAM/ID.npy of 45 units (28.8 s at 16 frames of 25), and raw annotations."""
    database = {}
    for number, subset in enumerate(subsets):
        key, label = f"video_{number:03d}", number % 2
        for stream, width in (("rgb", 12), ("flow", 8)):
            save(folder / "features" / stream / f"{key}.npy", features(45, label, width, number))
        database[key] = {
            "subset": subset,
            "fps": 25,
            "duration": 28.8,
            "annotations": [{"label": CLASSES[label], "segment": [9.6, 19.2]}],
        }
    return database


def write(folder, database):
    (folder / "annotations.json").write_text(json.dumps({"database": database}))


def test_every_example_is_run():
    tested = {name for name in globals() if name.startswith("test_")}
    assert {f"test_{name}" for name in BLOCKS} <= tested and len(BLOCKS) == 10


def test_validate(here, capsys):
    database = plain(here, ["training"] * 7 + ["testing"])
    (here / "features/flow/video_007.npy").rename(here / "features/flow/extra.npy")
    (here / "features/rgb/video_007.npy").unlink()
    save(here / "features/rgb/video_007.npy", features(45, 1, 12, 7))
    broken = features(45, 1, 12, 3)
    broken[4, 2] = np.nan
    save(here / "features/rgb/video_003.npy", broken)
    database["video_001"]["annotations"][0]["segment"] = [9.0, 2.0]
    database["video_006"]["subset"] = "testing"
    write(here, database)
    assert run("validate") == [1]
    shown = re.search(r"^```text output\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE).group(1)
    assert capsys.readouterr().out == shown


def test_records(here):
    test_folders(here)
    assert run("records") == [0]


def test_folders(here):
    write(here, plain(here, ["training", "training", "testing", "testing"]))
    assert run("folders") == [0]
    assert Manifest.load(here / "records").rate == 25 / 16


def test_joint(here):
    write(here, plain(here, ["training", "training", "testing", "testing"]))
    for path in sorted((here / "features" / "rgb").iterdir()):
        flow = np.load(here / "features" / "flow" / path.name)
        save(here / "joint" / path.name, np.concatenate([np.load(path), flow], axis=1))
    assert run("joint") == [0]
    streams = Manifest.load(here / "records_joint").streams
    assert [(spec.name, spec.width) for spec in streams] == [("rgb", 12), ("flow", 8)]


def test_basnet(here, capsys):
    """Strings as segments, no fps, no duration, `validation` in `train`: as gt.json has it."""
    database = {}
    for number in range(10):
        part = "train" if number < 6 else "test"
        subset = {"train": "validation"}.get(part, part)
        key = f"video_{subset}_{number:07d}"
        for stream in ("rgb", "flow"):
            path = here / "THUMOS14" / "features" / part / stream / f"{key}.npy"
            save(path, features(45, number % 2, 16, number))
        items = [{"label": CLASSES[number % 2], "segment": ["9.6", "19.2"]}]
        database[key] = {"annotations": items, "subset": subset}
    (here / "THUMOS14" / "gt.json").write_text(json.dumps({"database": database}))
    assert run("basnet") == [0, 0, 0]
    output = capsys.readouterr().out
    assert "activitynet" in output and "thumos14" in output and "0.7" in output
    assert len(load_detections(here / "detections.json").videos) == 4


def test_labels(here):
    plain(here, ["training"] * 6)
    (here / "features" / "flow").rename(here / "unused")  # one stream trains in half the time
    lines = [f"video_{number:03d},{CLASSES[number % 2]}" for number in range(5)]
    text = "\n".join(["video,labels", *lines, "video_005,"])
    (here / "labels.csv").write_text(text)
    assert run("labels") == [0, 0, 0]
    built = load_annotations(here / "records" / "annotations.json")
    assert not any(video.instances for video in built.videos.values())
    detections = load_detections(here / "detections.json")
    assert len(detections.videos) == 6 and len(detections)


def test_thumos14(here):
    for subset in ("val", "test"):
        folder = here / f"{subset}_annotations"
        folder.mkdir()
        for name in CLASSES:
            text = f"video_{subset}_{name}  1.5 3.0\nvideo_{subset}_{name}  4.0 5.5\n"
            (folder / f"{name}_{subset}.txt").write_text(text)
    (here / "test_annotations" / "Ambiguous_test.txt").write_text("video_test_Dive 7.0 8.0\n")
    rows = ["video,fps,duration"]
    for label, name in enumerate(CLASSES):
        for subset in ("val", "test"):
            rows.append(f"video_{subset}_{name},30,9.0")
            path = here / "features" / "rgb" / f"video_{subset}_{name}.npy"
            save(path, features(54, label, 12, label))
    (here / "videos.csv").write_text("\n".join(rows))
    assert run("thumos14") == [0]
    videos = load_annotations(here / "records" / "annotations.json").videos
    assert videos["video_test_Dive"].ambiguous == ((7.0, 8.0),)
    assert len(videos["video_val_Jump"].instances) == 2
    assert Manifest.load(here / "records").rate == 6.0


def test_wtalc(here):
    arrays = np.empty(4, object)
    arrays[:] = [features(40 + number, number % 2, 24, number) for number in range(4)]
    np.save(here / "Thumos14reduced-I3D-JOINTFeatures.npy", arrays, allow_pickle=True)
    folder = here / "Thumos14reduced-Annotations"
    folder.mkdir()
    labels, segments = np.empty(4, object), np.empty(4, object)
    labels[:] = [[CLASSES[number % 2]] for number in range(4)]
    segments[:] = [[[1.0, 2.0]]] * 4
    for name, values in (
        ("videoname", np.array([f"video_{number}" for number in range(4)], "S")),
        ("subset", np.array(["validation", "validation", "test", "test"], "S")),
        ("classlist", np.array(CLASSES, "S")),
        ("labels_all", labels),
        ("labels", labels),
        ("segments", segments),
        ("duration", np.array([[26.0]] * 4)),
    ):
        np.save(folder / f"{name}.npy", values, allow_pickle=True)
    assert run("wtalc") == [0]
    manifest = Manifest.load(here / "records")
    assert [(spec.name, spec.width) for spec in manifest.streams] == [("rgb", 12), ("flow", 12)]
    assert manifest.num_videos("validation") == manifest.num_videos("test") == 2


def test_bsn(here):
    (here / "csv_mean_100").mkdir()
    entries, rows = {}, ["video,numFrame,seconds,fps,rfps,subset,featureFrame"]
    for number, subset in enumerate(("training", "training", "validation")):
        key = f"v_video{number}"
        header = ",".join(f"f{column}" for column in range(400))
        values = features(100, number % 2, 400, number)
        path = here / "csv_mean_100" / f"{key}.csv"
        np.savetxt(path, values, delimiter=",", header=header, comments="")
        items = [{"segment": [0.01, 9.5], "label": CLASSES[number % 2]}]
        counts = {"duration_second": 30.0, "duration_frame": 900, "feature_frame": 896}
        entries[key] = {**counts, "annotations": items}
        rows.append(f"{key},900,30.0,30.0,30.0,{subset},896")
    (here / "anet_anno_action.json").write_text(json.dumps(entries))
    (here / "video_info_new.csv").write_text("\n".join(rows))
    assert run("bsn") == [0]
    assert Manifest.load(here / "records").num_videos("validation") == 1


def test_youtube8m(here):
    import tensorflow as tf

    (here / "frame").mkdir()
    rng = np.random.default_rng(0)
    for subset in ("train", "validate"):
        with tf.io.TFRecordWriter(str(here / "frame" / f"{subset}0000.tfrecord")) as writer:
            for number in range(2):
                record = tf.train.SequenceExample()
                key = struct.pack("<I", rng.integers(1 << 31)).hex()[:4] + subset[0] + str(number)
                record.context.feature["id"].bytes_list.value.append(key.encode())
                record.context.feature["labels"].int64_list.value.append(number)
                for stream, width in (("rgb", 1024), ("audio", 128)):
                    for _ in range(20):
                        item = record.feature_lists.feature_list[stream].feature.add()
                        item.bytes_list.value.append(rng.bytes(width))
                writer.write(record.SerializeToString())
    (here / "vocabulary.csv").write_text("Index,Name\n0,Game\n1,Concert\n")
    assert run("youtube8m") == [0]
    manifest = Manifest.load(here / "records")
    assert manifest.classes == ("Game", "Concert") and manifest.rate == 1.0
