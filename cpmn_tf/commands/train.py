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
    cli.load_tensorflow()

    import tensorflow as tf

    from cpmn_tf.training.loop import Interrupted
    from cpmn_tf.training.train_model import TENSORBOARD, train

    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    bar = ProgressBar()
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
                stop=lambda: bool(requested),
                progress=bar.update,
                report=bar.report,
            )
        except Interrupted:
            bar.end()
            print(f"saved in {values.model_dir}; the same command goes on from here", flush=True)
            raise cli.Stopped(requested[0]) from None
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
