"""How fast the modules train, against the matrix product that each mostly is, and against PyTorch.

Everything is taken in turns in one run, and figures are ratios within a turn: their median, and
the quartiles; by the clock, and by the processor's time, which other programs on the machine
disturb less. On a machine that is not idle use ``--threads=1``: where a thread of several has to
wait for its core, the others wait for it, PyTorch's at full speed.

- a training step (G=101; forward, and backward without the gradient of the input, which nobody
  needs) of the cascade (batch 16, P=400, two stages) and of the pyramid (16 windows of 64 units),
  by precision, compiled with XLA, and without a graph (eager);
- a matrix product of the shape that most of them are spent on, in float32: 6400×1536×512, the
  cascade's second convolution (6400 = 16·400, 1536 = 3·512), and 1024×101×512, the pyramid's finest
  level;
- with ``--torch``, the same steps in PyTorch (`torch_models`), in a process of its own, from the
  same weights on the same batch: the losses must be equal to 10⁻⁴ at first, and to 10⁻³ after each
  of two updates.

Then the share of a step's time that training waits for its input, over whole epochs read from
shards of THUMOS14's size: 200 videos whose lengths have its median and spread, float16 noise as
features, both modules.

``--profile`` prints instead where the processor's time of a float32 step goes, by operation.

    python -m experiments.benchmarks.training [--torch] [--threads=1] [--profile]
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cpmn_tf.config import Config, preset
from cpmn_tf.data import pipeline, records
from cpmn_tf.data.manifest import Manifest, StreamSpec
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.training.objectives import cascade_loss, pyramid_loss
from cpmn_tf.training.step import initialize, is_emulated, make_optimizer, make_step
from experiments.harness.report import markdown
from tfrecords_tools.writing import write_shards

BATCH, UNITS, WINDOW, WIDTH, FILTERS, KERNEL, CLASSES = 16, 400, 64, 101, 512, 3, 20
ROUNDS, WARM, VIDEOS = 7, 1, 200
SHAPES = {"cascade": (BATCH, UNITS), "pyramid": (BATCH, WINDOW)}
STEPS = {"cascade": 1, "pyramid": 10}  # of a turn
PRODUCT = "matrix product"
# Of `torch_models`, which is not imported: it needs PyTorch.
TORCH = ("float32", "float32, compiled", "bfloat16")
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


def make(
    module: str, config: Config, variant: Variant | None = None, classes: int = CLASSES
) -> tuple[Callable[[dict, tf.Tensor], tf.Tensor], keras.Model]:
    """A module's compiled step, and its model."""
    variant = variant or Variant()
    kind, loss, _ = MODULES[module]
    model = kind(num_classes=classes, config=getattr(config, module), dtype=variant.precision)
    model.build((None, None, WIDTH))
    initialize(model, 0)
    optimizer = make_optimizer(config, 13, model.trainable_variables, variant.precision)
    return make_step(model, optimizer, loss, config, seed=0, xla=variant.xla), model


def make_product(rows: int, inner: int, columns: int) -> tuple[Callable[[], tf.Tensor], float]:
    """A matrix product, and its floating-point operations."""
    rng = np.random.default_rng(0)
    left = tf.constant(rng.normal(size=(rows, inner)), tf.float32)
    right = tf.constant(rng.normal(size=(inner, columns)), tf.float32)
    return tf.function(lambda: tf.linalg.matmul(left, right)), 2.0 * rows * inner * columns


def make_batch(batch: int, units: int, classes: int = CLASSES) -> dict[str, np.ndarray]:
    """Noise."""
    noise = np.random.default_rng(0).normal(size=(batch, units, WIDTH))
    return {
        "features": noise.astype(np.float16),
        "valid": np.ones((batch, units), bool),
        "labels": np.eye(classes, dtype=np.float32)[np.arange(batch) % classes],
    }


class Turn(NamedTuple):
    """What a turn of some steps took, and the cross-entropy that the last one began with."""

    clock: float
    processor: float
    loss: float


def timed(run: Callable[[int], float]) -> Callable[[int], Turn]:
    """``run`` with the seconds that it takes this process."""

    def turn(count: int) -> Turn:
        start, spent = time.perf_counter(), time.process_time()
        loss = run(count)
        return Turn(time.perf_counter() - start, time.process_time() - spent, loss)

    return turn


