"""The folder that features are written to, which `cpmn-build-records --source=folders` reads.

    features/STREAM/ID.npy   float32 [T, G]
    videos.csv               video,fps,duration,frames: of each video that is finished
    encoder.json             how they were made

A video is finished when its line is in ``videos.csv``, which is written after its features; each
file is written whole or not at all. Many processes may write into one folder: each adds its line to
those that are there while it holds the lock on ``encoder.json``.
"""

import contextlib
import csv
import fcntl
import io
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cpmn_tf.encoding.description import FILE, first_difference, load_description
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced, write_json, write_text
from cpmn_tf.formats.tables import read_table

if TYPE_CHECKING:
    from cpmn_tf.encoding.encode import EncodedVideo

COLUMNS = ("video", "fps", "duration", "frames")


class FeatureFolder:
    """An output folder of features that are all made alike."""

    def __init__(self, folder: str | os.PathLike, description: dict[str, Any]):
        """Opens the folder, or makes it.

        Args:
          folder: the output folder.
          description: how features are made, as plain values.

        Raises:
          UserError: naming the field, if what is in the folder was made otherwise.
        """
        self.folder = pathlib.Path(folder)
        self.table = self.folder / "videos.csv"
        self.features = self.folder / "features"
        self._streams = list(description["streams"])
        path = self.folder / FILE
        if path.exists():
            field = first_difference(load_description(path), description)
            if field:
                raise UserError(
                    f"{path}: the features here were made with {field}; give the same, or another "
                    "`output_dir`"
                )
        else:
            write_json(path, description)
        self._rows = self._read()

    def _read(self) -> dict[str, tuple[str, ...]]:
        """The lines that are in the table now, by video."""
        if not self.table.exists():
            return {}
        rows = read_table(self.table, {name: (name,) for name in COLUMNS})
        return {row["video"]: tuple(row[name] for name in COLUMNS) for _, row in rows}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other processes, of other machines too where the disk can, from the table."""
        with open(self.folder / FILE, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            yield

    def path(self, stream: str, video_id: str) -> pathlib.Path:
        """The file of a video's features."""
        return self.features / stream / f"{video_id}.npy"

    def finished(self, video_id: str) -> bool:
        """Whether a video's features and its line are there."""
        return video_id in self._rows and all(
            self.path(stream, video_id).is_file() for stream in self._streams
        )

    def add(self, video: "EncodedVideo") -> None:
        """Writes a video's features, and then its line."""
        for stream, values in video.features.items():
            with replaced(self.path(stream, video.id)) as temporary:
                np.save(temporary, values)
        row = (video.id, repr(video.fps), repr(round(video.duration, 6)), str(video.frames))
        with self._locked():
            self._rows = {**self._read(), video.id: row}
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self._rows.values()])
            write_text(self.table, text.getvalue())
