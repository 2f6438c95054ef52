"""Detections as others write them: ActivityNet's result JSON, official THUMOS text, CSV.

Times are seconds, whatever the format. Imports no TensorFlow.
"""

import csv
import io
import os
import pathlib
from collections.abc import Collection, Iterator

from cpmn_tf.errors import UserError
from cpmn_tf.files import write_text
from cpmn_tf.formats.annotations import parse_number, parse_segment
from cpmn_tf.formats.detections import Detections, load_detections
from cpmn_tf.formats.tables import SEGMENT, VIDEO, filled_lines, read_table
from cpmn_tf.formats.thumos_text import CLASS_NUMBERS

Row = tuple[str, str, float, float, float]

_COLUMNS = {
    **VIDEO,
    **SEGMENT,
    "label": ("label", "class", "activity"),
    "score": ("score", "confidence"),
}


def load_detection_file(path: str | os.PathLike, *, classes: Collection[str] = ()) -> Detections:
    """Reads detections by the file's suffix.

    - `.json`: ActivityNet's result format.
    - `.csv`: a header naming `video`, `start`, `end`, `label`, `score` in any order (`video-id`,
      `t-start`, `t-end` pass too).
    - `.txt`: ``video start end class score``, the official THUMOS format; the class is its
      official number or its name, and `.mp4` or `.mpeg` after the video's id is dropped.

    Args:
      path: the file.
      classes: the data set's class names, so that a name of digits is not taken for a number.

    Raises:
      UserError: naming the file, the line or video, and the fix.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix == ".json":
        return load_detections(path)
    if suffix == ".csv":
        return Detections.from_rows((), _csv_rows(path))
    if suffix == ".txt":
        return Detections.from_rows((), _text_rows(path, classes))
    raise UserError(
        f"{path}: detections are read from .json (ActivityNet's results), .csv or .txt "
        "(THUMOS: video start end class score); rename the file by its format"
    )


def save_detection_table(path: str | os.PathLike, detections: Detections) -> None:
    """Writes a CSV ``video,label,start,end,score``, which serves as annotations too.

    Its lines are in the order of videos and time; numbers have all their digits.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video", "label", "start", "end", "score"))
    for video, found in detections.by_video():
        table.writerows((video, *row) for row in found)
    write_text(path, text.getvalue())


def _csv_rows(path: str | os.PathLike) -> Iterator[Row]:
    for place, row in read_table(path, _COLUMNS):
        yield _row(place, *(row[name] for name in _COLUMNS))


def _text_rows(path: str | os.PathLike, classes: Collection[str]) -> Iterator[Row]:
    for place, line in filled_lines(path):
        fields = line.split()
        if len(fields) != 5:
            text = f"{place}: has {len(fields)} fields; write: video start end class score"
            raise UserError(text)
        video, start, end, label, score = fields
        video = video.removesuffix(".mp4").removesuffix(".mpeg")
        if label.isdecimal() and label not in classes:
            number = int(label) if len(label) < 9 else 0  # of thousands of digits Python makes none
            if number not in CLASS_NUMBERS:
                text = f"{place}: {label:.40} is not the number of a THUMOS14 class; write its name"
                raise UserError(text)
            label = CLASS_NUMBERS[number]
        yield _row(place, video, start, end, label, score)


def _row(place: str, video: str, start: str, end: str, label: str, score: str) -> Row:
    if not video or not label:
        raise UserError(f"{place}: names no {'label' if video else 'video'}; add it")
    begin, stop = parse_segment((start, end), f"{place}: the segment")
    return video, label, begin, stop, parse_number(score, f"{place}: the score")
