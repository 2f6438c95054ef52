"""Trains every stream's cascade and pyramid from a data set's shards; resumes by itself.

Example:

  cpmn-train --data_dir=runs/records --model_dir=runs/model --preset=thumos14

Ctrl-C or SIGTERM saves first; the same command goes on from there, to the same bits. TensorBoard:

  tensorboard --logdir=runs/model/tensorboard
"""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterator

from cpmn_tf.commands import cli
from cpmn_tf.commands.progress import ProgressBar
from cpmn_tf.config import PRESETS, describe, preset, with_overrides


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-train`."""
    values.string("data_dir", "Data set of cpmn-build-records.")
    values.string("model_dir", "Folder for weights, settings and TensorBoard.")
    values.choice("preset", PRESETS, "Settings to start from.", default="thumos14")
    values.repeated(
        "set",
        "Change one setting, as section.field=value; may be repeated. --print_config lists them.",
    )
    values.choice(
        "strategy",
        ["default", "mirrored", "multi_worker"],
        "How many devices share each batch: one; all of this machine (mirrored); or those of all "
        "machines that the environment variable TF_CONFIG names, each running this command.",
        default="default",
    )
    values.separated(
        "devices",
        "Devices to train on, such as gpu:0,gpu:1; by default every GPU, or the processor if there "
        "is none. Without --strategy or --streams_in_parallel, one.",
    )
    values.boolean(
        "streams_in_parallel",
        "Train the streams at the same time, each in a process of its own on a core or GPU; and "
        "their modules too with --set training.pictures=0 and without validation. The result is "
        "the same.",
    )
    values.string("split", "Split to train on; the preset's by default.", default="")
    values.string(
        "validation_split",
        "Split to validate on while training; --set training.validation_fraction=0.1 instead "
        "holds out that share of the training videos.",
        default="",
    )
    values.separated(
        "streams",
        "Streams to train in this call, separated by commas; all by default. Others are left for "
        "another call with the same --model_dir, on another machine or GPU if you like.",
    )
    values.integer("seed", "Seed of weights, order and sampling.", default=0, least=0)
    values.choice(
        "precision",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Precision of the convolutions; weights and scores stay float32.",
        default="float32",
    )
    values.boolean("xla", "Compile the training step with XLA.")
    values.boolean(
        "deterministic",
        "Force deterministic GPU kernels (on CPUs results are the same bits anyway).",
    )
    values.boolean("print_config", "Print every setting with its meaning, and stop.")


def run(values: cli.Flags) -> None:
    """Trains, or prints the settings."""
    config = with_overrides(preset(values.preset), values.set)
    if values.print_config:
        print(describe(config))
        return
    cli.require(values, "data_dir", "model_dir")
    one_device = values.strategy == "default" and not values.devices
    # Devices and strategies are chosen before the first computation.
    cli.load_tensorflow(compute=one_device and not values.streams_in_parallel)

    import tensorflow as tf

    from cpmn_tf.training.loop import Interrupted
    from cpmn_tf.training.train_model import TENSORBOARD, train

    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    bar = ProgressBar(several=values.streams_in_parallel)
    with _stop_requests() as requested:
        try:
            train(
                data_dir=values.data_dir,
                model_dir=values.model_dir,
                config=config,
                split=values.split,
                validation_split=values.validation_split,
                streams=values.streams,
                seed=values.seed,
                precision=values.precision,
                xla=values.xla,
                strategy=values.strategy,
                devices=values.devices,
                streams_in_parallel=values.streams_in_parallel,
                stop=lambda: bool(requested),
                progress=bar.update,
                report=bar.report,
            )
        except Interrupted:
            bar.end()
            print(f"saved in {values.model_dir}; the same command goes on from here", flush=True)
            # Another worker may have been asked, or a process of this one.
            raise cli.Stopped((requested or [signal.SIGTERM])[0]) from None
    bar.end()
    print(f"model: {values.model_dir}")
    print(f"TensorBoard: tensorboard --logdir={os.path.join(values.model_dir, TENSORBOARD)}")
    if requested:  # after the last step, when there was nothing left to stop
        raise cli.Stopped(requested[0])


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM for the block; after one of them the next acts at once."""
    received: list[int] = []
    stopping = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, _: object) -> None:
        received.append(number)
        for each in stopping:
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in stopping}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


main = functools.partial(cli.execute, "cpmn-train", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())
