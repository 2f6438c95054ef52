"""Features in folders, with ActivityNet-style annotations or a labels-only CSV.

The layouts are those of :mod:`tfrecords_tools.reading.feature_folders`, BaS-Net's and CoLA's
``features/{train,test}/{rgb,flow}/ID.npy`` with ``gt.json`` among them.
"""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cpmn_tf.encoding.description import FILE, load_description
from cpmn_tf.errors import Problem, UserError, listed, reported
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.formats.names import nfc
from tfrecords_tools.findings import raise_errors
from tfrecords_tools.reading.databases import fill_in, parse, read_database, settle_fps
from tfrecords_tools.reading.feature_files import Reading
from tfrecords_tools.reading.feature_folders import FeatureFolders
from tfrecords_tools.sources import SourceSettings, SourceVideo

REQUIRED = ("features_dir", "annotations", "unit_frames")
OPTIONAL = (
    "crops",
    "csv_header",
    "fps",
    "resampled_fps",
    "skip_missing",
    "split_at",
    "squeeze",
    "video_info",
)


class FoldersSource:
    """Features in folders; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(
        self,
        settings: SourceSettings,
        problem: Problem = raise_errors,
        *,
        raw: dict[str, Any] | None = None,
        name: str = "folders",
    ):
        """Reads the annotations and lists the features; reads no feature yet.

        Args:
          settings: ``annotations`` are ActivityNet-style JSON, segments or not, or a CSV of labels.
          problem: called at each defect.
          raw: the annotations where they were read already, ``settings.annotations`` naming them.
          name: of the source, for the manifest.

        Raises:
          UserError: naming the file or the video, and the fix.
        """
        self._settings, self._problem = settings, problem
        self._unit_frames = settings.unit_frames or 1
        path = str(settings.annotations)
        raw = raw or read_database(path, problem)
        database = fill_in(raw["database"], settings.video_info, problem)
        rates = {"fps": settings.fps, "resampled_fps": settings.resampled_fps}
        fps_notes = settle_fps(database, problem, **rates)
        subsets = {subset for subset in map(_subset, database.values()) if subset}
        self._reading = Reading(
            csv_header=settings.csv_header, squeeze=settings.squeeze, crops=settings.crops
        )
        self._folders = FeatureFolders(
            str(settings.features_dir),
            ids=database,
            subsets=subsets,
            split_at=settings.split_at,
            problem=problem,
            reading=self._reading,
        )
        self.facts = {"source": name, "unit_frames": settings.unit_frames}
        self.facts |= _encoder(settings)
        self._notes = [*fps_notes, *self._folders.notes]
        self._groups: dict[str, str] = {}
        for key, entry in database.items():
            with reported(problem, "overlap", key):
                group = self._folders.group(key, _subset(entry))
                if group is not None:
                    self._groups[key] = group
                subset = group or raw.get("default_subset")
                if subset and isinstance(entry, dict) and not entry.get("subset"):
                    entry["subset"] = subset
        known = parse(path, {**raw, "database": database}, problem)
        fps = settings.fps or settings.resampled_fps
        videos = {}
        for key in self._present(known):
            video = known.videos[key]
            if video.fps is None and fps is None:
                text = f"{path}: video {key!r} has no fps; add it or give `fps`"
                problem("fps", text, key)
            else:
                videos[key] = dataclasses.replace(video, fps=video.fps or fps)
        self.annotations = dataclasses.replace(known, videos=videos)

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Files by what was made of them, for the notes."""
        return self._reading.counts

    @property
    def notes(self) -> list[str]:
        """Lines worth telling the user, complete once :meth:`videos` has run through."""
        return [*self._notes, *self._reading.notes()]

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        self._reading.counts.clear()
        for video in self.annotations.videos.values():
            if video.id in (splits if wanted is None else wanted):
                fps = self._settings.resampled_fps or video.fps or 0.0  # none is without
                rate = fps / self._unit_frames
                with reported(self._problem, "unreadable", video.id):
                    features = self._folders.load(video.id, self._groups[video.id])
                    yield SourceVideo(id=video.id, rate=rate, features=features)
        for note in self._reading.notes():
            self._problem("read", f"{self._folders.root}: {note}")

    def _present(self, known: Annotations) -> list[str]:
        """Ids of the videos whose features are there in every stream."""
        root, skip = self._folders.root, self._settings.skip_missing
        if not known.videos:
            raise UserError(
                f"{self._settings.annotations}: there are no annotated videos; annotate some"
            )
        missing = {
            key: gone
            for key in known.videos
            if (gone := self._folders.missing(key, self._groups.get(key)))
        }
        near = {
            key: "; ".join(dict.fromkeys(filter(None, gone.values())))
            for key, gone in missing.items()
        }
        shown = listed(
            f"{key!r} ({', '.join(gone)}{near[key] and '; ' + near[key]})"
            for key, gone in missing.items()
        )
        counted = (
            f"{len(missing)} of {len(known.videos)} annotated videos have no features: {shown}"
        )
        some = len(missing) < len(known.videos)
        more = f": {counted}; {'add `skip_missing=True`' if some else 'check `features_dir`'}"
        for key, gone in missing.items():
            hint = more or (near[key] and f" ({near[key]})")
            text = f"{root}: video {key!r} has no {' and no '.join(gone)}{hint}"
            self._problem("skipped" if skip else "missing", text, key)
            more = ""  # said once
        if not some:
            raise UserError(f"{root}: {counted}; check `features_dir`")
        if missing:
            self._notes.append(f"left out: {counted}")
        extra = sorted(self._folders.present() - {nfc(key) for key in known.videos})
        if extra:
            self._notes.append(f"features without annotations, not used: {len(extra)} videos")
        for key in extra:
            self._problem("surplus", f"{root}: video {key!r}", key)
        return [key for key in known.videos if key not in missing]


def _encoder(settings: SourceSettings) -> dict[str, Any]:
    """How `cpmn-encode` made the features, where its ``encoder.json`` is beside their folder.

    Raises:
      UserError: if it is of other units.
    """
    path = pathlib.Path(settings.features_dir or "").absolute().parent / FILE
    if not path.is_file():
        return {}
    made = load_description(path)
    if made["unit_frames"] != settings.unit_frames:
        raise UserError(
            f"{path}: the features are of units of {made['unit_frames']} frames; give "
            f"`unit_frames={made['unit_frames']}`"
        )
    return {"encoder": made}


def _subset(entry: Any) -> str | None:
    subset = entry.get("subset") if isinstance(entry, dict) else None
    return subset if isinstance(subset, str) and subset else None


open_source = FoldersSource
