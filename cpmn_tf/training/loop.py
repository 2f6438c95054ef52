"""The training loop: one module of one stream, from its last checkpoint to the end.

`Model.fit` can resume neither shuffling nor sampling bit for bit, hence a loop of our own over
one compiled step. Everything a step depends on is the checkpoint and its number.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data import pipeline
from cpmn_tf.errors import UserError
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.training import objectives
from cpmn_tf.training.events import EventWriter
from cpmn_tf.training.model_folder import CHECKPOINT_ERRORS, flatten, plain_variables
from cpmn_tf.training.step import initialize, learning_rate, make_optimizer, make_step

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
      stop: asked after every step; True saves and raises :class:`Interrupted`.
      progress: called with (label, step, steps, losses by name) about twice a second.
    """

    seed: int = 0
    precision: str = "float32"
    xla: bool = False
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[str, int, int, dict[str, float]], None] = lambda *_: None


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
      UserError: if the checkpoints in ``folder`` do not fit.
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
        batch = config.training.batch_size
        items = len(split.lengths)
        if module == "pyramid":
            items = pipeline.training_windows(split.lengths.values(), config)
        self.steps_per_epoch = -(-items // batch)
        self.epochs = config.training.epochs + config.training.final_epochs
        self.steps = self.epochs * self.steps_per_epoch

        joined = stream.split("+")
        width = sum(split.manifest.stream(name).width for name in joined)
        make = CascadedClassifier if module == "cascade" else PyramidAttention
        self.model = make(
            num_classes=len(split.manifest.classes),
            config=getattr(config, module),
            dtype=runtime.precision,
        )
        self.model.build((None, None, width))
        order = [spec.name for spec in split.manifest.streams].index(joined[0])
        self._seed = runtime.seed * 1000 + order * 10 + (module == "pyramid")
        initialize(self.model, self._seed)
        self._optimizer = make_optimizer(
            config, self.steps_per_epoch, self.model.trainable_variables, runtime.precision
        )
        loss_of = objectives.cascade_loss if module == "cascade" else objectives.pyramid_loss
        spec = self._dataset(0).element_spec
        self._step_function = make_step(
            self.model,
            self._optimizer,
            loss_of,
            config,
            seed=self._seed,
            xla=runtime.xla,
            batch_spec=spec if spec["valid"].shape[1] is None else None,
        )
        parts = 3 if module == "cascade" and config.training.coactivity else 2
        self._state = tf.train.Checkpoint(
            weights=plain_variables(self.model),
            optimizer=plain_variables(self._optimizer),
            step=tf.Variable(0, dtype=tf.int64),
            totals=tf.Variable([0.0] * parts),  # of the losses in the running epoch
            finished=tf.Variable(False),
        )
        self._manager = tf.train.CheckpointManager(self._state, str(folder), max_to_keep=2)
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        self._restore()
        self._events_dir = events_dir

    def _restore(self) -> None:
        latest = self._manager.latest_checkpoint
        if latest is None:
            return
        try:
            self._state.restore(latest).assert_consumed()
        except CHECKPOINT_ERRORS as error:
            line = str(error).strip().splitlines()[0][:200]
            raise UserError(
                f"{latest}: this checkpoint does not fit ({line}); train into a new folder, or "
                f"remove {pathlib.Path(latest).parent} to train this module anew"
            ) from error

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._state.step.numpy())

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return bool(self._state.finished.numpy())

    def _save(self, events: EventWriter) -> None:
        events.flush()  # first: what is beyond a checkpoint is dropped, a gap would stay
        self._manager.save(checkpoint_number=self.step)

    def run(self, on_epoch: OnEpoch) -> None:
        """Trains to the end.

        Args:
          on_epoch: called with the event writer, the epochs done and the step, after every
            ``training.validate_every`` epochs and after the last.

        Raises:
          Interrupted: if ``runtime.stop`` asked for it; the state was saved.
          UserError: if a record cannot be read.
        """
        if self.finished:
            return
        with contextlib.closing(EventWriter(self._events_dir, self.step)) as events:
            if self.step == 0:
                named = {"stream": self.stream, "module": self.module}
                events.hyperparameters(named | flatten(self._config.to_dict()))
            self._train(on_epoch, events)
            self._state.finished.assign(True)
            self._save(events)

    def _train(self, on_epoch: OnEpoch, events: EventWriter) -> None:
        step, section = self.step, self._config.training
        shown = 0.0
        batches = pipeline.readable(self._dataset(step), self._split.manifest, self._split.name)
        for batch in batches:
            losses = self._step_function(batch, tf.constant(step, tf.int64))
            self._state.totals.assign_add(losses)
            self._state.step.assign_add(1)
            step += 1
            if time.monotonic() - shown > 0.5 or step == self.steps:
                parts = losses.numpy()  # twice a second at most, so that the device is not kept
                self._runtime.progress(self.label, step, self.steps, {"loss": float(parts.sum())})
                shown = time.monotonic()
            if step % self.steps_per_epoch == 0:
                epoch = step // self.steps_per_epoch
                self._end_epoch(step, events)
                if epoch % section.validate_every == 0 or epoch == self.epochs:
                    on_epoch(events, epoch, step)
                if epoch % section.checkpoint_every == 0 and epoch < self.epochs:
                    self._save(events)
            if self._runtime.stop():
                self._save(events)
                raise Interrupted(self.label)

    def _dataset(self, step: int) -> tf.data.Dataset:
        """The batches from ``step`` on."""
        make = pipeline.cascade_batches if self.module == "cascade" else pipeline.pyramid_batches
        return make(
            self._split,
            self.stream,
            self._config,
            seed=self._seed,
            first_epoch=step // self.steps_per_epoch,
            last_epoch=self.epochs,
            skip=step % self.steps_per_epoch,
        )

    def _end_epoch(self, step: int, events: EventWriter) -> None:
        means = self._state.totals.numpy() / self.steps_per_epoch
        self._state.totals.assign(tf.zeros_like(self._state.totals))
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
