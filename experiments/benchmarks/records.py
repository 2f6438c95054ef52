"""How fast records are built, read and validated, against copying and against lists of floats.

- *build*: `build_records` on a folder of .npy files (a steady rate: the program's start is not
  counted), against copying the files, and against writing the same features as FloatLists, which is
  how most converters store them: `FloatList(value=array.ravel())`, or of `array.ravel().tolist()`;
- *read*: the shards through the training parser, in MB of features per second;
- *validate*: `validate_records` on the folder and on the records.

Everything is in the page cache; rounds are taken in turns and medians given. The lists of floats
are written of a part of the videos and scaled up, for they take long.

    python -m experiments.benchmarks.records
"""

import collections
import functools
import json
import pathlib
import shutil
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf

import tfrecords_tools
from cpmn_tf.data import records
from cpmn_tf.data.manifest import Manifest

FPS, UNIT_FRAMES, CLASSES = 25, 16, 20
STREAMS, UNITS, WIDTH = ("rgb", "flow"), 100, 1024
VIDEOS, ROUNDS = 1000, 3
LISTED = 20  # videos written as lists of floats


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


def open_records(built: pathlib.Path) -> tf.data.Dataset:
    """All records as training reads them."""
    manifest = Manifest.load(built)
    shards = [path for split in manifest.splits for path in manifest.shard_paths(split)]
    parse = functools.partial(records.parse_training, manifest=manifest)
    dataset = tf.data.TFRecordDataset(shards).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def measure(folder: pathlib.Path) -> dict[str, float]:
    """Seconds of everything, medians over the rounds, and what follows from them."""
    write_folder(folder)
    features, built = folder / "features", folder / "records"
    source = {"features_dir": features, "annotations": folder / "annotations.json"}
    source |= {"unit_frames": UNIT_FRAMES}
    tasks = {
        "build": lambda place: tfrecords_tools.build_records(**source, output_dir=place),
        "copy": lambda place: shutil.copytree(features, place),
        "float_lists": lambda place: write_lists(folder, place, listed=False),
        "float_lists_of_lists": lambda place: write_lists(folder, place, listed=True),
        "read_records": lambda _: collections.deque(dataset, maxlen=0),
        "validate_source": lambda _: tfrecords_tools.validate_records(**source),
        "validate_records": lambda _: tfrecords_tools.validate_records(data_dir=built),
    }
    tasks["build"](built)  # warms up: imports, page cache
    dataset = open_records(built)
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(ROUNDS):
        for name, task in tasks.items():
            place = folder / f"{name}{number}"
            start = time.perf_counter()
            task(place)
            times[name].append(time.perf_counter() - start)
            shutil.rmtree(place, ignore_errors=True)
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    for name in ("float_lists", "float_lists_of_lists"):
        seconds[name] *= VIDEOS / LISTED
    size = sum(path.stat().st_size for path in features.rglob("*.npy"))
    build, stored = seconds["build"], sum(path.stat().st_size for path in built.glob("*.tfrecord"))
    return {
        "videos": VIDEOS,
        "source_megabytes": size / 1e6,
        "records_megabytes": stored / 1e6,
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "build_megabytes_per_second": size / 1e6 / build,
        "read_megabytes_per_second": stored / 1e6 / seconds["read_records"],
        "build_times_faster_than_float_lists": seconds["float_lists"] / build,
        "build_times_faster_than_lists_of_lists": seconds["float_lists_of_lists"] / build,
        "build_per_copy": build / seconds["copy"],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for name, value in measure(pathlib.Path(temporary)).items():
            print(f"{name}: {value:.4g}")
