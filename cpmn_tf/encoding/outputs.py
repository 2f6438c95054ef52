"""The folder that features are written to, which `cpmn-build-records --source=folders` reads.

    features/STREAM/ID.npy   float32 [T, G]
    videos.csv               video,fps,duration,frames: of each video that is finished
    encoder.json             how they were made

A video is finished when its line is in ``videos.csv``, which is written after its features; each
file is written whole or not at all.
"""

import csv
import io
import os
import pathlib
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
        self._rows: dict[str, tuple[str, ...]] = {}
        if self.table.exists():
            for _, row in read_table(self.table, {name: (name,) for name in COLUMNS}):
                self._rows[row["video"]] = tuple(row[name] for name in COLUMNS)

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
        self._rows[video.id] = row
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self._rows.values()])
        write_text(self.table, text.getvalue())
