"""How time and memory grow with the units of a video, with videos, and with classes.

Each point is a process of its own: its work is done once, which traces, and then a few times more.
The time is the shortest, of the processor, which other programs disturb less; the memory is the
process's peak beyond what it held when its inputs were there. The settings are those of `thumos14`,
two streams with G=101 for localization and one for training. *Exponent* is the slope between a
point and the one before it, on logarithmic axes: 1 is linear.

- *localize*: one video, its class scores and curves from P samples (the default), or from every
  unit (`cascade.inference=every_unit`);
- *cascade*, *pyramid*: a training step;
- *open*: what any command does first with a split's records, of 8 units here;
- *evaluate*: protocol `activitynet`, ten thresholds, 40 detections per video.

    python -m experiments.benchmarks.scaling [STUDY ...]
"""

import math
import multiprocessing
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from cpmn_tf.config import preset, with_settings
from cpmn_tf.data import pipeline
from cpmn_tf.evaluation import evaluate as judge
from cpmn_tf.inference import compiled
from cpmn_tf.models import CPMN
from cpmn_tf.training.step import initialize
from experiments.benchmarks.evaluation import ACTIVITYNET_TIOU, synthetic
from experiments.benchmarks.large_sets import memory
from experiments.benchmarks.training import BATCH, CLASSES, WIDTH, make, make_batch, write_data
from experiments.harness.report import markdown

REPEATS, SECONDS = 5, 3.0  # so often at most, and for so long at most
LENGTHS, FEW_OR_MANY = (1_000, 10_000, 30_000, 100_000), (20, 200, 2_000)
VIDEOS = (100, 1_000, 10_000, 100_000)


def localize(
    units: int = 1_000, classes: int = CLASSES, inference: str = "sampled"
) -> Callable[[], object]:
    """Of one video of noise, by a model with drawn weights."""
    streams = {"rgb": WIDTH, "flow": WIDTH}
    config = with_settings(preset("thumos14"), {"cascade.inference": inference})
    model = CPMN(streams=streams, num_classes=classes, config=config)
    initialize(model, 0)
    rng = np.random.default_rng(0)
    features = {
        name: tf.constant(rng.normal(size=(1, units, WIDTH)), tf.float32) for name in streams
    }
    times = tf.constant([units]), tf.constant([6.0]), tf.constant([units / 6.0])
    detect = compiled(model)
    return lambda: detect(features, *times).scores.numpy()


def step(
    module: str, batch: int = BATCH, units: int = 400, classes: int = CLASSES
) -> Callable[[], object]:
    """Of training, in float32."""
    run, _ = make(module, preset("thumos14"), classes=classes)
    given = {name: tf.constant(part) for name, part in make_batch(batch, units, classes).items()}
    return lambda: run(given, tf.constant(0, tf.int64)).numpy()


def evaluate(videos: int = 5_000, classes: int = 200) -> Callable[[], object]:
    """From objects in memory to mAP."""
    given = synthetic(40 * videos, videos, classes)
    return lambda: judge(*given, protocol="activitynet", tiou=ACTIVITYNET_TIOU)


def opening(folder: str) -> Callable[[], object]:
    """A split, by its index."""
    return lambda: pipeline.Split.open(folder, "validation")


# What is done, what grows, its values, and what else is set.
STUDIES: dict[str, tuple[Callable, str, Sequence[int], dict]] = {
    "localize/units": (localize, "units", LENGTHS, {}),
    "localize/units, every unit": (localize, "units", LENGTHS, {"inference": "every_unit"}),
    "cascade/units": (step, "units", LENGTHS, {"module": "cascade", "batch": 1}),
    "open/videos": (opening, "folder", VIDEOS, {}),
    "evaluate/videos": (evaluate, "videos", VIDEOS, {}),
    "localize/classes": (localize, "classes", FEW_OR_MANY, {}),
    "cascade/classes": (step, "classes", FEW_OR_MANY, {"module": "cascade"}),
    "pyramid/classes": (step, "classes", FEW_OR_MANY, {"module": "pyramid", "units": 64}),
    "evaluate/classes": (evaluate, "classes", FEW_OR_MANY, {}),
}


def point(prepare: Callable[..., Callable[[], object]], given: dict) -> tuple[float, float]:
    """Seconds of processor time, and MiB beyond the inputs, 1 at least."""
    run = prepare(**given)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = memory("VmRSS")
    run()
    taken: list[float] = []
    while len(taken) < REPEATS and sum(taken) < SECONDS:
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken), max(memory("VmHWM") - before, 1.0)


def measure(study: str, folder: pathlib.Path) -> list[tuple[int, float, float]]:
    """Value, seconds and MiB of a study's points, each in a process of its own."""
    prepare, grows, values, given = STUDIES[study]
    points = []
    for value in values:
        what: object = value
        if prepare is opening:
            place = folder / str(value)
            place.mkdir()
            write_data(place, value, units=8)
            what = str(place)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(point, (prepare, {**given, grows: what}))
        points.append((value, seconds, peak))
    return points


def rows_of(points: Sequence[tuple[int, float, float]]) -> list[list[str]]:
    """Ratios to the first point, and exponents."""
    rows = []
    for number, (value, *now) in enumerate(points):
        cells = [f"{value:,}"]
        for place, spent in enumerate(now, 1):
            cells.append(f"{spent / points[0][place]:.3g}")
            earlier = points[max(number - 1, 0)]
            grown = spent / earlier[place], value / earlier[0]
            cells.append(f"{math.log(grown[0], grown[1]):.2f}" if number else "")
        rows.append([*cells, f"{1000 * now[0]:.3g} ms, {now[1]:.0f} MiB"])
    return rows


def main() -> None:
    """Measures and prints."""
    names = sys.argv[1:] or list(STUDIES)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            points = measure(name, pathlib.Path(folder))
            head = [name, "time", "exponent", "memory", "exponent", "that is"]
            print(markdown([head, *rows_of(points)]), flush=True)


if __name__ == "__main__":
    main()
