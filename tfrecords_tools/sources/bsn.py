"""BSN's ActivityNet features: a CSV per video, RGB's columns before flow's, and two tables.

``csv_mean_100/ID.csv`` has a header and, of every video, as many rows (100), so that a row's length
differs by video: together they last ``feature_frame / duration_frame * duration_second`` of
``anet_anno_action.json``, which is one entry per id, without a ``database`` around it and without
subsets; those are in ``video_info_new.csv``.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, parse_number
from tfrecords_tools.findings import STRICT, Defect, Findings
from tfrecords_tools.reading.databases import checked_ids, fill_in, read_raw
from tfrecords_tools.source_flags import refuse
from tfrecords_tools.sources import SourceVideo
from tfrecords_tools.sources.folders import FoldersSource

SPLIT_AT = 200  # RGB's scores of ActivityNet's 200 classes, before flow's


class BsnSource:
    """BSN's files; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(
        self,
        *,
        features_dir: str | os.PathLike,
        annotations: str | os.PathLike,
        video_info: str | os.PathLike,
        split_at: int = SPLIT_AT,
        skip_missing: bool = False,
        findings: Findings = STRICT,
    ):
        """Reads the annotations and lists the features; reads no feature yet.

        Args:
          features_dir: the folder of CSVs.
          annotations: ``anet_anno_action.json``.
          video_info: ``video_info_new.csv``, whose ``subset`` and ``seconds`` are read.
          split_at: RGB's columns.
          skip_missing: leave out annotated videos without features instead of refusing them.
          findings: where defects go.

        Raises:
          UserError: naming the file or the video, and the mend.
        """
        self._findings = findings
        raw = read_raw(annotations, findings)
        if not isinstance(raw, dict) or "database" in raw:
            raise UserError(
                f"{annotations}: is not BSN's object of videos by id; for ActivityNet's own JSON "
                "say --source=folders"
            )
        entries = checked_ids(annotations, raw, findings)
        self._spans: dict[str, float] = {}
        database = {}
        for key, entry in entries.items():
            with findings.catching("annotation", key):
                seconds, fps, self._spans[key] = _times(f"{annotations}: video {key!r}", entry)
                items = entry.get("annotations", [])
                database[key] = {"duration": seconds, "fps": fps, "annotations": items}
        database = fill_in(database, video_info, findings)
        for key in [key for key, entry in database.items() if not entry.get("subset")]:
            text = f"{video_info}: has no subset of the video {key!r}; add it"
            findings.add("annotation", text, key)
            del database[key]
        self._folders = FoldersSource(
            features_dir=features_dir,
            annotations=annotations,
            raw={"database": database},
            unit_frames=1,  # a unit's length differs by video: the rate is set below
            split_at=split_at,
            skip_missing=skip_missing,
            findings=findings,
        )
        known = self._folders.annotations
        self.annotations = Annotations(known.videos, known.classes)
        self.facts = {"source": "bsn"}
        self.notes = self._folders.notes

    def videos(self, splits: Mapping[str, str]) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        for video in self._folders.videos(splits):
            units = len(next(iter(video.features.values())))
            rate = units / self._spans[video.id]
            yield SourceVideo(id=video.id, rate=rate, features=video.features)


def _times(what: str, entry: Any) -> tuple[float, float, float]:
    """A video's seconds, its frames per second, and the seconds that its features last."""
    if not isinstance(entry, dict):
        raise Defect("annotation", f"{what}: is not an object")
    numbers = []
    for name in ("duration_second", "duration_frame", "feature_frame"):
        numbers.append(parse_number(entry.get(name), f"{what}: {name}"))
        if numbers[-1] <= 0:
            raise Defect("annotation", f"{what}: {name} is {numbers[-1]}; it must be positive")
    seconds, frames, covered = numbers
    return seconds, frames / seconds, covered / frames * seconds


def open_source(values: flags.FlagValues, findings: Findings = STRICT) -> BsnSource:
    """Opens the source as the flags say.

    Raises:
      UserError: if a flag is missing or has no use, or by :class:`BsnSource`.
    """
    refuse(values, "bsn", "unit_frames", "fps", "resampled_fps")
    for name in ("features_dir", "annotations", "video_info"):
        if values[name].value is None:
            raise UserError(f"--{name} is missing; --source=bsn needs it")
    return BsnSource(
        features_dir=values.features_dir,
        annotations=values.annotations,
        video_info=values.video_info,
        split_at=values.split_at or SPLIT_AT,
        skip_missing=values.skip_missing,
        findings=findings,
    )
