"""W-TALC's files: all videos' joint features in one .npy of objects, annotations in several.

``DATASET-FEATURES-JOINTFeatures.npy`` holds a [T, G] array per video, RGB's columns before flow's;
``DATASET-Annotations/`` holds ``videoname.npy``, ``subset.npy``, ``classlist.npy``,
``labels_all.npy``, and with segments ``segments.npy``, ``labels.npy``, and ``duration.npy``,
``extracted_fps.npy``. They are read by :mod:`tfrecords_tools.reading.object_arrays`.
"""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cpmn_tf.errors import Defect, Problem, UserError, reported
from cpmn_tf.formats.arrays import check_numbers
from tfrecords_tools.findings import raise_errors
from tfrecords_tools.reading.databases import fill_in, parse, settle_fps
from tfrecords_tools.reading.feature_files import DIMENSIONS, finite, split_columns
from tfrecords_tools.reading.object_arrays import read_objects
from tfrecords_tools.sources import SourceSettings, SourceVideo

PATTERN = "*JOINTFeatures.npy"


class WtalcSource:
    """W-TALC's files; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(self, settings: SourceSettings, problem: Problem = raise_errors):
        """Reads the files, features included.

        Args:
          settings: ``features_dir`` is the file of joint features, or the one folder it is in;
            ``fps`` may be in ``extracted_fps.npy`` or in ``video_info``; ``split_at`` is half of
            the columns by default.
          problem: called at each defect.

        Raises:
          UserError: naming the file or the video, and the fix.
        """
        self._path = _feature_file(pathlib.Path(str(settings.features_dir)))
        self._folder = pathlib.Path(str(settings.annotations))
        self._settings, self._problem = settings, problem
        self._features = read_objects(self._path)
        names = self._texts("videoname")
        database = fill_in(self._database(names), settings.video_info, problem)
        fps, resampled_fps = settings.fps, settings.resampled_fps
        self.counts = Counter[tuple[str, str]]()
        self.notes = settle_fps(database, problem, fps=fps, resampled_fps=resampled_fps)
        for key, entry in database.items():
            entry["fps"] = resampled_fps or entry.get("fps") or fps
            if entry["fps"] is None:
                text = f"{self._folder}: video {key!r} has no fps; give `fps`"
                problem("fps", text, key)
        self._place = {name: number for number, name in enumerate(names)}
        raw = {"classes": self._texts("classlist", counted=False), "database": database}
        known = parse(self._folder, raw, problem)
        videos = {key: video for key, video in known.videos.items() if video.fps}
        self.annotations = dataclasses.replace(known, videos=videos)
        self.facts = {"source": "wtalc", "unit_frames": settings.unit_frames}

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        for video in self.annotations.videos.values():
            if video.id in (splits if wanted is None else wanted):
                rate = (video.fps or 1.0) / (self._settings.unit_frames or 1)
                with reported(self._problem, "unreadable", video.id):
                    yield SourceVideo(id=video.id, rate=rate, features=self._load(video.id))

    def _load(self, key: str) -> Mapping[str, np.ndarray]:
        name = f"{self._path}: video {key!r}"
        array = self._features[self._place[key]]
        if not isinstance(array, np.ndarray):
            raise UserError(f"{name}: is no array; encode it anew")
        check_numbers(name, array.shape, array.dtype, DIMENSIONS)
        width = array.shape[1]
        if self._settings.split_at is None and width % 2:
            raise Defect("width", f"{name}: has {width} values per unit; give `split_at`")
        return split_columns(name, finite(name, array), self._settings.split_at or width // 2)

    def _database(self, names: Sequence[str]) -> dict[str, Any]:
        """Raw entries by id."""
        labels = self._lists("labels_all") or self._lists("labels")
        if labels is None:
            raise UserError(f"{self._folder}: has neither labels_all.npy nor labels.npy")
        segments, ofsegments = self._lists("segments"), self._lists("labels")
        seconds, fps = self._numbers("duration"), self._numbers("extracted_fps")
        database: dict[str, Any] = {}
        for place, (key, subset) in enumerate(zip(names, self._texts("subset"), strict=True)):
            items: list[dict[str, Any]] = [{"label": label} for label in labels[place]]
            if segments is not None and ofsegments is not None:
                if len(segments[place]) != len(ofsegments[place]):
                    text = (
                        f"{self._folder}: video {key!r} has {len(segments[place])} segments and "
                        f"{len(ofsegments[place])} labels of them"
                    )
                    self._problem("annotation", text, key)
                items = [item for item in items if item["label"] not in ofsegments[place]]
                items += [
                    {"label": label, "segment": pair}
                    for label, pair in zip(ofsegments[place], segments[place], strict=False)
                ]
            if key in database:
                text = f"{self._folder / 'videoname.npy'}: video {key!r} is there twice; keep one"
                self._problem("duplicate", text, key)
            times = {"duration": seconds[place], "fps": fps[place]}
            database[key] = {"subset": subset, "annotations": items, **times}
        return database

    def _items(self, name: str, counted: bool = True) -> list | None:
        """What ``NAME.npy`` holds, one plain item per video; None if there is no such file."""
        path = self._folder / f"{name}.npy"
        if not path.is_file():
            return None
        items = read_objects(path)
        if counted and len(items) != len(self._features):
            raise UserError(
                f"{path}: is about {len(items)} videos, {self._path} about {len(self._features)}; "
                "take files that belong together"
            )
        return [_plain(item) for item in items]

    def _texts(self, name: str, counted: bool = True) -> list[str]:
        items = self._items(name, counted)
        if items is None:
            raise UserError(f"{self._folder / name}.npy: there is no such file; see `annotations`")
        if any(isinstance(item, list) for item in items):
            raise UserError(f"{self._folder / name}.npy: holds lists; it must hold names")
        return [str(item) for item in items]

    def _lists(self, name: str) -> list[list] | None:
        """A list for each video; text or a number alone is a list of one."""
        items = self._items(name)
        return items and [item if isinstance(item, list) else [item] for item in items]

    def _numbers(self, name: str) -> list:
        """A number for each video, None where there is none."""
        return [_single(item) for item in self._items(name) or [None] * len(self._features)]


def _feature_file(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob(PATTERN))
    if len(found) != 1:
        raise UserError(f"{path}: holds {len(found)} files {PATTERN}; name one of them")
    return found[0]


def _single(item: Any) -> Any:
    """The one number (or text) in lists around it, None if there are several or none."""
    while isinstance(item, list):
        item = item[0] if len(item) == 1 else None
    return item


def _plain(value: Any) -> Any:
    """Text as ``str``; arrays and tuples as lists, of what is plain."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


REQUIRED = ("features_dir", "annotations", "unit_frames")
OPTIONAL = ("fps", "resampled_fps", "split_at", "video_info")


open_source = WtalcSource
