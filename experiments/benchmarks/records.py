"""How fast records are built, read and validated, against what else features are kept in.

- *write*: `build_records` on a folder of .npy files (a steady rate: the program's start is not
  counted), against copying the files; saving them as float16; one HDF5 file of float16; the writer
  of TFDS with its default encoding (float32); and FloatLists, which is how most converters store
  them: `FloatList(value=array.ravel())`, or of `array.ravel().tolist()`;
- *read*: the shards through the training parser, against `np.load` of every file, h5py and TFDS;
- *validate*: `validate_records` on the folder and on the records.

Everything is in the page cache. Rounds are taken in turns; times are ratios within a round, their
median. What takes long is written in one round only, and lists of floats of a part of the videos.

    python -m experiments.benchmarks.records [VIDEOS]
"""

import collections
import functools
import json
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

import h5py
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import tfrecords_tools
from cpmn_tf.data import records
from cpmn_tf.data.manifest import Manifest
from experiments.harness.report import markdown

FPS, UNIT_FRAMES, CLASSES = 25, 16, 20
STREAMS, UNITS, WIDTH = ("rgb", "flow"), 100, 1024
VIDEOS, ROUNDS = 1000, 3
LISTED = 20  # videos written as lists of floats
SLOW = ("tfds", "float_lists", "lists_of_lists")  # of one round


def write_folder(folder: pathlib.Path) -> None:
    """Writes features and annotations."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(UNITS, WIDTH)).astype(np.float32)
    database = {}
    for stream in STREAMS:
        (folder / "features" / stream).mkdir(parents=True)
    for number in range(VIDEOS):
        key = f"video_{number:05d}"
        for place, stream in enumerate(STREAMS):
            values[0, place] = number  # no two are the same
            np.save(folder / "features" / stream / f"{key}.npy", values)
        database[key] = {
            "subset": "training" if number % 5 else "testing",
            "fps": FPS,
            "duration": UNITS * UNIT_FRAMES / FPS,
            "annotations": [
                {"label": f"class {number % 5 * 4 % CLASSES}", "segment": [1, 2]},
                {"label": f"class {number % 7}", "segment": [3, 4]},
            ],
        }
    (folder / "annotations.json").write_text(json.dumps({"database": database}))


def write_lists(folder: pathlib.Path, place: pathlib.Path, listed: bool) -> None:
    """Writes some videos' features as FloatLists, of the array or of a list made of it first."""
    place.mkdir()
    with tf.io.TFRecordWriter(str(place / "lists.tfrecord")) as writer:
        for number in range(LISTED):
            example = tf.train.Example()
            for stream in STREAMS:
                values = np.load(folder / "features" / stream / f"video_{number:05d}.npy").ravel()
                values = values.tolist() if listed else values
                example.features.feature[stream].float_list.value.extend(values)
            writer.write(example.SerializeToString())


def write_float16(features: pathlib.Path, place: pathlib.Path) -> None:
    """Writes each file's values as float16."""
    for stream in STREAMS:
        (place / stream).mkdir(parents=True)
    for path in features.rglob("*.npy"):
        np.save(place / path.relative_to(features), np.load(path).astype(np.float16))


def write_hdf5(features: pathlib.Path, place: pathlib.Path) -> None:
    """Writes one file with a data set of float16 per video and stream."""
    place.mkdir()
    with h5py.File(place / "features.h5", "w") as file:
        for path in features.rglob("*.npy"):
            name = f"{path.stem}/{path.parent.name}"
            file.create_dataset(name, data=np.load(path).astype(np.float16))


def write_tfds(features: pathlib.Path, place: pathlib.Path) -> None:
    """Writes a data set of TFDS in its default encoding."""
    kinds = {name: tfds.features.Tensor(shape=(None, WIDTH), dtype=np.float32) for name in STREAMS}
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="features", version="1.0.0", data_dir=str(place), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(kinds))
    place.mkdir()
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=VIDEOS)
    writer.initialize_splits(["train"])
    for path in (features / STREAMS[0]).glob("*.npy"):
        example = {name: np.load(features / name / path.name) for name in STREAMS}
        writer.add_examples({"train": [example]})
    writer.close_all()


def read_npy(features: pathlib.Path) -> None:
    """Loads each file."""
    for path in features.rglob("*.npy"):
        np.load(path)


def read_hdf5(place: pathlib.Path) -> None:
    """Reads each data set."""
    with h5py.File(place / "features.h5") as file:
        for video in file.values():
            for values in video.values():
                values[()]


def read_tfds(place: pathlib.Path) -> None:
    """Reads all videos."""
    builder = tfds.builder_from_directory(place)
    collections.deque(builder.as_dataset(split="train"), maxlen=0)


