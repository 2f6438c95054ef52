"""The readers that `fuzz_files` tries: a small sound folder for each, and how it is read.

What a reader returned is written and read again where there is a writer; a source is validated too,
and validation must find what reading refuses.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cpmn_tf.errors import UserError
from experiments.benchmarks.mutations import framed


@dataclasses.dataclass(frozen=True)
class Reader:
    """What is read.

    Attributes:
      make: writes a sound folder.
      read: reads the folder, of which some files (named) were changed; all that it found.
      fixed: files that are left as they are.
    """

    make: Callable[[pathlib.Path], None]
    read: Callable[[pathlib.Path, list[str]], Any]
    fixed: str = "(?!)"  # none


IDS = ("-first", "sec ond", "thi'r\"d", "vierte Ü動画")
LABELS = ("Dive", "Jump")


def database() -> dict[str, Any]:
    """ActivityNet's form, with all that it may say."""
    return {
        key: {
            "subset": ("training", "testing")[place // 2],
            "duration": (9.0, "9")[place % 2],
            "fps": 10,
            "annotations": [
                {"label": LABELS[place % 2], "segment": [0.5, "1.25"]},
                {"label": LABELS[place % 2], "segment": [2, 4.0 + place]},
            ],
            "ambiguous": [[5, 6]] if place == 1 else [],
        }
        for place, key in enumerate(IDS)
    }


def put(path: pathlib.Path, value: Any) -> None:
    """Writes text, or a value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def make_annotations(folder: pathlib.Path) -> None:
    """The forms of annotations."""
    put(folder / "a.json", {"database": database(), "classes": list(LABELS), "version": "x"})
    put(folder / "labels.csv", "video,labels\na,Dive|Jump\nb,\n")
    put(
        folder / "segments.csv",
        "video,label,start,end,subset,fps,duration\na,Dive,0.5,1.5,testing,25,9\nb,Jump,1,2,x,,\n",
    )


def read_annotations(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads each changed one, and writes and reads it again."""
    from cpmn_tf.formats.annotations import load_annotations, save_annotations

    for name in changed:
        found = load_annotations(folder / name)
        yield found
        save_annotations(folder.parent / "saved.json", found)
        again = load_annotations(folder.parent / "saved.json")
        assert again.videos == found.videos, "they are others once written"


def make_detections(folder: pathlib.Path) -> None:
    """The forms of detections."""
    rows = [("a", "Dive", 0.5, 1.5, 0.9), ("b", "Jump", 1.0, 2.0, -0.25), ("a", "Jump", 1, 2, 0.5)]
    results: dict[str, list] = {"a": [], "b": [], "c": []}
    for video, label, start, end, score in rows:
        results[video].append({"label": label, "score": score, "segment": [start, str(end)]})
    put(folder / "d.json", {"version": "VERSION 1.3", "results": results, "external_data": {}})
    lines = [f"{video},{start},{end},{label},{score}" for video, label, start, end, score in rows]
    put(folder / "d.csv", "\n".join(["video-id,t-start,t-end,label,score", *lines, ""]))
    put(folder / "d.txt", "a.mp4 0.5 1.5 7 0.9\nb 1 2 GolfSwing 0.5\n\nc 1e1 20 97 -1\n")


def read_detections(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads each changed one, and writes it in all forms."""
    from cpmn_tf.formats.detection_files import load_detection_file, save_detection_table
    from cpmn_tf.formats.detections import save_detections

    for name in changed:
        found = load_detection_file(folder / name, classes=LABELS)
        yield found
        save_detection_table(folder.parent / "saved.csv", found)
        save_detections(folder.parent / "saved.json", found, "")
        again = load_detection_file(folder.parent / "saved.json")
        ours, theirs = sorted(found.score.tolist()), sorted(again.score.tolist())
        assert ours == theirs, "they are others once written"


def make_class_scores(folder: pathlib.Path) -> None:
    """The forms of class scores."""
    scores = np.array([[0.25, 0.5], [1.0, 0.0]], np.float32)
    np.save(folder / "s.npy", scores)
    put(folder / "rows.lst", "a\nb\n")
    put(folder / "columns.lst", "1 Dive\n2 Jump\n")
    put(folder / "s.csv", "video,Dive,Jump\na,0.25,0.5\nb,1,0\n")
    put(folder / "s.json", {"a": {"Dive": 0.25, "Jump": 0.5}, "b": {"Dive": 1.0, "Jump": 0}})
    entries = [{"label": label, "score": 0.5} for label in LABELS]
    put(folder / "results.json", {"results": {"a": entries, "b": entries}})
    lists = {"a": [0.25, 0.5], "b": [1.0, 0.0]}
    put(folder / "lists.json", {"results": lists, "class": list(LABELS)})


def read_class_scores(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads each changed one."""
    from cpmn_tf.formats.class_scores import load_class_scores

    for name in changed:
        path = folder / (name if name[-4:] != ".lst" else "s.npy")
        arrays = {"rows": str(folder / "rows.lst"), "columns": str(folder / "columns.lst")}
        more = arrays if path.suffix == ".npy" else {}
        for scale in (None, 0.5):
            found = load_class_scores(
                path, video_ids=["a", "b"], classes=LABELS, scale=scale, **more
            )
            yield found
            assert found.shape == (2, 2) and found.min() >= 0 and found.max() <= 1


def make_labelled(folder: pathlib.Path) -> None:
    """What labelling tools export."""
    ranges = [{"start": 3, "end": 40}]
    frames = {"ranges": ranges, "timelinelabels": ["Dive"]}
    series = {"start": 0.5, "end": 2, "instant": False, "timeserieslabels": ["Jump"]}
    tasks = [
        {
            "id": number,
            "data": {"video": f"/data/upload/1/0123abcd-{key}.mp4", "fps": fps},
            "annotations": [
                {
                    "result": [{"type": kind, "value": value, "from_name": "actions"}],
                    "was_cancelled": False,
                    "updated_at": "2026-01-01T00:00:00Z",
                }
            ],
        }
        for number, (key, fps, kind, value) in enumerate(
            (("a", 25, "timelinelabels", frames), ("b", None, "timeserieslabels", series))
        )
    ]
    put(folder / "label_studio.json", tasks)
    attribute = {"aname": "x", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"1": "Dive"}}
    segment = {"vid": "1", "flg": 0, "z": [0.5, 2.0], "xy": [], "av": {"1": "1"}}
    via = {
        "project": {"pname": "x"},
        "attribute": {"1": attribute},
        "file": {"1": {"fid": "1", "fname": "a.mp4", "type": 4, "loc": 3, "src": "a.mp4"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"1_a": segment, "1_b": {**segment, "z": [3, 4]}},
    }
    put(folder / "via.json", via)
    put(folder / "info.csv", "video,fps,duration,subset\na,25,9,training\nb,30,9,testing\n")


def read_labelled(folder: pathlib.Path, changed: list[str]) -> Any:
    """Brings each changed one back by `cpmn-convert`."""
    from cpmn_tf.commands import convert
    from cpmn_tf.formats.annotations import load_annotations

    for name in [name for name in changed if name != "info.csv"] or ["label_studio.json"]:
        output = folder.parent / "saved.json"
        command(
            convert.main,
            f"--to=annotations --input={folder / name} --format={pathlib.Path(name).stem}",
            f"--video_info={folder / 'info.csv'} --output={output}",
        )
        yield load_annotations(output)


def make_evaluated(folder: pathlib.Path) -> None:
    """Truth, detections and flags of `cpmn-evaluate`."""
    put(folder / "a.json", {"database": database()})
    results = {
        key: [
            {"label": LABELS[place % 2], "score": 0.5 + place / 10, "segment": [0.5, 1.2]},
            {"label": LABELS[place % 2], "score": 0.25, "segment": [2, 4.1]},
        ]
        for place, key in enumerate(IDS)
    }
    put(folder / "d.json", {"results": results})
    put(folder / "more.flags", "--protocol=both\n--split=testing\n# a note\n--tiou=0.1:0.1:0.7\n")


def read_evaluated(folder: pathlib.Path, changed: list[str]) -> Any:
    """Evaluates."""
    from cpmn_tf.commands import evaluate

    output = folder.parent / "saved.json"
    command(
        evaluate.main,
        f"--annotations={folder / 'a.json'} --detections={folder / 'd.json'}",
        f"--flagfile={folder / 'more.flags'} --output={output}",
    )
    yield json.loads(output.read_text())


def command(main: Callable[[list[str]], int], *flags: str) -> None:
    """Runs a command.

    Raises:
      UserError: what it said, if it ended with 1, or with 2.
      AssertionError: if that was not one line.
    """
    said = io.StringIO()
    # Paths of the scratch folder have no blanks.
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(" ".join(flags).split())
    if code == 0:
        return
    lines = [line for line in said.getvalue().splitlines() if line.startswith("cpmn-")]
    assert code in (1, 2) and len(lines) == 1, (code, said.getvalue())
    raise UserError(lines[0])


def make_settings(folder: pathlib.Path) -> None:
    """All settings, in a file and as they are assigned."""
    from cpmn_tf.config import Config

    put(folder / "config.json", Config().to_dict())
    values = Config().to_dict()
    del values["preset"]
    lines = [
        f"{section}.{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for section, fields in values.items()
        for name, value in fields.items()
    ]
    put(folder / "set.lst", "\n".join(lines))


def read_settings(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads both; what one gives passes through the other."""
    from cpmn_tf.config import Config, describe, with_overrides
    from cpmn_tf.files import read_json, read_text
    from cpmn_tf.formats.annotations import mapping

    for name in changed:
        path = folder / name
        if name == "set.lst":
            lines = [line for line in read_text(path).split("\n") if line]
            with named(path):
                found = with_overrides(Config(), lines)
        else:
            value = mapping(read_json(path), str(path))  # as ModelManifest.load makes sure
            found = Config.from_dict(value, source=str(path))
        describe(found)
        assert Config.from_dict(found.to_dict()) == found, "they are others once written"
        yield found


@contextlib.contextmanager
def named(path: pathlib.Path) -> Iterator[None]:
    """Errors in the block are of this file, whatever they name."""
    try:
        yield
    except UserError as error:
        text = f"{path}: {error}"
        raise UserError(text) from error


# -- sources


def source(name: str, **settings: Any) -> Callable[[pathlib.Path, list[str]], Any]:
    """Reads all that a source has, and validates it; ``settings`` that are paths begin with `/`."""

    def read(folder: pathlib.Path, changed: list[str]) -> Any:
        from tfrecords_tools.sources import SourceSettings, open_source
        from tfrecords_tools.validation import validate_records

        given = {
            key: f"{folder}{value}" if str(value).startswith("/") else value
            for key, value in settings.items()
        }
        validation = validate_records(source=name, **given)
        str(validation)
        try:
            opened = open_source(name, SourceSettings(**given))
            yield opened.annotations
            videos = opened.annotations.videos
            for video in opened.videos({key: video.subset for key, video in videos.items()}):
                assert 0 < np.float32(video.rate) < math.inf, f"a rate of {video.rate}"
                assert all(values.ndim == 2 for values in video.features.values())
                yield video.features
        except UserError as error:
            if validation.errors:
                raise
            raise AssertionError(f"validation passes what is refused: {error}") from error

    return read


def features(seed: int, units: int, width: int) -> np.ndarray:
    """[units, width] float32."""
    return np.random.default_rng(seed).normal(size=(units, width)).astype(np.float32)


def make_folders(folder: pathlib.Path) -> None:
    """Arrays by stream, of which one is each kind of file."""
    put(folder / "labels.json", {"database": database(), "classes": list(LABELS)})
    put(folder / "info.csv", "video,subset,fps,duration\n-first,training,10,9\n")
    settings: dict[str, Any] = {"unit_frames": 5, "fps": None, "crops": 1, "flow": None}
    put(folder / "encoder.json", {**settings, "streams": {"rgb": {"name": "x"}}})
    for stream, width in (("rgb", 4), ("flow", 2)):
        (folder / "features" / stream).mkdir(parents=True)
        for place, key in enumerate(IDS):
            np.save(folder / "features" / stream / f"{key}.npy", features(place, 18, width))
    path = folder / "features" / "rgb" / IDS[1]
    np.savetxt(f"{path}.csv", np.load(f"{path}.npy"), delimiter=",", fmt="%.4g")
    os.remove(f"{path}.npy")


def make_archives(folder: pathlib.Path) -> None:
    """Arrays in .npz and .h5."""
    import h5py

    put(folder / "labels.json", {"database": database()})
    for place, key in enumerate(IDS):
        values = features(place, 18, 4)
        (folder / "features" / "rgb").mkdir(parents=True, exist_ok=True)
        (folder / "features" / "flow").mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "features" / "rgb" / f"{key}.npz", values)
        with h5py.File(folder / "features" / "flow" / f"{key}.h5", "w") as file:
            more = {"compression": "gzip"} if place % 2 else {}
            file.create_dataset("x", data=values, **more)
    make_all_in_one(folder / "one.h5")


def make_all_in_one(path: pathlib.Path) -> None:
    """All videos' arrays in one .h5."""
    import h5py

    with h5py.File(path, "w") as file:
        for stream, place in itertools.product(("rgb", "flow"), range(4)):
            file[f"{stream}/{IDS[place]}"] = features(place, 18, 3)


def make_labels(folder: pathlib.Path) -> None:
    """A CSV of labels, and joint arrays."""
    put(folder / "labels.csv", "".join(f'"{key}",Dive\n' for key in "abc") + "d,Jump|Dive\n")
    put(folder / "info.csv", "video,subset,num_frames,duration\na,training,90,9\n")
    (folder / "features").mkdir()
    for place, key in enumerate("abcd"):
        np.save(folder / "features" / f"{key}.npy", features(place, 18, 6).astype(np.float16))


def make_bsn(folder: pathlib.Path) -> None:
    """BSN's tables."""
    entries, rows = {}, []
    for place, key in enumerate(("v_a", "v_-b", "v_c")):
        segment = {"segment": [0.01, 12.6], "label": LABELS[place % 2]}
        entries[key] = {
            "duration_second": 20.0 + place,
            "duration_frame": 600,
            "feature_frame": 590,
            "annotations": [segment],
        }
        rows.append(f"{key},600,{20 + place},30.0,29.7,{('training', 'testing')[place // 2]},590")
        lines = [",".join(f"{value:.4g}" for value in row) for row in features(place, 10, 6)]
        put(folder / "csv" / f"{key}.csv", "\n".join(["f0,f1,f2,f3,f4,f5", *lines, ""]))
    put(folder / "anet_anno_action.json", entries)
    header = "video,numFrame,seconds,fps,rfps,subset,featureFrame"
    put(folder / "video_info_new.csv", "\n".join([header, *rows, ""]))


def make_thumos14(folder: pathlib.Path) -> None:
    """The official text files."""
    texts = {
        "Dive_val": "a  0.5 1.5\nb 2 3\n\n",
        "Jump_val": "c 1 2\n",
        "Dive_test": "d 0 1\n",
        "Ambiguous_test": "d 1 1.5\n",
    }
    for name, text in texts.items():
        put(folder / "official" / f"{name}.txt", text)
    (folder / "features" / "rgb").mkdir(parents=True)
    for place, key in enumerate("abcd"):
        np.save(folder / "features" / "rgb" / f"{key}.npy", features(place, 20, 4))


def make_wtalc(folder: pathlib.Path) -> None:
    """W-TALC's arrays of objects."""

    def objects(items: list) -> np.ndarray:
        array = np.empty(len(items), object)
        array[:] = items
        return array

    arrays = {
        "videoname": np.array(["video_1", "video_2", "video_3"], "S"),
        "subset": np.array(["validation", "validation", "test"]),
        "classlist": np.array(LABELS, "S"),
        "labels_all": objects([["Dive"], ["Jump", "Dive"], ["Jump"]]),
        "labels": objects([["Dive"], [], ["Jump", "Jump"]]),
        "segments": objects([[[0.5, 1.0]], [], [[1, 2], [3.25, 4.0]]]),
        "duration": np.array([[3.2], [4.5], [5.8]]),
        "extracted_fps": np.array([25.0, 25.0, 25.0]),
    }
    (folder / "x-Annotations").mkdir()
    for name, array in arrays.items():
        np.save(folder / "x-Annotations" / f"{name}.npy", array, allow_pickle=True)
    values = [features(place, units, 6) for place, units in enumerate((5, 7, 9))]
    np.save(folder / "x-JOINTFeatures.npy", objects(values), allow_pickle=True)


def make_youtube8m(folder: pathlib.Path) -> None:
    """Records of SequenceExamples."""
    import tensorflow as tf

    def example(key: str, label: int) -> bytes:
        record = tf.train.SequenceExample()
        record.context.feature["id"].bytes_list.value.append(key.encode())
        record.context.feature["labels"].int64_list.value.append(label)
        for stream, width in (("rgb", 5), ("audio", 3)):
            for second in range(6):
                feature = record.feature_lists.feature_list[stream].feature.add()
                feature.bytes_list.value.append(bytes([second + label] * width))
        return record.SerializeToString()

    (folder / "frame").mkdir()
    for name, records in (
        ("train00", [example("a", 3), example("b", 0)]),
        ("validate00", [example("c", 3)]),
    ):
        data = b"".join(map(framed, records))
        (folder / "frame" / f"{name}.tfrecord").write_bytes(data)
    put(folder / "vocabulary.csv", "Index,TrainVideoCount,Name\n0,788288,Game\n1,5,Game\n3,1,x\n")


def make_simulated(folder: pathlib.Path) -> None:
    """Timelines."""
    put(folder / "a.json", {"database": database()})


# -- records and models


def make_records(folder: pathlib.Path) -> None:
    """A data set of two streams."""
    from tfrecords_tools import build_records

    with tempfile.TemporaryDirectory() as scratch:
        made = pathlib.Path(scratch)
        make_folders(made)
        build_records(
            features_dir=made / "features",
            annotations=made / "labels.json",
            unit_frames=5,
            output_dir=folder / "records",
            shards=1,
        )


def read_split(folder: pathlib.Path, name: str) -> Any:
    """Opens a split, and reads it as evaluation does."""
    from cpmn_tf.data import pipeline
    from cpmn_tf.data.schema import MAX_UNITS

    split = pipeline.Split.open(folder, name)
    yield split.contents()
    assert split.places.keys() == split.lengths.keys(), "records without a place"
    assert all(0 < units <= MAX_UNITS for units in split.lengths.values()), "no length"
    classes = range(len(split.manifest.classes))
    assert all(label in classes for some in split.labels.values() for label in some), "no class"
    dataset = pipeline.whole_videos(split, batch_size=2, segments=True)
    for batch in pipeline.readable(dataset, split.manifest, name):
        # Of features that are not finite, models say a status.
        yield {key: value.numpy() for key, value in batch.items() if key != "features"}


def read_records(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads the splits whose shards were changed."""
    for name in ("training", "testing"):
        if name == "training" or name in " ".join(changed):
            yield from read_split(folder / "records", name)


def read_validated(folder: pathlib.Path, changed: list[str]) -> Any:
    """Validates the records, whatever is wrong with them."""
    from tfrecords_tools.validation import validate_records

    found = validate_records(data_dir=folder / "records")
    json.dumps(found.to_json(), allow_nan=False)
    yield str(found)


def read_manifest(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads the manifest, and asks what it is asked."""
    from cpmn_tf.data.manifest import Manifest
    from cpmn_tf.encoding.description import first_difference

    found = Manifest.load(folder / "records")
    yield found
    assert found.simulated in (True, False)
    for name in found.splits:
        found.fingerprint(name)
        assert found.num_videos(name) < 2**63, found.num_videos(name)
    first_difference({"crops": 1}, found.source.get("encoder"))
    found.save(folder.parent / "saved")
    assert Manifest.load(folder.parent / "saved") == found, "it is another once written"


def read_built(folder: pathlib.Path, changed: list[str]) -> Any:
    """Builds records of a folder, and reads all of them."""
    from tfrecords_tools import build_records

    output = folder.parent / "built"
    shutil.rmtree(output, ignore_errors=True)
    built = build_records(
        features_dir=folder / "features",
        annotations=folder / "labels.json",
        video_info=folder / "info.csv",
        unit_frames=5,
        output_dir=output / "records",
        allow_empty_classes=True,
    )
    try:
        for name in built.manifest.splits:
            yield from read_split(output / "records", name)
    except UserError as error:
        raise AssertionError(f"what was built is refused: {error}") from error


MODEL = {
    "cascade.filters": 4,
    "cascade.units": 16,
    "pyramid.filters": 4,
    "pyramid.levels": 2,
    "pyramid.window": 8,
    "training.epochs": 0,
    "training.final_epochs": 0,
    "data.train_split": "training",
    "data.test_split": "testing",
}


def make_model(folder: pathlib.Path) -> None:
    """A model folder, of drawn weights."""
    from cpmn_tf.training import train

    with tempfile.TemporaryDirectory() as scratch:
        make_records(pathlib.Path(scratch))
        train(data_dir=f"{scratch}/records", model_dir=folder / "model", settings=MODEL)
    for path in (folder / "model").rglob("events.out*"):
        path.unlink()


def read_model_json(folder: pathlib.Path, changed: list[str]) -> Any:
    """Reads ``model.json``, and asks what it is asked."""
    from cpmn_tf.training.model_folder import ModelManifest

    found = ModelManifest.load(folder / "model")
    yield found
    str(found)
    assert found.branches
    json.dumps(found.to_dict(), allow_nan=False)
    found.claim(folder.parent / "claimed")
    assert ModelManifest.load(folder.parent / "claimed") == found, "it is another once written"
    (folder.parent / "claimed" / "model.json").unlink()


def read_model(folder: pathlib.Path, changed: list[str]) -> Any:
    """Loads the model."""
    from cpmn_tf.training.model_folder import load_model, plain_variables

    model = load_model(folder / "model")
    for module in (*model.cascades.values(), *model.pyramids.values()):
        yield [variable.numpy() for variable in plain_variables(module)]


FOLDERS = {"features_dir": "/features", "annotations": "/labels.json", "unit_frames": 5}
READERS = {
    "annotations": Reader(make_annotations, read_annotations),
    "detections": Reader(make_detections, read_detections),
    "class scores": Reader(make_class_scores, read_class_scores),
    "labelling tools": Reader(make_labelled, read_labelled),
    "cpmn-evaluate": Reader(make_evaluated, read_evaluated),
    "settings": Reader(make_settings, read_settings),
    "folders": Reader(make_folders, source("folders", **FOLDERS, video_info="/info.csv")),
    "archives": Reader(make_archives, source("folders", **FOLDERS), r"one\.h5"),
    "one archive": Reader(
        make_archives, source("folders", **{**FOLDERS, "features_dir": "/one.h5"}), "features/.*"
    ),
    "labels": Reader(
        make_labels,
        source(
            "labels",
            features_dir="/features",
            annotations="/labels.csv",
            video_info="/info.csv",
            unit_frames=5,
            fps=10.0,
            split_at=4,
        ),
    ),
    "bsn": Reader(
        make_bsn,
        source(
            "bsn",
            features_dir="/csv",
            annotations="/anet_anno_action.json",
            video_info="/video_info_new.csv",
            split_at=4,
        ),
    ),
    "thumos14": Reader(
        make_thumos14,
        source(
            "thumos14",
            features_dir="/features",
            annotations="/official",
            unit_frames=5,
            fps=25.0,
        ),
    ),
    "wtalc": Reader(
        make_wtalc,
        source(
            "wtalc",
            features_dir="/x-JOINTFeatures.npy",
            annotations="/x-Annotations",
            unit_frames=16,
            fps=25.0,
        ),
    ),
    "youtube8m": Reader(
        make_youtube8m,
        source("youtube8m", features_dir="/frame", annotations="/vocabulary.csv"),
    ),
    "simulated": Reader(make_simulated, source("simulated", annotations="/a.json")),
    "built records": Reader(make_folders, read_built),
    "records": Reader(make_records, read_records, r".*(?<!\.tfrecord)(?<!manifest\.json)"),
    "validated records": Reader(make_records, read_validated),
    "manifest": Reader(make_records, read_manifest, r".*(?<!manifest\.json)"),
    "model.json": Reader(make_model, read_model_json, r".*(?<!model\.json)"),
    "models": Reader(make_model, read_model),
}
