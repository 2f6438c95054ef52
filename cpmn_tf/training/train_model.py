"""Training all streams' modules, one after another."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from cpmn_tf.config import TIOU, Config, with_settings
from cpmn_tf.config import preset as preset_named
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import parse_tiou
from cpmn_tf.training.events import EventWriter
from cpmn_tf.training.loop import ModuleTrainer, Runtime
from cpmn_tf.training.model_folder import MODULES, ModelManifest, flatten, module_folder
from cpmn_tf.training.validation import Validator, known_segments

TENSORBOARD = "tensorboard"  # folder of the event files


def train(
    *,
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    preset: str = "thumos14",
    settings: Mapping[str, Any] | None = None,
    config: Config | None = None,
    split: str = "",
    validation_split: str = "",
    streams: Sequence[str] = (),
    seed: int = 0,
    precision: str = "float32",
    xla: bool = False,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int, dict[str, float]], None] = lambda *_: None,
    report: Callable[[str], None] = lambda _: None,
) -> ModelManifest:
    """Trains every stream's cascade and pyramid; takes up what was begun in ``model_dir``.

    Args:
      data_dir: data set of `cpmn-build-records`.
      model_dir: for weights, ``model.json`` and TensorBoard; made if it is not there.
      preset: settings to start from, one of :data:`cpmn_tf.config.PRESETS`.
      settings: what differs, such as ``{"training.epochs": 5}``.
      config: all settings, instead of ``preset``.
      split: to train on; the configuration's by default.
      validation_split: to validate on; by default ``training.validation_fraction`` of ``split``.
      streams: to train in this call, by name; all by default. The others are left as they are, for
        another call (or another machine that shares the folder).
      seed: of weights, order and sampling.
      precision: of the convolutions: ``float32``, ``mixed_float16`` or ``mixed_bfloat16``.
      xla: compile the steps with XLA.
      stop, progress: see :class:`~cpmn_tf.training.loop.Runtime`.
      report: called with lines worth showing.

    Returns:
      What ``model.json`` says of the model; :func:`load_model` loads it.

    Raises:
      UserError: if a setting is wrong, the data cannot be read, or the folder is of another model.
      Interrupted: if ``stop`` asked for it; the state was saved.
    """
    config = with_settings(config or preset_named(preset), settings or {})
    runtime = Runtime(seed=seed, precision=precision, xla=xla, stop=stop, progress=progress)
    name = split or config.data.train_split
    whole = Split.open(data_dir, name)
    data = whole.manifest
    held_out: Split | None
    if validation_split:
        if config.training.validation_fraction:
            raise UserError(
                f"`validation_split={validation_split}`: training.validation_fraction="
                f"{config.training.validation_fraction} holds videos out already; give one of them"
            )
        training, held_out = whole, Split.open(data_dir, validation_split)
    else:
        training, held_out = whole.hold_out(config.training.validation_fraction)
    manifest = ModelManifest(
        config=config,
        streams={spec.name: spec.width for spec in data.streams},
        classes=data.classes,
        seed=seed,
        precision=precision,
        train_split=name,
        validation_split=validation_split,
        fingerprint=data.fingerprint(name),
    )
    manifest.check_streams(streams)
    manifest.claim(model_dir)
    if data.simulated:
        report(f"{data_dir}: features are SIMULATED")
    job = _Job(pathlib.Path(model_dir), manifest, training, held_out, data_dir, runtime, report)
    for stream in streams or manifest.streams:
        job.train_stream(stream)
    return manifest


@dataclasses.dataclass(frozen=True)
class _Job:
    """One call of :func:`train`."""

    model_dir: pathlib.Path
    manifest: ModelManifest
    training: Split
    held_out: Split | None
    data_dir: str | os.PathLike
    runtime: Runtime
    report: Callable[[str], None]

    def train_stream(self, stream: str) -> None:
        """Trains the cascade, then the pyramid of one stream."""
        truth = known_segments(self.data_dir, self.held_out) if self.held_out else None
        looked_at = self.held_out or self.training
        count = self.manifest.config.training.pictures
        few = dict(itertools.islice(looked_at.lengths.items(), count))
        validate = Validator(
            manifest=self.training.manifest,
            config=self.manifest.config,
            stream=stream,
            held_out=self.held_out,
            truth=truth,
            pictured=dataclasses.replace(looked_at, lengths=few),
            tiou=parse_tiou(TIOU.get(self.manifest.config.preset, TIOU["thumos14"])),
        )
        trained: dict[str, keras.Model] = {}
        for module in MODULES:
            trainer = self._trainer(stream, module)
            if trainer.finished:
                self.report(f"{trainer.label}: finished before ({trainer.steps} steps)")
            elif trainer.step:
                self.report(f"{trainer.label}: goes on after step {trainer.step}")

            def on_epoch(
                model: keras.Model,
                events: EventWriter,
                epoch: int,
                step: int,
                trainer: ModuleTrainer = trainer,
            ) -> None:
                both = {**trained, trainer.module: model}
                values = validate(both["cascade"], both.get("pyramid"), events, step)
                if values:
                    shown = "  ".join(f"{k.partition('/')[2]} {v:.3f}" for k, v in values.items())
                    self.report(f"{trainer.label}: epoch {epoch}: {shown}")

            trainer.run(on_epoch)
            trained[module] = trainer.model

    def _trainer(self, stream: str, module: str) -> ModuleTrainer:
        return ModuleTrainer(
            module=module,
            stream=stream,
            split=self.training,
            config=self.manifest.config,
            folder=module_folder(self.model_dir, stream, module),
            events_dir=self.model_dir / TENSORBOARD / f"{stream}_{module}",
            hyperparameters={
                "stream": stream,
                "module": module,
                **{k: v for k, v in flatten(self.manifest.config.to_dict()).items() if _plain(v)},
            },
            runtime=self.runtime,
        )


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))
