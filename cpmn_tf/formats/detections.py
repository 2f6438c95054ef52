"""Detections in ActivityNet's result format: by column, validated, written back.

Imports no TensorFlow. Times are seconds.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cpmn_tf.files import read_json, write_json
from cpmn_tf.formats.annotations import (
    Annotations,
    label_of,
    listing,
    mapping,
    parse_number,
    parse_segment,
)
from cpmn_tf.formats.names import check_keys, plain_id, plain_label, spelled

_RESULTS = '{"results": {VIDEO: [{"label": CLASS, "score": SCORE, "segment": [START, END]}]}}'
_ROW = {"label", "segment", "score"}
VERSION = "VERSION 1.3"  # what ActivityNet's own evaluator expects of a result file


@dataclasses.dataclass(frozen=True)
class Detections:
    """Scored detections by column, row n being one detection.

    Attributes:
      videos: ids of all videos that were looked at, with or without detections.
      classes: labels that ``label`` indexes.
      video: [N] int32, index into ``videos``.
      label: [N] int32, index into ``classes``.
      start, end: [N] float64, seconds.
      score: [N] float64.

    >>> found = Detections.from_rows(["video_000"], [("video_000", "Jump", 3.0, 9.5, 0.8)])
    >>> len(found), found.end
    (1, array([9.5]))
    """

    videos: tuple[str, ...]
    classes: tuple[str, ...]
    video: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def __str__(self) -> str:
        """The counts and the five best."""
        lines = [f"{len(self)} detections in {len(self.videos)} videos"]
        for row in np.argsort(-self.score, kind="stable")[:5]:
            lines.append(
                f"  {self.videos[self.video[row]]}  {self.start[row]:.2f}-{self.end[row]:.2f} s  "
                f"{self.classes[self.label[row]]}  {self.score[row]:.3f}"
            )
        return "\n".join(lines)

    def spelled_as(
        self, annotations: Annotations, source: str | os.PathLike = "detections"
    ) -> "Detections":
        """The detections with ids and labels as the annotations spell them: see :func:`nfc`.

        Raises:
          UserError: naming ``source``, if an id differs from another by blanks alone, or a label by
            blanks or case.
        """
        videos = spelled(self.videos, annotations.videos, plain_id, f"{source}: the ids")
        classes = spelled(self.classes, annotations.classes, plain_label, f"{source}: the labels")
        if (videos, classes) == (self.videos, self.classes):
            return self
        return dataclasses.replace(self, videos=videos, classes=classes)

    def best(self, *, least: float | None = None, count: int | None = None) -> "Detections":
        """The detections that score ``least`` or more, at most the ``count`` best of each video.

        Of equal ones the earlier are kept. Order, videos and classes stay.
        """
        keep = np.ones(len(self), bool) if least is None else self.score >= least
        if count is not None:
            rows = np.flatnonzero(keep)
            rows = rows[np.lexsort((-self.score[rows], self.video[rows]))]
            first = np.searchsorted(self.video[rows], self.video[rows])  # of the same video
            keep = np.zeros(len(self), bool)
            keep[rows[np.arange(len(rows)) - first < count]] = True
        columns = ("video", "label", "start", "end", "score")
        return dataclasses.replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def by_video(self) -> Iterator[tuple[str, list[tuple[str, float, float, float]]]]:
        """Each video that was looked at, with its (label, start, end, score) rows in time order."""
        order = np.lexsort((self.end, self.start, self.video))
        borders = np.searchsorted(self.video[order], np.arange(len(self.videos) + 1)).tolist()
        columns = (self.label, self.start, self.end, self.score)
        rows = list(zip(*(column[order].tolist() for column in columns), strict=True))
        for number, name in enumerate(self.videos):
            own = rows[borders[number] : borders[number + 1]]
            yield name, [(self.classes[label], *others) for label, *others in own]

    @classmethod
    def from_rows(
        cls, videos: Iterable[str], rows: Iterable[tuple[str, str, float, float, float]]
    ) -> "Detections":
        """From (video id, label, start, end, score) rows; ``videos`` lists those looked at."""
        video_index = {name: index for index, name in enumerate(videos)}
        class_index: dict[str, int] = {}
        numbers = (
            (
                video_index.setdefault(video, len(video_index)),
                class_index.setdefault(label, len(class_index)),
                start,
                end,
                score,
            )
            for video, label, start, end, score in rows
        )
        # Typed from the start: a million rows as Python objects would be half a gigabyte.
        table = np.fromiter(numbers, "i4, i4, f8, f8, f8")
        columns = (table[name].copy() for name in table.dtype.names or ())
        return cls(tuple(video_index), tuple(class_index), *columns)


def save_detections(path: str | os.PathLike, detections: Detections, details: str) -> None:
    """Writes ActivityNet's result JSON; every video looked at appears, also without detections."""
    external = {"used": False, "details": details}
    value = {"version": VERSION, "results": results_of(detections), "external_data": external}
    write_json(path, value)


def results_of(detections: Detections) -> dict[str, list[dict[str, Any]]]:
    """The "results" of ActivityNet's JSON."""
    results: dict[str, list] = {name: [] for name in detections.videos}
    columns = (detections.video, detections.label, detections.start, detections.end)
    for video, label, start, end, score in zip(
        *(column.tolist() for column in (*columns, detections.score)), strict=True
    ):
        row = {"label": detections.classes[label], "score": score, "segment": [start, end]}
        results[detections.videos[video]].append(row)
    return results


def load_detections(path: str | os.PathLike) -> Detections:
    """Reads ActivityNet's result JSON.

    Raises:
      UserError: naming the file, the video and the fix.
    """
    value = mapping(read_json(path), f"{path}: the file", _RESULTS)
    check_keys(value, ("results",), f"{path}: the file")
    return parse_results(value.get("results"), path)


def parse_results(results: Any, path: str | os.PathLike) -> Detections:
    """The detections of :func:`results_of`, which is emptied on the way.

    Raises:
      UserError: naming ``path``, the video and the fix.
    """
    results = mapping(results, f'{path}: its "results"', _RESULTS)
    return Detections.from_rows(tuple(results), _result_rows(path, results))


def _result_rows(
    path: str | os.PathLike, results: dict[str, Any]
) -> Iterable[tuple[str, str, float, float, float]]:
    for video_id in list(results):
        what = f"{path}: video {video_id!r}"
        for item in listing(results.pop(video_id), f"{what}: its entry", _RESULTS):  # frees them
            item = mapping(item, f"{what}: a detection", _RESULTS)
            if not item.keys() >= _ROW:
                check_keys(item, ("label", "segment", "score"), f"{what}: a detection")
            label = label_of(item, f"{what}: a detection")
            start, end = parse_segment(item.get("segment"), f"{what}: the segment of {label!r}")
            yield video_id, label, start, end, parse_number(item.get("score"), f"{what}: a score")
