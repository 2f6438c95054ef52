"""How much faster two workers train than one, each on a core of its own.

`cpmn-train --strategy=multi_worker` on loopback, first one worker, then two, in turns: the same
batch per worker, so that two share batches of twice the size; each is pinned to one core, the
single one too. Videos per second of the cascade are those of a run without its first quarter, so
that neither the start nor tracing counts. The data are of THUMOS14's size, with noise as features
(`benchmarks.training`); their number is a multiple of both batches, so that nothing is filled up.

    python -m experiments.benchmarks.workers [--profile FOLDER]

With ``--profile``, two workers run once more, and worker 0 writes TensorBoard's profile of it.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile

from experiments.benchmarks.training import write_data

ROUNDS, BATCH, EPOCHS, VIDEOS = 3, 16, 4, 192
SETTINGS = ["pyramid.levels=0", "localization.attention=false", "training.pictures=0"]

# A worker: prints which step was done when, about twice a second.
WORKER = """
import json, sys, time
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
from cpmn_tf.config import preset, with_overrides
from cpmn_tf.training import train
data, model, settings, profile = json.loads(sys.argv[1])
times = []
def progress(label, step, steps, losses):
    if profile and len(times) == 1:
        tf.profiler.experimental.start(profile)
    times.append((step, time.monotonic()))
train(
    data_dir=data, model_dir=model, config=with_overrides(preset("thumos14"), settings),
    strategy="multi_worker", progress=progress,
)
if profile:
    tf.profiler.experimental.stop()
print(json.dumps(times))
"""


def measure(data: pathlib.Path, folder: pathlib.Path, workers: int, profile: str = "") -> float:
    """Videos per second of so many workers, without the first quarter."""
    sockets = [socket.socket() for _ in range(workers)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    for each in sockets:
        each.close()
    batch = BATCH * workers
    settings = [f"training.batch_size={batch}", f"training.epochs={EPOCHS}"]
    settings += ["training.final_epochs=0", *SETTINGS]
    cores = sorted(os.sched_getaffinity(0))
    processes = []
    for index in range(workers):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        pinned = ["taskset", "-c", str(cores[index])]
        arguments = [str(data), str(folder), settings, "" if index else profile]
        processes.append(
            subprocess.Popen(
                [*pinned, sys.executable, "-c", WORKER, json.dumps(arguments)],
                env={**os.environ, "TF_CONFIG": json.dumps(task), "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError("a worker failed")
    times = json.loads(outputs[0].splitlines()[-1])
    (first, begin), (last, end) = times[len(times) // 4], times[-1]
    return (last - first) * batch / (end - begin)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", default="", help="folder of a profile of two workers")
    profile = parser.parse_args().profile
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "data")
        data.mkdir()
        write_data(data, VIDEOS)
        for number in range(ROUNDS):
            for workers in rates:
                model = pathlib.Path(folder, f"{workers}-{number}")
                rates[workers].append(measure(data, model, workers))
                print(f"{workers} workers: {rates[workers][-1]:.2f} videos/s", flush=True)
        if profile:
            measure(data, pathlib.Path(folder, "profiled"), 2, profile)
    one, two = (statistics.median(rates[workers]) for workers in (1, 2))
    print(f"one worker {one:.2f} videos/s, two {two:.2f}, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
