"""The training loop: one module of one stream, from its last checkpoint to the end.

`Model.fit` can resume neither shuffling nor sampling bit for bit, hence a loop of our own over
one compiled step. Everything a step depends on is the checkpoint and its number.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterable

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data import pipeline, records
from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json, write_json
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.training import objectives
from cpmn_tf.training.checkpoints import Checkpoints
from cpmn_tf.training.distribution import ONE_DEVICE, STOP_STEPS, Distribution
from cpmn_tf.training.events import EventWriter
from cpmn_tf.training.model_folder import flatten, plain_variables
from cpmn_tf.training.step import (
    initialize,
    learning_rate,
    make_optimizer,
    make_replicated_step,
    make_step,
)

CHECKPOINT_SECONDS = 300  # between checkpoints within an epoch
_REPLICAS = "replicas.json"  # how many trained, where it was not one

# (event writer, epochs done, step)
OnEpoch = Callable[[EventWriter, int, int], None]


class Interrupted(Exception):
    """Training stopped on request, after it saved its state."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime:
    """How to run, as apart from what to train.

    Attributes:
      seed: of weights, order and sampling.
      precision: Keras' dtype policy.
      xla: compile steps with XLA.
      stop: asked after every step; once True, it saves and raises :class:`Interrupted`.
      progress: called with (label, step, steps, losses by name) about twice a second.
      distribution: the devices that share the batches.
    """

    seed: int = 0
    precision: str = "float32"
    xla: bool = False
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[str, int, int, dict[str, float]], None] = lambda *_: None
    distribution: Distribution = ONE_DEVICE


