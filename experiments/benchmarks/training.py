"""How fast the modules train, against the matrix product that each mostly is, in one process.

Reports ratios of rates of floating-point operations, taken in turns:

- a training step (G=101; forward, and backward without the gradient of the input, which nobody
  needs) of the cascade (batch 16, P=400, two stages) and of the pyramid (16 windows of 64 units),
  by precision, compiled with XLA, and without a graph (eager);
- a matrix product of the shape that most of them are spent on, in float32: 6400×1536×512, the
  cascade's second convolution (6400 = 16·400, 1536 = 3·512), and 1024×101×512, the pyramid's finest
  level.

Then the share of a step's time that training waits for its input, over whole epochs read from
shards of THUMOS14's size: 200 videos whose lengths have its median and spread, float16 noise as
features, both modules.

    python -m experiments.benchmarks.training
"""

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from cpmn_tf.config import Config, preset
from cpmn_tf.data import pipeline, records
from cpmn_tf.data.manifest import Manifest, StreamSpec
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.training.objectives import cascade_loss, pyramid_loss
from cpmn_tf.training.step import initialize, make_optimizer, make_step
from tfrecords_tools.writing import write_shards

BATCH, UNITS, WINDOW, WIDTH, FILTERS, KERNEL, CLASSES = 16, 400, 64, 101, 512, 3, 20
ROUNDS, WARM, VIDEOS = 15, 3, 200
MODULES = {
    "cascade": (CascadedClassifier, cascade_loss, pipeline.cascade_batches),
    "pyramid": (PyramidAttention, pyramid_loss, pipeline.pyramid_batches),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """How a step is run.

    Attributes:
      precision: of the convolutions.
      xla: compiled with XLA.
      eager: op by op, without a graph.
      tf32: products of float32 may be rounded to TF32, on GPUs that have it.
    """

    precision: str = "float32"
    xla: bool = False
    eager: bool = False
    tf32: bool = True


ON_CPU = {
    "float32": Variant(),
    "float32, XLA": Variant(xla=True),
    "bfloat16": Variant("mixed_bfloat16"),
    "bfloat16, XLA": Variant("mixed_bfloat16", xla=True),
    "float32, eager": Variant(eager=True),
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


def pyramid_operations(config: Config, width: int, classes: int) -> float:
    """The same of the pyramid: its levels' two products, without what pooling and adding take."""
    section, windows = config.pyramid, config.training.batch_size
    units = sum(section.window // 2**level for level in range(section.levels))
    return 2.0 * windows * units * section.filters * (2 * width + 3 * classes)


OPERATIONS = {
    "cascade": cascade_operations(preset("thumos14"), WIDTH),
    "pyramid": pyramid_operations(preset("thumos14"), WIDTH, CLASSES),
}
PRODUCTS = {
    "cascade": (BATCH * UNITS, KERNEL * FILTERS, FILTERS),
    "pyramid": (BATCH * WINDOW, WIDTH, FILTERS),
}


def make(module: str, config: Config, variant: Variant | None = None):
    """A module's compiled step."""
    variant = variant or Variant()
    kind, loss, _ = MODULES[module]
    model = kind(num_classes=CLASSES, config=getattr(config, module), dtype=variant.precision)
    model.build((None, None, WIDTH))
    initialize(model, 0)
    optimizer = make_optimizer(config, 13, model.trainable_variables, variant.precision)
    return make_step(model, optimizer, loss, config, seed=0, xla=variant.xla)


def make_product(rows: int, inner: int, columns: int) -> tuple[Callable[[], tf.Tensor], float]:
    """A matrix product, and its floating-point operations."""
    rng = np.random.default_rng(0)
    left = tf.constant(rng.normal(size=(rows, inner)), tf.float32)
    right = tf.constant(rng.normal(size=(inner, columns)), tf.float32)
    return tf.function(lambda: tf.linalg.matmul(left, right)), 2.0 * rows * inner * columns


def measure_steps(module: str, variants: Mapping[str, Variant]) -> tuple[dict[str, float], float]:
    """Operations a second of each variant's step and of the product, taken in turns; medians."""
    rng = np.random.default_rng(0)
    units = {"cascade": UNITS, "pyramid": WINDOW}[module]
    batch = {
        "features": tf.constant(rng.normal(size=(BATCH, units, WIDTH)), tf.float16),
        "valid": tf.ones((BATCH, units), tf.bool),
        "labels": tf.one_hot(np.arange(BATCH) % CLASSES, CLASSES),
    }
    product, operations = make_product(*PRODUCTS[module])
    repeats = max(1, round(OPERATIONS[module] / operations))  # so that both take about as long
    steps = {name: make(module, preset("thumos14"), variant) for name, variant in variants.items()}
    times: dict[str, list[float]] = {name: [] for name in (*variants, "")}
    for number in range(ROUNDS + WARM):
        for name, variant in variants.items():
            tf.config.run_functions_eagerly(variant.eager)
            tf.config.experimental.enable_tensor_float_32_execution(variant.tf32)
            start = time.perf_counter()
            steps[name](batch, tf.constant(number, tf.int64)).numpy()
            times[name].append(time.perf_counter() - start)
        tf.config.run_functions_eagerly(False)
        tf.config.experimental.enable_tensor_float_32_execution(False)
        start = time.perf_counter()
        for _ in range(repeats):
            last = product()
        last.numpy()
        times[""].append((time.perf_counter() - start) / repeats)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    # The first rounds trace and warm up.
    medians = {name: statistics.median(taken[WARM:]) for name, taken in times.items()}
    rates = {name: OPERATIONS[module] / medians[name] for name in variants}
    return rates, operations / medians[""]


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
    for module in MODULES:
        rates, product = measure_steps(module, ON_CPU)
        shape = "×".join(map(str, PRODUCTS[module]))
        print(f"{module}: matrix product {shape} {product / 1e9:.1f} GFLOP/s; steps")
        for name, rate in rates.items():
            print(f"  {name}: {rate / 1e9:.1f} GFLOP/s, ratio {rate / product:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        split = write_data(pathlib.Path(folder))
        for module, epochs in (("cascade", 3), ("pyramid", 1)):
            share, steps = measure_waiting(split, module, epochs)
            print(f"{module}: {100 * share:.2f} % of the time waiting for input ({steps} steps)")


if __name__ == "__main__":
    main()
