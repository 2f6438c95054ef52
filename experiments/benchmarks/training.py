"""How fast the cascade trains, against the matrix product that it mostly is, in one process.

Reports the ratio of two rates of floating-point operations, taken in turns:

- a training step of the cascade (batch 16, P=400, G=101, two stages): forward, and backward
  without the gradient of the input, which nobody needs;
- a 6400×1536×512 matrix product, the second convolution's shape (6400 = 16·400, 1536 = 3·512).

Then the share of a step's time that training waits for its input, over whole epochs read from
shards of THUMOS14's size: 200 videos whose lengths have its median and spread, float16 noise as
features, both modules.

    python -m experiments.benchmarks.training
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cpmn_tf.config import Config, preset
from cpmn_tf.data import pipeline, records
from cpmn_tf.data.manifest import Manifest, StreamSpec
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.training.objectives import cascade_loss, pyramid_loss
from cpmn_tf.training.step import initialize, make_optimizer, make_step
from tfrecords_tools.writing import write_shards

BATCH, UNITS, WIDTH, FILTERS, KERNEL, CLASSES = 16, 400, 101, 512, 3, 20
ROUNDS, VIDEOS = 15, 200
MODULES = {
    "cascade": (CascadedClassifier, cascade_loss, pipeline.cascade_batches),
    "pyramid": (PyramidAttention, pyramid_loss, pipeline.pyramid_batches),
}


def cascade_operations(config: Config, width: int, classes: int = 0) -> float:
    """Floating-point operations of one training step of the cascade.

    Convolutions forward and their gradients, but for the features' own; with ``classes`` also the
    T-CAS and the classifier's product.
    """
    section, units = config.cascade, config.training.batch_size * config.cascade.units
    inner = (section.layers - 1) * KERNEL * section.filters**2
    first = KERNEL * width * section.filters
    return section.stages * 2.0 * units * (2 * first + 3 * inner + 4 * section.filters * classes)


def make(module: str, config: Config):
    """A module's compiled step."""
    kind, loss, _ = MODULES[module]
    model = kind(num_classes=CLASSES, config=getattr(config, module))
    model.build((None, None, WIDTH))
    initialize(model, 0)
    optimizer = make_optimizer(config, 13, model.trainable_variables)
    return make_step(model, optimizer, loss, config, seed=0)


def make_product() -> tuple[Callable[[], tf.Tensor], float]:
    """The matrix product of the second convolution's shape, and its floating-point operations."""
    rng = np.random.default_rng(0)
    left = tf.constant(rng.normal(size=(BATCH * UNITS, KERNEL * FILTERS)), tf.float32)
    right = tf.constant(rng.normal(size=(KERNEL * FILTERS, FILTERS)), tf.float32)
    product = tf.function(lambda: tf.linalg.matmul(left, right))
    return product, 2.0 * BATCH * UNITS * KERNEL * FILTERS * FILTERS


def measure_step() -> tuple[float, float]:
    """Operations a second of the step and of the product, taken in turns; medians."""
    rng = np.random.default_rng(0)
    batch = {
        "features": tf.constant(rng.normal(size=(BATCH, UNITS, WIDTH)), tf.float16),
        "valid": tf.ones((BATCH, UNITS), tf.bool),
        "labels": tf.one_hot(np.arange(BATCH) % CLASSES, CLASSES),
    }
    product, operations = make_product()
    step = make("cascade", preset("thumos14"))
    repeats = 5  # products per round, so that both take about as long
    times = {"step": [], "product": []}
    for number in range(ROUNDS + 3):
        start = time.perf_counter()
        step(batch, tf.constant(number, tf.int64)).numpy()
        middle = time.perf_counter()
        for _ in range(repeats):
            last = product()
        last.numpy()
        end = time.perf_counter()
        if number >= 3:  # the first rounds trace and warm up
            times["step"].append(middle - start)
            times["product"].append((end - middle) / repeats)
    step_rate = cascade_operations(preset("thumos14"), WIDTH) / statistics.median(times["step"])
    return step_rate, operations / statistics.median(times["product"])


def write_data(folder: pathlib.Path, videos: int = 0) -> pipeline.Split:
    """Shards of THUMOS14's form: median 150 s, 5th to 95th percentile 31 to 700 s, 6 units/s."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(900), 0.95, videos or VIDEOS), 60, 9000).astype(int)
    classes = tuple(f"class_{number:02d}" for number in range(CLASSES))
    manifest = Manifest(
        streams=(StreamSpec("rgb", WIDTH),), dtype="float16", rate=6.0, classes=classes, splits={}
    )
    made = (
        records.VideoRecord(
            id=f"video_{number:04d}",
            duration=length / 6.0,
            rate=6.0,
            labels=(number % CLASSES,),
            features={"rgb": rng.normal(size=(length, WIDTH)).astype(np.float32)},
        )
        for number, length in enumerate(lengths)
    )
    pairs = (("validation", record) for record in made)
    write_shards(folder, manifest, pairs, shards=1).save(folder)
    return pipeline.Split.open(folder, "validation")


def measure_waiting(split: pipeline.Split, module: str, epochs: int) -> tuple[float, int]:
    """The share of the time that the loop waits for its next batch, and of how many steps."""
    config = preset("thumos14")
    step = make(module, config)
    waiting = working = 0.0
    batches = iter(MODULES[module][2](split, "rgb", config, seed=0, last_epoch=epochs))
    shapes, steps = set(), 0
    start = time.perf_counter()
    for number, batch in enumerate(batches):
        middle = time.perf_counter()
        step(batch, tf.constant(number, tf.int64)).numpy()
        end = time.perf_counter()
        shape = tuple(batch["features"].shape)
        if shape in shapes:  # a new shape's first step traces
            waiting, working, steps = waiting + middle - start, working + end - middle, steps + 1
        shapes.add(shape)
        start = time.perf_counter()
    return waiting / (waiting + working), steps


def main() -> None:
    """Measures and prints."""
    step, product = measure_step()
    print(
        f"cascade step {step / 1e9:.1f} GFLOP/s, matrix product {product / 1e9:.1f} GFLOP/s, "
        f"ratio {step / product:.3f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        split = write_data(pathlib.Path(folder))
        for module, epochs in (("cascade", 3), ("pyramid", 1)):
            share, steps = measure_waiting(split, module, epochs)
            print(f"{module}: {100 * share:.2f} % of the time waiting for input ({steps} steps)")


if __name__ == "__main__":
    main()
