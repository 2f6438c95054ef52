"""A module's checkpoints: restored at the start, written beside the steps by a thread."""

import concurrent.futures
import os
import pathlib
import shutil
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from cpmn_tf.errors import UserError
from cpmn_tf.training.model_folder import CHECKPOINT_ERRORS, checkpoints_in, step_of

State = Mapping[str, tf.Variable | list[tf.Variable]]


class Checkpoints:
    """The last two checkpoints of a training.

    Saving copies the state and returns; a thread writes the copy. TensorFlow's own asynchronous
    checkpoints (``CheckpointOptions.enable_async``) keep a thread and a copy of every module until
    the process ends, and what a disk refused is raised when it ends.

    Args:
      state: the variables of a training, by the names that they have in its checkpoints.
      folder: of the checkpoints.
    """

    def __init__(self, state: State, folder: str | os.PathLike):
        self._state, self._folder = state, pathlib.Path(folder)
        with tf.device("CPU:0"):
            self._copy = tf.nest.map_structure(
                lambda live: tf.Variable(live, trainable=False), state
            )
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(**self._copy), str(folder), max_to_keep=2
        )
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writing: concurrent.futures.Future | None = None

    def restore(self) -> None:
        """Restores the last checkpoint, if there is one; the one before it if it is damaged.

        Raises:
          UserError: if all are damaged, or of another training.
        """
        refused: tuple[str, str] | None = None
        for path in checkpoints_in(self._folder):
            try:
                tf.train.Checkpoint(**self._state).restore(path).assert_consumed()
            except CHECKPOINT_ERRORS as error:
                line = str(error).strip().splitlines()[0][:200]
                refused = refused or (path, line)
            else:
                if refused:
                    logging.warning("%s: is damaged (%s); %s is taken instead", *refused, path)
                return
        if refused:
            raise UserError(
                f"{refused[0]}: this checkpoint does not fit ({refused[1]}); train into a new "
                f"folder, or remove {self._folder} to train this module anew"
            )

    def last_step(self) -> int:
        """The step of the last checkpoint on the disk, 0 if there is none."""
        self.close()
        return max(map(step_of, checkpoints_in(self._folder)), default=0)

    def save(self, step: int) -> None:
        """Saves the state as it is now; :meth:`close` waits until it is written."""
        self.close()
        for copy, live in zip(
            tf.nest.flatten(self._copy), tf.nest.flatten(self._state), strict=True
        ):
            copy.assign(live)
        self._writing = self._thread.submit(self._write, step)

    def _write(self, step: int) -> None:
        self._manager.save(checkpoint_number=step)
        kept = {pathlib.Path(path).name for path in self._manager.checkpoints}
        for path in self._folder.glob("ckpt-*"):
            if path.name.partition(".")[0] in kept:
                continue
            if path.is_dir():  # of a save that a kill or a full disk ended
                shutil.rmtree(path)
            else:  # TensorFlow forgets what is older than its clock, which may have jumped
                path.unlink()

    def close(self) -> None:
        """Waits until what was saved is written, and raises what became of it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