def steps_per_epoch(module: str, split: pipeline.Split, config: Config) -> int:
    """The steps of an epoch of a module."""
    items = len(split)
    if module == "pyramid":
        items = pipeline.training_windows(split.lengths, config)
    return -(-items // config.training.batch_size)


class ModuleTrainer:
    """Trains the cascade or the pyramid of one stream, or of ``rgb+flow``, two joined ones.

    Args:
      module: ``cascade`` or ``pyramid``.
      stream: its name.
      split: training videos.
      config: all settings.
      folder: of the checkpoints.
      events_dir: of the event files.
      runtime: seed, precision and so on.

    Raises:
      UserError: if the checkpoints in ``folder`` do not fit, or the workers see different ones.
    """

    def __init__(
        self,
        *,
        module: str,
        stream: str,
        split: pipeline.Split,
        config: Config,
        folder: str | os.PathLike,
        events_dir: str | os.PathLike,
        runtime: Runtime,
    ):
        self.label = f"{stream} {module}"
        self.module, self.stream = module, stream
        self._split, self._config, self._runtime = split, config, runtime
        self._distribution = runtime.distribution
        self.steps_per_epoch = steps_per_epoch(module, split, config)
        self.epochs = config.training.epochs + config.training.final_epochs
        self.steps = self.epochs * self.steps_per_epoch

        joined = stream.split("+")
        width = sum(split.manifest.stream(name).width for name in joined)
        make = CascadedClassifier if module == "cascade" else PyramidAttention
        order = [spec.name for spec in split.manifest.streams].index(joined[0])
        self._seed = runtime.seed * 1000 + order * 10 + (module == "pyramid")
        loss_of = objectives.cascade_loss if module == "cascade" else objectives.pyramid_loss
        with self._distribution.scope():
            self.model = make(
                num_classes=len(split.manifest.classes),
                config=getattr(config, module),
                dtype=runtime.precision,
            )
            self.model.build((None, None, width))
            initialize(self.model, self._seed)
            self._optimizer = make_optimizer(
                config, self.steps_per_epoch, self.model.trainable_variables, runtime.precision
            )
            made = self.model, self._optimizer, loss_of, config
            self._step_function: Callable
            if self._distribution.strategy:
                self._step_function = make_replicated_step(*made, seed=self._seed, xla=runtime.xla)
            else:
                spec = self._dataset(0).element_spec
                self._step_function = make_step(
                    *made,
                    seed=self._seed,
                    xla=runtime.xla,
                    batch_spec=spec if spec["valid"].shape[1] is None else None,
                )
        parts = 3 if module == "cascade" and config.training.coactivity else 2
        self._step = tf.Variable(0, dtype=tf.int64)
        self._totals = tf.Variable([0.0] * parts)  # of the losses in the running epoch
        self._finished = tf.Variable(False)
        state = {
            "weights": plain_variables(self.model),
            "optimizer": plain_variables(self._optimizer),
            "step": self._step,
            "totals": self._totals,
            "finished": self._finished,
        }
        self._checkpoints, self._folder = Checkpoints(state, folder), pathlib.Path(folder)
        self._checkpoints.restore()
        steps = self._distribution.gather(self.step)
        if len(set(steps)) > 1:
            raise UserError(
                f"{folder}: the workers see different folders, which are at the steps "
                f"{', '.join(map(str, steps))}; give all of them a folder that they share"
            )
        kept = self._folder / _REPLICAS
        self._replicas_before = read_json(kept) if kept.is_file() else 1
        self._events_dir = events_dir

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._step.numpy())

    @property
    def change_of_devices(self) -> str:
        """What there is to say if the steps done were another number of devices'."""
        before, now = self._replicas_before, self._distribution.replicas
        if before == now:
            return ""
        return f", on {now} instead of {before} devices: the same but for rounding"

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return bool(self._finished.numpy())

    def _save(self, events: EventWriter) -> None:
        if not self._distribution.writes:
            return
        self._checkpoints.close()  # of the one before
        events.flush()  # first: what is beyond a checkpoint is dropped, a gap would stay
        self._checkpoints.save(self.step)

    def run(self, on_epoch: OnEpoch) -> None:
        """Trains to the end.

        Args:
          on_epoch: called with the event writer, the epochs done and the step, after every
            ``training.validate_every`` epochs and after the last.

        Raises:
          Interrupted: if ``runtime.stop`` asked any worker for it; the state was saved.
          UserError: if a record cannot be read, or another worker is gone.
        """
        if self.finished:
            return
        distribution = self._distribution
        with (
            contextlib.closing(self._checkpoints),
            contextlib.closing(self._open_events()) as events,
            distribution.watched(
                lambda: f"with {self.label} from step {self._checkpoints.last_step()}"
            ),
        ):
            if distribution.writes and self._replicas_before != distribution.replicas:
                write_json(self._folder / _REPLICAS, distribution.replicas)
            if self.step == 0:
                named = {"stream": self.stream, "module": self.module}
                events.hyperparameters(named | flatten(self._config.to_dict()))
            ended = self._train(on_epoch, events)
            self._finished.assign(ended)
            self._save(events)
            self._checkpoints.close()
            distribution.gather(self.step)  # no worker leaves before it is written
        if not ended:
            raise Interrupted(self.label)

    def _open_events(self) -> EventWriter:
        return EventWriter(self._events_dir if self._distribution.writes else None, self.step)

    def _train(self, on_epoch: OnEpoch, events: EventWriter) -> bool:
        """Trains to the end (True), or until it is asked to stop."""
        step, section, distribution = self.step, self._config.training, self._distribution
        shown, saved = 0.0, time.monotonic()
        batches = records.readable(self._batches(step), self._split.manifest, self._split.name)
        for batch in batches:
            number = tf.constant(step, tf.int64)
            if distribution.strategy:
                asked = tf.constant(self._runtime.stop())
                told = self._step_function(batch, number, asked)
                losses, stopping = told[:-1], told[-1]
            else:
                losses = self._step_function(batch, number)
            self._totals.assign_add(losses)
            self._step.assign_add(1)
            step += 1
            if time.monotonic() - shown > 0.5 or step == self.steps:
                parts = losses.numpy()  # twice a second at most, so that the device is not kept
                self._runtime.progress(self.label, step, self.steps, {"loss": float(parts.sum())})
                shown = time.monotonic()
            epoch, within = divmod(step, self.steps_per_epoch)
            if not within:
                self._end_epoch(step, events)
                looked = epoch % section.validate_every == 0 or epoch == self.epochs
                if looked and distribution.writes:
                    on_epoch(events, epoch, step)
            if not distribution.strategy:
                stop = self._runtime.stop()
            else:  # of the same step on all workers, and without waiting for each step's result
                stop = (not within or step % STOP_STEPS == 0) and bool(stopping.numpy())
            if stop:
                return False
            due = not within or time.monotonic() - saved >= CHECKPOINT_SECONDS
            if due and step < self.steps:
                self._save(events)
                saved = time.monotonic()
        return True

    def _batches(self, step: int) -> Iterable:
        """The batches from ``step`` on, for the step function."""
        make = functools.partial(self._dataset, step)
        return self._distribution.batches(make, self._config.training.batch_size)

    def _dataset(self, step: int, part: pipeline.Part | None = None) -> tf.data.Dataset:
        make = pipeline.cascade_batches if self.module == "cascade" else pipeline.pyramid_batches
        return make(
            self._split,
            self.stream,
            self._config,
            seed=self._seed,
            first_epoch=step // self.steps_per_epoch,
            last_epoch=self.epochs,
            skip=step % self.steps_per_epoch,
            part=part,
        )

    def _end_epoch(self, step: int, events: EventWriter) -> None:
        means = self._totals.numpy() / self.steps_per_epoch
        self._totals.assign(tf.zeros_like(self._totals))
        named = zip(objectives.Loss._fields, means, strict=False)
        rate = float(learning_rate(self._config, self.steps_per_epoch)(step - 1))
        events.scalars(
            step,
            {
                **{f"loss/{name}": mean for name, mean in named},
                "loss/total": means.sum(),
                "rate/learning_rate": rate,
                "rate/steps_per_second": events.steps_per_second(step),
            },
        )
