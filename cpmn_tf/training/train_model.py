"""Training all streams' modules, one after another."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence

from cpmn_tf.config import TIOU, Config
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import parse_tiou
from cpmn_tf.training.loop import ModuleTrainer, Runtime
from cpmn_tf.training.model_folder import (
    MODULES,
    ModelManifest,
    flatten,
    module_folder,
)
from cpmn_tf.training.validation import Validator, known_segments

BOARD = "tensorboard"


def train(
    *,
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    config: Config | None = None,
    split: str = "",
    validation_split: str = "",
    streams: Sequence[str] = (),
    runtime: Runtime | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> ModelManifest:
    """Trains every stream's cascade and pyramid; takes up what was begun in ``model_dir``.

    Args:
      data_dir: of `cpmn-build-records`.
      model_dir: for weights, ``model.json`` and TensorBoard; made if it is not there.
      config: all settings; the preset `thumos14` by default, as for the command.
      split: to train on; the configuration's by default.
      validation_split: to validate on; by default ``training.validation_fraction`` of ``split``.
      streams: to train in this call, by name; all by default. The others are left as they are, for
        another call (or another machine that shares the folder).
      runtime: seed, precision, XLA, progress.
      report: called with lines worth showing.

    Returns:
      The model's card.

    Raises:
      UserError: if the data cannot be read, or the folder is of another model.
      Interrupted: if ``runtime.stop`` asked for it; the state was saved.
    """
    config, runtime = config or Config(), runtime or Runtime()
    name = split or config.data.train_split
    whole = Split.open(data_dir, name)
    manifest = whole.manifest
    if validation_split:
        if config.training.validation_fraction:
            raise UserError(
                "--validation_split and training.validation_fraction both hold videos out; "
                "give one of them"
            )
        training, held_out = whole, Split.open(data_dir, validation_split)
    else:
        training, held_out = whole.hold_out(config.training.validation_fraction)
    card = ModelManifest(
        config=config,
        streams={spec.name: spec.width for spec in manifest.streams},
        classes=manifest.classes,
        seed=runtime.seed,
        precision=runtime.precision,
        train_split=name,
        validation_split=validation_split,
        fingerprint=manifest.fingerprint(name),
    )
    card.check_streams(streams)
    card.claim(model_dir)
    if manifest.simulated:
        report(f"{data_dir}: features are SIMULATED")
    job = _Job(pathlib.Path(model_dir), card, training, held_out, data_dir, runtime, report)
    for stream in streams or card.streams:
        job.train_stream(stream)
    return card


@dataclasses.dataclass(frozen=True)
class _Job:
    """One call of :func:`train`."""

    model_dir: pathlib.Path
    card: ModelManifest
    training: Split
    held_out: Split | None
    data_dir: str | os.PathLike
    runtime: Runtime
    report: Callable[[str], None]

    def train_stream(self, stream: str) -> None:
        """Trains the cascade, then the pyramid of one stream."""
        truth = known_segments(self.data_dir, self.held_out) if self.held_out else None
        looked_at = self.held_out or self.training
        count = self.card.config.training.pictures
        few = dict(itertools.islice(looked_at.lengths.items(), count))
        validate = Validator(
            manifest=self.training.manifest,
            config=self.card.config,
            stream=stream,
            held_out=self.held_out,
            truth=truth,
            pictured=dataclasses.replace(looked_at, lengths=few),
            tiou=parse_tiou(TIOU.get(self.card.config.preset, TIOU["thumos14"])),
        )
        trained = {}
        for module in MODULES:
            trainer = self._trainer(stream, module)
            if trainer.finished:
                self.report(f"{trainer.label}: finished before ({trainer.steps} steps)")
            elif trainer.step:
                self.report(f"{trainer.label}: goes on after step {trainer.step}")

            def on_epoch(model, board, epoch, step, trainer=trainer):
                both = {**trained, trainer.module: model}
                values = validate(both["cascade"], both.get("pyramid"), board, step)
                if values:
                    shown = "  ".join(f"{k.partition('/')[2]} {v:.3f}" for k, v in values.items())
                    self.report(f"{trainer.label}: epoch {epoch}: {shown}")

            trainer.run(on_epoch)
            trained[module] = trainer.model

    def _trainer(self, stream: str, module: str) -> ModuleTrainer:
        board = self.model_dir / BOARD / f"{stream}_{module}"
        return ModuleTrainer(
            module=module,
            stream=stream,
            split=self.training,
            config=self.card.config,
            folder=module_folder(self.model_dir, stream, module),
            board_dir=board,
            hyperparameters={
                "stream": stream,
                "module": module,
                **{k: v for k, v in flatten(self.card.config.to_dict()).items() if _plain(v)},
            },
            runtime=self.runtime,
        )


def _plain(value) -> bool:
    return isinstance(value, (bool, int, float, str))
