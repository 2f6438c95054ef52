"""The paper's schedule in full, timed: `--preset=thumos14` on data of THUMOS14's size.

Trains the streams that are named, 150 epochs of both modules, and says what that took against the
floor, which is the floating-point operations of the convolutions over the rate of a matrix product
measured in the same process; the peak of its memory; and the mAP it comes to.

    cpmn-build-records --source=simulated --annotations=thumos14.json --output_dir=runs/simulated
    python -m experiments.run rehearsal --data_dir=runs/simulated --output_dir=runs/rehearsal \\
        --streams=flow

Half an hour to an hour a stream on 2 cores. A run that is killed goes on where it was, its time
added up. Where other programs share the machine, compare the seconds of processor time. Writes
rehearsal.json.
"""

import resource
import statistics
import time
from typing import Any

import numpy as np

from cpmn_tf.commands import cli
from cpmn_tf.commands.progress import ProgressBar
from cpmn_tf.config import Config
from cpmn_tf.data import pipeline
from cpmn_tf.files import read_json, write_json
from cpmn_tf.inference import localize
from cpmn_tf.training import load_model, train
from experiments.benchmarks.training import (
    PRODUCTS,
    cascade_operations,
    make_product,
    pyramid_operations,
)
from experiments.harness.lab import Lab


def define_flags(values: cli.Flags) -> None:
    """The rehearsal's own flag."""
    values.separated("streams", "Streams to train; all by default.")


def floor_operations(split: pipeline.Split, config: Config, streams: list[str]) -> float:
    """Floating-point operations of the whole training of some streams."""
    batch, classes = config.training.batch_size, len(split.manifest.classes)
    epochs = config.training.epochs + config.training.final_epochs
    windows = pipeline.training_windows(split.lengths, config)
    total = 0.0
    for name in streams:
        width = split.manifest.stream(name).width
        total += -(-len(split) // batch) * cascade_operations(config, width, classes)
        total += -(-windows // batch) * pyramid_operations(config, width, classes)
    return epochs * total


def now() -> np.ndarray:
    """Seconds by the clock, and of processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def product_rates() -> np.ndarray:
    """Operations a second of the matrix product: by the clock, and by processor time; medians."""
    product, operations = make_product(*PRODUCTS["cascade"])
    product().numpy()
    seconds = []
    for _ in range(20):
        start = now()
        product().numpy()
        seconds.append(now() - start)
    return operations / np.median(seconds, axis=0)


def run(lab: Lab) -> None:
    """Trains with seed 0, measures, judges and writes."""
    before = product_rates()
    path, bar = lab.output / "seconds.json", ProgressBar()
    earlier, begin = np.array(read_json(path) if path.is_file() else [0.0, 0.0]), now()

    def keep_time() -> np.ndarray:
        seconds = earlier + now() - begin
        write_json(path, seconds.tolist())
        return seconds

    def progress(*done: Any) -> None:
        keep_time()
        bar.update(*done)

    train(
        data_dir=lab.flags.data_dir,
        model_dir=lab.output / "model",
        config=lab.config,
        streams=lab.flags.streams,
        precision=lab.flags.precision,
        progress=progress,
        report=bar.report,
    )
    seconds = keep_time()
    bar.end()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rates = np.mean([before, product_rates()], axis=0)
    training = pipeline.Split.open(lab.flags.data_dir, lab.config.data.train_split)
    streams = lab.flags.streams or [spec.name for spec in training.manifest.streams]
    operations = floor_operations(training, lab.config, streams)
    model = load_model(lab.output / "model", streams=streams)
    start = time.perf_counter()
    detections = localize(model, lab.split)
    figures = {
        **lab.describe(),
        "seed": 0,
        "streams": streams,
        "settings": lab.config.to_dict(),
        "operations": operations,
        "product_gflops": by_kind(rates / 1e9),
        "seconds": by_kind(seconds),
        "floor_seconds": by_kind(operations / rates),
        "peak_memory_gib": peak,
        "localization_seconds": time.perf_counter() - start,
        **lab.judge(detections),
    }
    write_json(lab.output / "rehearsal.json", figures)
    _print(figures)


def by_kind(values: np.ndarray) -> dict[str, float]:
    """The two kinds of seconds, or of rates, by name."""
    return dict(zip(("clock", "processor"), values.tolist(), strict=True))


def _print(figures: dict) -> None:
    print(f"\n{figures['data']}; streams: {', '.join(figures['streams'])}")
    for kind, spent in figures["seconds"].items():
        floor = figures["floor_seconds"][kind]
        print(
            f"{kind}: {spent:.0f} s of training, floor {floor:.0f} s at "
            f"{figures['product_gflops'][kind]:.0f} GFLOP/s, ratio {floor / spent:.2f}"
        )
    print(f"peak memory {figures['peak_memory_gib']:.2f} GiB")
    print(f"localization of the test split: {figures['localization_seconds']:.0f} s")
    for name, values in figures["map"].items():
        cells = " ".join(f"{100 * value:.1f}" for value in values)
        print(f"mAP (%), {name}: {cells}, average {100 * statistics.mean(values):.1f}")
