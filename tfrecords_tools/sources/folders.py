"""Features in folders, with ActivityNet-style annotations or a labels-only CSV.

The layouts are those of :mod:`tfrecords_tools.reading.feature_folders`, BaS-Net's and CoLA's
``features/{train,test}/{rgb,flow}/ID.npy`` with ``gt.json`` among them.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Video
from tfrecords_tools.findings import SHOWN, STRICT, Defect, Findings
from tfrecords_tools.reading.databases import fill_in, parse, read_database
from tfrecords_tools.reading.feature_files import load_features
from tfrecords_tools.reading.feature_folders import FeatureFolders
from tfrecords_tools.sources import SourceVideo

__all__ = ["FoldersSource", "load_features", "open_source"]


class FoldersSource:
    """Features in folders; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(
        self,
        *,
        features_dir: str | os.PathLike,
        annotations: str | os.PathLike,
        unit_frames: int,
        fps: float | None = None,
        resampled_fps: float | None = None,
        skip_missing: bool = False,
        split_at: int | None = None,
        video_info: str | os.PathLike | None = None,
        raw: dict[str, Any] | None = None,
        name: str = "folders",
        findings: Findings = STRICT,
    ):
        """Reads the annotations and lists the features; reads no feature yet.

        Args:
          features_dir: the features' folder.
          annotations: ActivityNet-style JSON, segments or not; or a CSV of labels.
          unit_frames: frames per unit.
          fps: frames per second of videos whose annotations do not say.
          resampled_fps: frames per second that all videos were brought to before encoding, whatever
            their own are.
          skip_missing: leave out annotated videos without features instead of refusing them.
          split_at: columns of the first stream in joint files.
          video_info: a CSV that says subset, fps or duration where the annotations do not.
          raw: the annotations where they were read already, ``annotations`` naming them.
          name: of the source, for the manifest.
          findings: where defects go.

        Raises:
          UserError: naming the file or the video, and the mend.
        """
        self._unit_frames, self._findings = unit_frames, findings
        self._annotations = annotations
        self._fps = resampled_fps
        raw = read_database(annotations, findings) if raw is None else raw
        database = fill_in(raw["database"], video_info, findings)
        subsets = {_subset(entry) for entry in database.values()} - {None}
        self._folders = FeatureFolders(
            features_dir, subsets=subsets, findings=findings, split_at=split_at
        )
        self.streams = self._folders.streams
        self.facts = {"source": name, "unit_frames": unit_frames}
        self.notes: list[str] = []
        self._groups: dict[str, str | None] = {}
        for key, entry in database.items():
            with findings.catching("overlap", key):
                self._groups[key] = self._folders.group(key, _subset(entry))
                subset = self._groups[key] or raw.get("default_subset")
                if subset and isinstance(entry, dict) and not entry.get("subset"):
                    entry["subset"] = subset
        known = parse(annotations, {**raw, "database": database}, findings)
        present = self._present(known, skip_missing)
        videos = {}
        for key in present:
            with findings.catching("fps", key):
                videos[key] = _with_fps(known.videos[key], fps or resampled_fps, annotations)
        self.annotations = Annotations(videos, known.classes)

    def videos(self, splits: Mapping[str, str]) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        for video in self.annotations.videos.values():
            features = None
            if video.id in splits:
                with self._findings.catching("unreadable", video.id):
                    features = self._folders.load(video.id, self._groups[video.id])
            if features is not None:
                rate = (self._fps or video.fps) / self._unit_frames
                yield SourceVideo(id=video.id, rate=rate, features=features)

    def _present(self, known: Annotations, skip_missing: bool) -> list[str]:
        """Ids of the videos whose features are there in every stream."""
        if not known.videos:
            raise UserError(f"{self._annotations}: there are no annotated videos; annotate some")
        missing = {}
        for key in known.videos:
            gone = self._folders.missing(key, self._groups.get(key))
            if gone:
                missing[key] = gone
        some = len(missing) < len(known.videos)
        if missing and some and not self._findings.collecting and not skip_missing:
            raise UserError(f"{self._folders.root}: {_missing(missing, known)}; add --skip_missing")
        for key, gone in missing.items() if self._findings.collecting else ():
            text = f"{self._folders.root}: video {key!r} has no {' and no '.join(gone)}"
            self._findings.add("skipped" if skip_missing else "missing", text, key)
        if not some:
            raise UserError(
                f"{self._folders.root}: {_missing(missing, known)}; check --features_dir"
            )
        present = [key for key in known.videos if key not in missing]
        if missing:
            self.notes.append(f"left out: {_missing(missing, known)}")
        extra = sorted(self._folders.present() - set(known.videos))
        if extra:
            self.notes.append(f"features without annotations, not used: {len(extra)} videos")
        for key in extra:
            self._findings.add("surplus", f"{self._folders.root}: video {key!r}", key)
        return present


def _subset(entry: Any) -> str | None:
    subset = entry.get("subset") if isinstance(entry, dict) else None
    return subset if isinstance(subset, str) and subset else None


def _missing(missing: Mapping[str, list[str]], known: Annotations) -> str:
    shown = [f"{key!r} ({', '.join(gone)})" for key, gone in list(missing.items())[:SHOWN]]
    dots = ", ..." if len(missing) > SHOWN else ""
    return (
        f"{len(missing)} of {len(known.videos)} annotated videos have no features: "
        f"{', '.join(shown)}{dots}"
    )


def _with_fps(video: Video, fps: float | None, annotations: str | os.PathLike) -> Video:
    """The video with frames per second filled in."""
    if video.fps is None and fps is None:
        raise Defect(
            "fps",
            f"{annotations}: video {video.id!r} has no fps; add it there or give --fps",
        )
    return video if video.fps is not None else dataclasses.replace(video, fps=fps)


def options(values: flags.FlagValues, source: str) -> dict[str, Any]:
    """What the flags say to a :class:`FoldersSource`.

    Raises:
      UserError: if a flag is missing.
    """
    for name in ("features_dir", "annotations", "unit_frames"):
        if values[name].value is None:
            raise UserError(f"--{name} is missing; --source={source} needs it")
    names = ("features_dir", "annotations", "unit_frames", "fps", "resampled_fps", "skip_missing")
    return {name: values[name].value for name in (*names, "split_at", "video_info")}


def open_source(values: flags.FlagValues, findings: Findings = STRICT) -> FoldersSource:
    """Opens the source as the flags say.

    Raises:
      UserError: if a flag is missing, or by :class:`FoldersSource`.
    """
    return FoldersSource(**options(values, "folders"), findings=findings)