def our_turn(module: str, variant: Variant) -> Callable[[int], Turn]:
    """Runs so many steps."""
    step, _ = make(module, preset("thumos14"), variant)
    batch = {name: tf.constant(values) for name, values in make_batch(*SHAPES[module]).items()}
    number = tf.constant(0, tf.int64)

    def run(count: int) -> float:
        tf.config.run_functions_eagerly(variant.eager)
        tf.config.experimental.enable_tensor_float_32_execution(variant.tf32)
        for _ in range(count):
            loss = step(batch, number).numpy()
        tf.config.run_functions_eagerly(False)
        tf.config.experimental.enable_tensor_float_32_execution(True)
        return float(loss[0])

    return timed(run)


def product_turn(module: str) -> Callable[[int], Turn]:
    """Runs the product as often as has the operations of so many steps, and not in TF32."""
    product, operations = make_product(*PRODUCTS[module])
    repeats = OPERATIONS[module] / operations

    def run(count: int) -> float:
        tf.config.experimental.enable_tensor_float_32_execution(False)
        for _ in range(round(count * repeats)):
            last = product()
        last.numpy()
        tf.config.experimental.enable_tensor_float_32_execution(True)
        return 0.0

    return timed(run)


@contextlib.contextmanager
def torch_turns(module: str) -> Iterator[Callable[[str, int], Turn]]:
    """What :func:`our_turn` makes, by the variant of `torch_models`, in a process with PyTorch."""
    config = preset("thumos14")
    _, model = make(module, config)
    task = {
        "module": module,
        "weights": [variable.numpy() for variable in model.trainable_variables],
        **make_batch(*SHAPES[module]),
        "threshold": config.cascade.threshold,
        "l2": getattr(config.training, f"{module}_l2"),
        "rate": config.training.learning_rate,
    }
    command = [sys.executable, "-m", "experiments.benchmarks.torch_models"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:

        def send(what: object) -> None:
            pickle.dump(what, process.stdin)
            process.stdin.flush()

        def turn(variant: str, count: int) -> Turn:
            send((variant, count))
            return Turn(*pickle.load(process.stdout))

        send(task)
        yield turn
        process.stdin.close()


def measure_steps(
    module: str, variants: Mapping[str, Variant], with_torch: Mapping[str, str] | None = None
) -> dict[str, np.ndarray]:
    """Operations a second in each round, of each variant's steps and of the product, in turns.

    Args:
      module: ``cascade`` or ``pyramid``.
      variants: by their names.
      with_torch: names of PyTorch's variants (`torch_models.VARIANTS`), by the names of rows.

    Returns:
      [rounds, 2] by name, by the clock and by processor time; the product's is :data:`PRODUCT`.

    Raises:
      AssertionError: if PyTorch's first losses are others than ours.
    """
    count = STEPS[module]
    turns: dict[str, Callable[[int], Turn]] = {
        name: our_turn(module, variant) for name, variant in variants.items()
    }
    turns[PRODUCT] = product_turn(module)
    with contextlib.ExitStack() as stack:
        if with_torch:
            torch = stack.enter_context(torch_turns(module))
            turns |= {row: functools.partial(torch, name) for row, name in with_torch.items()}
            check = next(iter(variants)), next(iter(with_torch))
            ours, theirs = ([turns[name](1).loss for _ in range(3)] for name in check)
            # Adam's first updates are the gradients' signs, which rounding turns round near 0.
            np.testing.assert_array_less(np.abs(np.divide(theirs, ours) - 1), [1e-4, 1e-3, 1e-3])
        seconds: dict[str, list[tuple]] = {name: [] for name in turns}
        for _ in range(ROUNDS + WARM):
            for name, turn in turns.items():
                seconds[name].append(turn(count)[:2])
    # The first rounds trace and warm up.
    done = count * OPERATIONS[module]
    return {name: done / np.array(taken[WARM:]) for name, taken in seconds.items()}


def ratio(rates: np.ndarray, others: np.ndarray) -> str:
    """Median of the rounds' ratios, and their quartiles."""
    low, middle, high = np.quantile(rates / others, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def print_steps(with_torch: bool) -> None:
    """A table for each module."""
    emulated = is_emulated("mixed_bfloat16")
    ours = {name: one for name, one in ON_CPU.items() if not (emulated and "bf" in name)}
    theirs = {f"PyTorch, {name}": name for name in TORCH if not (emulated and "bf" in name)}
    for module in MODULES:
        rates = measure_steps(module, ours, theirs if with_torch else None)
        shape = "×".join(map(str, PRODUCTS[module]))
        print(f"{module}, against the product {shape}", flush=True)
        rows = [["step"]]
        for what in ("rate against the product", "time against our float32"):
            rows[0] += [f"{what}, by the clock", "by processor time"]
        for name, one in rates.items():
            pairs = (one, rates[PRODUCT]), (rates["float32"], one)
            cells = [ratio(a[:, kind], b[:, kind]) for a, b in pairs for kind in (0, 1)]
            rows.append([name, *cells])
        print(markdown(rows), flush=True)


def profile(module: str, steps: int) -> list[tuple[str, float, float]]:
    """Where the time of a module's float32 steps goes.

    Returns:
      Operation, milliseconds and number per step, the longest first. An operation's time is its
      median over the steps; where it has several threads, it is how long they take together.
    """
    # Part of TensorFlow, but of no interface: needed here alone.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run = our_turn(module, Variant())
    run(WARM)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run(steps)
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    taken: dict[str, list[float]] = collections.defaultdict(list)
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                taken[plane.event_metadata[event.metadata_id].name].append(event.duration_ps / 1e9)
    spent: collections.Counter = collections.Counter()
    numbers: collections.Counter = collections.Counter()
    for name, durations in taken.items():
        # "name:operation" is a kernel's; "class::method" is of the runtime around them.
        _, *kind = name.split(":")
        if len(kind) == 1 and kind[0].isidentifier():
            spent[kind[0]] += float(np.median(durations)) * len(durations) / steps
            numbers[kind[0]] += len(durations)
    return [(kind, each, numbers[kind] / steps) for kind, each in spent.most_common()]


def print_profile() -> None:
    """The longest operations of both modules."""
    for module in MODULES:
        found = profile(module, 5 * STEPS[module])
        total, count = (sum(column) for column in list(zip(*found, strict=True))[1:])
        rows = [[f"{module}: operation", "share", "ms a step", "a step"]]
        for kind, spent, number in found[:12]:
            rows.append([kind, f"{100 * spent / total:.0f} %", f"{spent:.2f}", f"{number:.0f}"])
        rows.append(["all", "", f"{total:.2f}", f"{count:.0f}"])
        print(markdown(rows), flush=True)


def write_data(folder: pathlib.Path, videos: int = 0, units: int = 0) -> pipeline.Split:
    """Shards of THUMOS14's form: median 150 s, 5th to 95th percentile 31 to 700 s, 6 units/s.

    With ``units``, all videos have so many.
    """
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(np.log(900), 0.95, videos or VIDEOS)
    lengths = np.clip(drawn, units or 60, units or 9000).astype(int)
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


def measure_waiting(split: pipeline.Split, module: str, epochs: int) -> tuple[float, float, int]:
    """How long the loop waits for its next batch.

    Returns:
      The share of its time; that share if the batch were always ready, which is what calling an
      iterator from Python costs; and of how many steps.
    """
    config = preset("thumos14")
    step, _ = make(module, config)
    waiting = calling = working = 0.0
    batches = iter(MODULES[module][2](split, "rgb", config, seed=0, last_epoch=epochs))
    first = next(batches)
    ready = iter(tf.data.Dataset.from_tensors(first).repeat())
    shapes, steps = {tuple(first["features"].shape)}, 0
    step(first, tf.constant(0, tf.int64))
    start = time.perf_counter()
    for number, batch in enumerate(batches):
        times = [start, time.perf_counter()]
        next(ready)
        times.append(time.perf_counter())
        step(batch, tf.constant(number, tf.int64)).numpy()
        times.append(time.perf_counter())
        shape = tuple(batch["features"].shape)
        if shape in shapes:  # a new shape's first step traces
            waited, called, worked = np.diff(times)
            waiting, calling, working = waiting + waited, calling + called, working + worked
            steps += 1
        shapes.add(shape)
        start = time.perf_counter()
    return waiting / (waiting + working), calling / (calling + working), steps


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", action="store_true", help="PyTorch's steps, too")
    parser.add_argument("--threads", type=int, default=0, help="of both; by default one a core")
    parser.add_argument("--profile", action="store_true", help="where a step's time goes, only")
    flags = parser.parse_args()
    if flags.threads:
        tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
        tf.config.threading.set_inter_op_parallelism_threads(flags.threads)
        os.environ["OMP_NUM_THREADS"] = str(flags.threads)  # of the process with PyTorch
    if flags.profile:
        print_profile()
        return
    print_steps(flags.torch)
    with tempfile.TemporaryDirectory() as folder:
        split = write_data(pathlib.Path(folder))
        for module, epochs in (("cascade", 3), ("pyramid", 1)):
            share, ready, steps = measure_waiting(split, module, epochs)
            print(
                f"{module}: {100 * share:.2f} % of the time waiting for input, {100 * ready:.2f} % "
                f"if it were always ready ({steps} steps)"
            )


if __name__ == "__main__":
    main()