def open_records(built: pathlib.Path) -> tf.data.Dataset:
    """All records as training reads them."""
    manifest = Manifest.load(built)
    shards = [path for split in manifest.splits for path in manifest.shard_paths(split)]
    parse = functools.partial(records.parse_training, manifest=manifest)
    dataset = tf.data.TFRecordDataset(shards).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def size_of(folder: pathlib.Path) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(folder: pathlib.Path) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of every task by round, and bytes on disk of what was written, by its name."""
    write_folder(folder)
    features, kept = folder / "features", folder / "kept"
    source = {"features_dir": features, "annotations": folder / "annotations.json"}
    source |= {"unit_frames": UNIT_FRAMES}
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        "records": lambda place: tfrecords_tools.build_records(**source, output_dir=place),
        "npy": lambda place: shutil.copytree(features, place),
        "npy_float16": lambda place: write_float16(features, place),
        "hdf5": lambda place: write_hdf5(features, place),
        "tfds": lambda place: write_tfds(features, place),
        "float_lists": lambda place: write_lists(folder, place, listed=False),
        "lists_of_lists": lambda place: write_lists(folder, place, listed=True),
    }
    kept.mkdir()
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    for name, write in writers.items():  # warms up: imports, page cache
        start = time.perf_counter()
        write(kept / name)
        if name in SLOW:
            seconds[f"write_{name}"] = [time.perf_counter() - start]
    sizes = {name: size_of(kept / name) for name in writers}
    dataset = open_records(kept / "records")
    readers: dict[str, Callable[[], object]] = {
        "read_records": lambda: collections.deque(dataset, maxlen=0),
        "read_npy": lambda: read_npy(features),
        "read_npy_float16": lambda: read_npy(kept / "npy_float16"),
        "read_hdf5": lambda: read_hdf5(kept / "hdf5"),
        "read_tfds": lambda: read_tfds(kept / "tfds"),
        "validate_source": lambda: tfrecords_tools.validate_records(**source),
        "validate_records": lambda: tfrecords_tools.validate_records(data_dir=kept / "records"),
    }
    for _ in range(ROUNDS):
        for name, write in writers.items():
            if name not in SLOW:
                start = time.perf_counter()
                write(folder / "written")
                seconds[f"write_{name}"].append(time.perf_counter() - start)
                shutil.rmtree(folder / "written")
        for name, read in readers.items():
            start = time.perf_counter()
            read()
            seconds[name].append(time.perf_counter() - start)
    for name in ("float_lists", "lists_of_lists"):
        seconds[f"write_{name}"][0] *= VIDEOS / LISTED
        sizes[name] = sizes[name] * VIDEOS // LISTED
    return seconds, sizes


FORMS = {
    "records": "records (float16)",
    "npy": ".npy files (float32), copied",
    "npy_float16": ".npy files (float16)",
    "hdf5": "HDF5, one file (float16)",
    "tfds": "TFDS, default encoding (float32)",
    "float_lists": "FloatLists",
    "lists_of_lists": "FloatLists made of Python lists",
}


def report(seconds: dict[str, list[float]], sizes: dict[str, int]) -> str:
    """Two tables of ratios."""

    def against(name: str, other: str) -> str:
        if name not in seconds:
            return ""
        # One round of a slow task is held against the median of the others.
        ours = seconds[other] if len(seconds[name]) > 1 else np.median(seconds[other])
        return f"{np.median(np.divide(seconds[name], ours)):.2f}"

    rows = [["form", "bytes on disk", "time to write", "time to read"]]
    for name, form in FORMS.items():
        times = against(f"write_{name}", "write_records"), against(f"read_{name}", "read_records")
        rows.append([form, f"{sizes[name] / sizes['npy']:.2f}", *times])
    checks = [["validating", "against building", "against np.load of the float32 files"]]
    for name, what in {"source": "the folder", "records": "the records"}.items():
        others = ("write_records", "read_npy")
        checks.append([what, *(against(f"validate_{name}", other) for other in others)])
    built, read = (np.median(seconds[name]) for name in ("write_records", "read_records"))
    return (
        f"{markdown(rows)}\n{markdown(checks)}\n"
        f"built: {sizes['npy'] / built / 1e6:.0f} MB/s of float32; "
        f"read: {sizes['records'] / read / 1e6:.0f} MB/s of float16"
    )


if __name__ == "__main__":
    VIDEOS = int(sys.argv[1]) if len(sys.argv) > 1 else VIDEOS
    with tempfile.TemporaryDirectory() as temporary:
        print(report(*measure(pathlib.Path(temporary))))
