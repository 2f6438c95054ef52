"""Trains every stream's cascade and pyramid from a data set's shards; resumes by itself.

Example:

  cpmn-train --data_dir=runs/records --model_dir=runs/model --preset=thumos14

Ctrl-C or SIGTERM saves first; the same command goes on from there, to the same bits. TensorBoard:

  tensorboard --logdir=runs/model/tensorboard
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.config import PRESETS, describe, preset, with_overrides


def define_flags(values: flags.FlagValues) -> None:
    """Flags of `cpmn-train`."""
    cli.define_string(values, "data_dir", None, "Data set of cpmn-build-records.")
    cli.define_string(values, "model_dir", None, "Folder for weights, settings and TensorBoard.")
    flags.DEFINE_enum(
        "preset", "thumos14", list(PRESETS), "Settings to start from.", flag_values=values
    )
    flags.DEFINE_multi_string(
        "set",
        [],
        "Change one setting, as section.field=value; may be repeated. --print_config lists them.",
        flag_values=values,
    )
    cli.define_string(values, "split", "", "Split to train on; the preset's by default.")
    cli.define_string(
        values,
        "validation_split",
        "",
        "Split to validate on while training; --set training.validation_fraction=0.1 instead "
        "holds out that share of the training videos.",
    )
    flags.DEFINE_list(
        "streams",
        [],
        "Streams to train in this call, separated by commas; all by default. Others are left for "
        "another call with the same --model_dir, on another machine or GPU if you like.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of weights, order and sampling.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Precision of the convolutions; weights and scores stay float32.",
        flag_values=values,
    )
    flags.DEFINE_bool("xla", False, "Compile the training step with XLA.", flag_values=values)
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Force deterministic GPU kernels (on CPUs results are the same bits anyway).",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "print_config", False, "Print every setting with its meaning, and stop.", flag_values=values
    )


def run(values: flags.FlagValues) -> None:
    """Trains, or prints the settings."""
    config = with_overrides(preset(values.preset), values.set)
    if values.print_config:
        print(describe(config))
        return
    cli.require(values, "data_dir", "model_dir")
    cli.load_tensorflow()

    import tensorflow as tf

    from cpmn_tf.training.loop import Interrupted, Runtime
    from cpmn_tf.training.train_model import BOARD, train

    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    bar = ProgressBar()
    with _stop_requests() as requested:
        runtime = Runtime(
            seed=values.seed,
            precision=values.precision,
            xla=values.xla,
            stop=lambda: bool(requested),
            progress=bar.update,
        )
        try:
            train(
                data_dir=values.data_dir,
                model_dir=values.model_dir,
                config=config,
                split=values.split,
                validation_split=values.validation_split,
                streams=values.streams,
                runtime=runtime,
                report=bar.report,
            )
        except Interrupted:
            bar.end()
            print(f"saved in {values.model_dir}; the same command goes on from here", flush=True)
            raise cli.Stopped(requested[0]) from None
    bar.end()
    print(f"model: {values.model_dir}")
    print(f"TensorBoard: tensorboard --logdir={os.path.join(values.model_dir, BOARD)}")


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM for the block; a second one acts at once, as ever."""
    received: list[int] = []

    def handle(number: int, _) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ProgressBar:
    """Keras' progress bar, one per module; lines of their own where nobody watches."""

    def __init__(self):
        self._bar, self._label, self._step = None, None, 0
        self._interactive = sys.stdout.isatty()

    def update(self, label: str, step: int, steps: int, losses: dict[str, float]) -> None:
        """Shows that ``step`` of ``steps`` is done."""
        if label != self._label:
            self.end()
            self._label = label
            print(f"{label}:", flush=True)
            if self._interactive:
                import keras

                self._bar = keras.utils.Progbar(steps, stateful_metrics=list(losses), interval=0.5)
        if self._bar is not None:
            self._bar.update(step, list(losses.items()))
        elif step == steps or step * 10 // steps > self._step * 10 // steps:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
            print(f"  step {step}/{steps}  {shown}", flush=True)
        self._step = step

    def report(self, line: str) -> None:
        """Shows a line of its own."""
        print(f"\n{line}" if self._bar is not None else line, flush=True)

    def end(self) -> None:
        """Ends the running bar."""
        if self._bar is not None:
            print(flush=True)
        self._bar, self._label, self._step = None, None, 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.execute("cpmn-train", __doc__, define_flags, run, argv)


def console() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    console()
