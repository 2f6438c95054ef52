"""Detections as others write them: ActivityNet's result JSON, official THUMOS text, CSV.

Times are seconds, whatever the format. Imports no TensorFlow.
"""

import os
import pathlib
from collections.abc import Collection, Iterator

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import (
    Annotations,
    Detections,
    load_detections,
    parse_number,
    parse_segment,
)
from cpmn_tf.formats.tables import SEGMENT, VIDEO, filled_lines, read_table
from cpmn_tf.formats.thumos_text import CLASS_NUMBERS

Row = tuple[str, str, float, float, float]

_COLUMNS = {
    **VIDEO,
    **SEGMENT,
    "label": ("label", "class", "activity"),
    "score": ("score", "confidence"),
}

# A detection is far outside where it ends after FACTOR times the duration and SLACK seconds. Single
# ones are left alone: annotated durations are sometimes wrong (video_test_0000270 of THUMOS14 is
# 176 s long by its header and annotated up to 714 s).
_FACTOR = 1.5
_SLACK = 2.0
_SHARE = 0.1
_FEWEST = 10  # so many detections before times all within [0, 1] count as fractions


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
            if int(label) not in CLASS_NUMBERS:
                text = f"{place}: {label} is not the number of a THUMOS14 class; write its name"
                raise UserError(text)
            label = CLASS_NUMBERS[int(label)]
        yield _row(place, video, start, end, label, score)


def _row(place: str, video: str, start: str, end: str, label: str, score: str) -> Row:
    if not video or not label:
        raise UserError(f"{place}: names no {'label' if video else 'video'}; add it")
    begin, stop = parse_segment((start, end), f"{place}: the segment")
    return video, label, begin, stop, parse_number(score, f"{place}: the score")


def check_seconds(
    detections: Detections, annotations: Annotations, source: str | os.PathLike
) -> None:
    """Refuses detections whose times cannot be seconds; what ends too late only durations tell.

    Raises:
      UserError: if over a tenth of them end far after their videos do (frames or milliseconds), or
        if all end within 1 although instances do not (fractions of the duration).
    """
    known, end = annotations.videos, detections.end
    truth = [item.end for video in known.values() for item in video.instances]
    if len(end) >= _FEWEST and truth and end.max() <= 1 and np.median(truth) > 2:
        raise UserError(
            f"{source}: all {len(end)} detections end within 1 s, the median instance at "
            f"{np.median(truth):g} s; times must be seconds: multiply fractions by the duration"
        )
    durations = [known[name].duration if name in known else None for name in detections.videos]
    duration = np.array(durations, np.float64)[detections.video]  # NaN where it is not known
    outside = end > _FACTOR * duration + _SLACK
    if outside.sum() > _SHARE * np.isfinite(duration).sum():
        worst = np.argmax(np.where(outside, end / duration, 0.0))
        name = detections.videos[detections.video[worst]]
        raise UserError(
            f"{source}: {outside.sum()} of {np.isfinite(duration).sum()} detections end far after "
            f"their videos (video {name!r} lasts {duration[worst]:g} s, one ends at "
            f"{end[worst]:g}); times must be seconds: divide frames by the video's fps, "
            "milliseconds by 1000"
        )


def doubt_of_seconds(detections: Detections, annotations: Annotations) -> str | None:
    """A remark on times that look late, where annotations hold no duration to hold them against."""
    videos = annotations.videos.values()
    if any(video.duration for video in videos) or not len(detections):
        return None
    last = max(item.end for video in videos for item in video.instances)
    late = int((detections.start > last).sum())
    if late <= _SHARE * len(detections):
        return None
    return (
        f"{late} of {len(detections)} detections start after the last instance of all videos "
        f"({last:g} s): are their times seconds? The annotations hold no durations that would tell"
    )
