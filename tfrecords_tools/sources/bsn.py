"""BSN's ActivityNet features: a CSV per video, RGB's columns before flow's, and two tables.

``csv_mean_100/ID.csv`` has a header and, of every video, as many rows (100), so that a row's length
differs by video: together they last ``feature_frame / duration_frame * duration_second`` of
``anet_anno_action.json``, which is one entry per id, without a ``database`` around it and without
subsets; those are in ``video_info_new.csv``.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cpmn_tf.errors import Problem, UserError, reported
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotations import parse_number
from cpmn_tf.formats.names import check_keys
from tfrecords_tools.findings import raise_errors
from tfrecords_tools.reading.databases import fill_in, named_safely
from tfrecords_tools.sources import SourceSettings, SourceVideo
from tfrecords_tools.sources.folders import FoldersSource

REQUIRED = ("features_dir", "annotations", "video_info")
OPTIONAL = ("csv_header", "split_at", "skip_missing")
SPLIT_AT = 200  # RGB's scores of ActivityNet's 200 classes, before flow's


class BsnSource:
    """BSN's files; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(self, settings: SourceSettings, problem: Problem = raise_errors):
        """Reads the annotations and lists the features; reads no feature yet.

        Args:
          settings: ``annotations`` is ``anet_anno_action.json``, ``video_info`` is
            ``video_info_new.csv``.
          problem: called at each defect.

        Raises:
          UserError: naming the file or the video, and the fix.
        """
        self._problem = problem
        path = str(settings.annotations)
        raw = read_json(path, problem=problem)
        if not isinstance(raw, dict) or "database" in raw:
            raise UserError(
                f"{path}: is not BSN's object of videos by id; for ActivityNet's own JSON "
                "say `source=folders`"
            )
        self._spans: dict[str, float] = {}
        database, rates = {}, {}
        for key, entry in named_safely(path, raw, problem).items():
            with reported(problem, "annotation", key):
                seconds, rates[key], self._spans[key] = _times(f"{path}: video {key!r}", entry)
                check_keys(entry, ("annotations",), f"{path}: video {key!r}")
                database[key] = {"duration": seconds, "annotations": entry.get("annotations", [])}
        database = fill_in(database, settings.video_info, problem)
        for key, entry in database.items():  # the table's fps are whole numbers
            entry["fps"] = rates[key]
            entry.pop("frames", None)
        for key in [key for key, entry in database.items() if not entry.get("subset")]:
            text = f"{settings.video_info}: has no subset of the video {key!r}; add it"
            problem("annotation", text, key)
            del database[key]
        # The table was read, and a unit's length, which differs by video, is set below.
        split_at = settings.split_at or SPLIT_AT
        files = dataclasses.replace(settings, video_info=None, split_at=split_at)
        self._folders = FoldersSource(files, problem, raw={"database": database})
        self.annotations = self._folders.annotations
        self.facts = {"source": "bsn"}

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Files by what was made of them, for the notes."""
        return self._folders.counts

    @property
    def notes(self) -> list[str]:
        """Lines worth telling the user, complete once :meth:`videos` has run through."""
        return self._folders.notes

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        rows = 0
        if wanted is not None:  # a part's tables have as many rows as the first of all
            first = next(self._folders.videos(splits, {next(iter(splits))}))
            rows = len(next(iter(first.features.values())))
        for video in self._folders.videos(splits, wanted):
            units = len(next(iter(video.features.values())))
            rows = rows or units
            if units != rows:
                text = f"video {video.id!r}: its table has {units} rows, the first video's {rows}"
                self._problem("length", f"{text}; rescale it to as many", video.id)
            rate = units / self._spans[video.id]
            yield SourceVideo(id=video.id, rate=rate, features=video.features)


def _times(what: str, entry: Any) -> tuple[float, float, float]:
    """A video's seconds, its frames per second, and the seconds that its features last."""
    if not isinstance(entry, dict):
        raise UserError(f"{what}: is not an object")
    names = ("duration_second", "duration_frame", "feature_frame")
    numbers = (parse_number(entry.get(name), f"{what}: {name}", positive=True) for name in names)
    seconds, frames, covered = numbers
    span = parse_number(
        covered / frames * seconds, f"{what}: what its features last", positive=True
    )
    return seconds, frames / seconds, span


open_source = BsnSource
