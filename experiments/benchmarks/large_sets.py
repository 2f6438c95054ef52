"""What starting on a large set costs: seconds and memory before the first record is read.

The set is SIMULATED: its index and manifest are real, its shards are files of the right size
without content. A fresh process that has imported TensorFlow opens the training split, digests
its contents, counts the steps of both modules and draws the order of an epoch, as `cpmn-train`
does before its first step.

Aims: a million records of 10 MB, 5 s and 200 MiB.

    python -m experiments.benchmarks.large_sets
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from cpmn_tf.data.index import FRAME, Entry, Index
from cpmn_tf.data.manifest import Manifest, Shard, StreamSpec

RECORDS, RECORD_BYTES, SHARD_RECORDS, CLASSES = 1_000_000, 10_000_000, 13, 200


def write_set(folder: pathlib.Path, count: int) -> None:
    """Writes a simulated set of ``count`` records."""
    rng = np.random.default_rng(0)
    units = rng.integers(100, 5000, count).tolist()
    entries = [
        Entry(f"v_{number:011d}", units[number], (number % CLASSES,), RECORD_BYTES)
        for number in range(count)
    ]
    firsts = range(0, count, SHARD_RECORDS)
    shards = []
    for place, first in enumerate(firsts):
        part = units[first : first + SHARD_RECORDS]
        name = f"training-{place:05d}-of-{len(firsts):05d}.tfrecord"
        size = len(part) * (RECORD_BYTES + FRAME)
        with open(folder / name, "wb") as file:
            file.truncate(size)
        shards.append(Shard(name, len(part), sum(part), size, f"{place:064x}"))
    manifest = Manifest(
        streams=(StreamSpec("rgb", 1024), StreamSpec("flow", 1024)),
        dtype="float16",
        rate=5.0,
        classes=tuple(f"class_{number:03d}" for number in range(CLASSES)),
        splits={"training": tuple(shards)},
        source={"source": "simulated"},
    )
    manifest.save(folder)
    Index.of(entries).save(dataclasses.replace(manifest, folder=str(folder)), "training")


def memory(line: str) -> float:
    """A line of this process's /proc/self/status, MiB: VmRSS is of now, VmHWM its peak.

    What ``resource`` tells of a process begins with its parent's peak.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024


def start(folder: str) -> tuple[int, float, float]:
    """Videos, seconds and MiB of a start on a set, beyond a process that imported TensorFlow."""
    import tensorflow as tf

    from cpmn_tf.config import preset
    from cpmn_tf.data.pipeline import SHUFFLED_TOGETHER, Split
    from cpmn_tf.training.loop import steps_per_epoch

    tf.constant(0) + 1
    before, began = memory("VmRSS"), time.perf_counter()
    split, config = Split.open(folder, "training"), preset("thumos14")
    split.contents()
    for module in ("cascade", "pyramid"):
        steps_per_epoch(module, split, config)
    next(iter(split.shuffled(tf.constant(0, tf.int64), SHUFFLED_TOGETHER)))
    return len(split), time.perf_counter() - began, memory("VmHWM") - before


if __name__ == "__main__":
    print("| records | shards | seconds | MiB |\n| --- | --- | --- | --- |")
    for number in (RECORDS // 100, RECORDS // 10, RECORDS):
        with tempfile.TemporaryDirectory() as name:
            write_set(pathlib.Path(name), number)
            call = f"from experiments.benchmarks.large_sets import start; print(*start({name!r}))"
            command = [sys.executable, "-c", call]
            quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            found = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=quiet
            )
        videos, seconds, used = map(float, found.stdout.split())
        shards = -(-number // SHARD_RECORDS)
        print(f"| {videos:.0f} | {shards} | {seconds:.1f} | {used:.0f} |", flush=True)
