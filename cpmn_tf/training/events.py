"""TensorBoard event files: writing, and purging what lies beyond a restored step."""

import os
import pathlib
import time

import tensorflow as tf
from tensorboard.compat.proto import event_pb2

from cpmn_tf.files import replaced


def purge_events(folder: str | os.PathLike, step: int) -> None:
    """Removes events after ``step`` from all event files of ``folder``.

    After a crash the files hold epochs that the restored checkpoint has not seen and that will be
    written again; TensorBoard would draw both.

    Args:
      folder: a writer's folder; need not exist.
      step: last step kept; 0 begins anew and keeps nothing.
    """
    for path in sorted(pathlib.Path(folder).glob("events.out.tfevents.*")):
        if step == 0:
            path.unlink()
            continue
        kept, dropped = [], 0
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                if event_pb2.Event.FromString(record).step <= step:
                    kept.append(record)
                else:
                    dropped += 1
        except tf.errors.DataLossError:
            dropped += 1  # the crash cut the last event; what was read before it is whole
        if not dropped:
            continue
        with replaced(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in kept:
                writer.write(record)


class EventWriter:
    """A TensorBoard writer of one module, from ``resume_step`` on; without a folder of nothing."""

    def __init__(self, folder: str | os.PathLike | None, resume_step: int = 0):
        if folder is None:
            self._writer = tf.summary.create_noop_writer()
        else:
            purge_events(folder, resume_step)
            self._writer = tf.summary.create_file_writer(str(folder))
        self._since = (time.monotonic(), resume_step)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes named scalars."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def steps_per_second(self, step: int) -> float:
        """The rate since the last call."""
        now, (before, start) = time.monotonic(), self._since
        self._since = (now, step)
        return (step - start) / max(now - before, 1e-9)

    def image(self, step: int, name: str, png: bytes) -> None:
        """Writes a PNG."""
        with self._writer.as_default(step=step):
            tf.summary.image(name, tf.io.decode_png(png, channels=3)[tf.newaxis])

    def hyperparameters(self, values: dict) -> None:
        """Writes settings for TensorBoard's HPARAMS page, once a folder; it takes no lists."""
        from tensorboard.plugins.hparams import api

        with self._writer.as_default(step=0):
            api.hparams({k: v for k, v in values.items() if not isinstance(v, list)})

    def flush(self) -> None:
        """Brings what was written to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
