"""Features in folders, one .npy file per video and stream, with ActivityNet-style annotations.

``FEATURES/STREAM/ID.npy`` or ``FEATURES/SUBSET/STREAM/ID.npy``, each [T, G], T units of
``unit_frames`` frames. The folders' names are the streams' names; streams may differ in width.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from absl import flags

from cpmn_tf.data.annotations import Annotations, check_id, load_annotations
from cpmn_tf.data.arrays import open_array
from cpmn_tf.data.manifest import check_stream_name
from cpmn_tf.errors import UserError
from tfrecords_tools.sources import SourceVideo

SUFFIX = ".npy"
SHOWN = 5  # videos named in an error; the others are counted


class FoldersSource:
    """Features in folders; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(
        self,
        *,
        features_dir: str | os.PathLike,
        annotations: str | os.PathLike,
        unit_frames: int,
        fps: float | None = None,
        skip_missing: bool = False,
    ):
        """Reads the annotations and lists the features; reads no feature yet.

        Args:
          features_dir: the features' folder.
          annotations: ActivityNet-style JSON; labels without segments are enough.
          unit_frames: frames per unit.
          fps: frames per second of videos whose annotations do not say.
          skip_missing: leave out annotated videos without features instead of refusing them.

        Raises:
          UserError: naming the file or the video, and the mend.
        """
        self._unit_frames = unit_frames
        self._root = pathlib.Path(features_dir)
        known = load_annotations(annotations)
        for key in known.videos:
            try:
                check_id(key)
            except UserError as error:
                raise UserError(f"{annotations}: {error}") from None
        self.facts = {"source": "folders", "unit_frames": unit_frames}
        self.notes: list[str] = []
        self._nested, self.streams = self._layout({v.subset for v in known.videos.values()})
        present = self._present(known, skip_missing)
        self.annotations = Annotations(
            {key: _with_fps(known.videos[key], fps, annotations) for key in present},
            known.classes,
        )

    def videos(self, splits: Mapping[str, str]) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        for video in self.annotations.videos.values():
            if video.id in splits:
                folder = self._folder(video.subset)
                features = {
                    stream: load_features(folder / stream / (video.id + SUFFIX))
                    for stream in self.streams
                }
                yield SourceVideo(
                    id=video.id, rate=video.fps / self._unit_frames, features=features
                )

    def _folder(self, subset: str) -> pathlib.Path:
        """Where the streams' folders of a subset are."""
        return self._root / subset if self._nested else self._root

    def _layout(self, subsets: set[str]) -> tuple[bool, list[str]]:
        """Whether the features are kept by subset, and the streams' names."""
        names = _folders(self._root)
        if not names:
            raise UserError(
                f"{self._root}: holds no folder of a stream; put the features in "
                f"{self._root / 'STREAM' / 'ID.npy'}"
            )
        nested = {name: bool(_folders(self._root / name)) for name in names}
        if len(set(nested.values())) != 1:
            flat = next(name for name in names if not nested[name])
            deep = next(name for name in names if nested[name])
            raise UserError(
                f"{self._root}: {deep!r} holds folders and {flat!r} does not; keep to either "
                "STREAM/ID.npy or SUBSET/STREAM/ID.npy"
            )
        if not nested[names[0]]:
            return False, [check_stream_name(name) for name in names]
        streams = {name: _folders(self._root / name) for name in names if name in subsets}
        if not streams:
            raise UserError(
                f"{self._root}: none of its folders ({', '.join(names)}) is a subset of the "
                f"annotations ({', '.join(sorted(subsets))}); rename them"
            )
        first = next(iter(streams))
        for name, found in streams.items():
            if found != streams[first]:
                raise UserError(
                    f"{self._root}: the streams of {first!r} are {', '.join(streams[first])}, "
                    f"those of {name!r} {', '.join(found)}; make them the same"
                )
        return True, [check_stream_name(name) for name in streams[first]]

    def _present(self, known: Annotations, skip_missing: bool) -> list[str]:
        """Ids of the videos whose features are there in every stream."""
        files = {}
        for subset in {video.subset for video in known.videos.values()}:
            for stream in self.streams:
                files[subset, stream] = _files(self._folder(subset) / stream)
        missing = {}
        for video in known.videos.values():
            gone = [s for s in self.streams if video.id + SUFFIX not in files[video.subset, s]]
            if gone:
                missing[video.id] = gone
        if missing and not skip_missing:
            raise UserError(f"{self._root}: {_missing(missing, known)}; add --skip_missing")
        present = [key for key in known.videos if key not in missing]
        if not present:
            raise UserError(f"{self._root}: {_missing(missing, known)}; check --features_dir")
        if missing:
            self.notes.append(f"left out: {_missing(missing, known)}")
        found = {name.removesuffix(SUFFIX) for names in files.values() for name in names}
        extra = found - set(known.videos)
        if extra:
            self.notes.append(f"features without annotations, not used: {len(extra)} videos")
        return present


def _missing(missing: Mapping[str, list[str]], known: Annotations) -> str:
    shown = [f"{key!r} ({', '.join(gone)})" for key, gone in list(missing.items())[:SHOWN]]
    dots = ", ..." if len(missing) > SHOWN else ""
    return (
        f"{len(missing)} of {len(known.videos)} annotated videos have no features: "
        f"{', '.join(shown)}{dots}"
    )


def _with_fps(video, fps: float | None, annotations: str | os.PathLike):
    """The video with frames per second filled in."""
    if video.fps is None and fps is None:
        raise UserError(f"{annotations}: video {video.id!r} has no fps; add it there or give --fps")
    return video if video.fps is not None else dataclasses.replace(video, fps=fps)


def _folders(path: pathlib.Path) -> list[str]:
    """Names of the folders in ``path``, sorted, hidden ones left out."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _files(path: pathlib.Path) -> set[str]:
    """Names of the feature files in ``path``; none if there is no such folder."""
    try:
        with os.scandir(path) as entries:
            return {entry.name for entry in entries if entry.name.endswith(SUFFIX)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def load_features(path: pathlib.Path) -> np.ndarray:
    """Reads [T, G] numbers as float32.

    Raises:
      UserError: naming the file, if it is no such array or holds NaN or infinite values.
    """
    array = open_array(path, ("units", "values"))
    with np.errstate(over="ignore"):
        values = np.array(array, np.float32, order="C")
    if not np.isfinite(values).all():
        unit, value = np.argwhere(~np.isfinite(values))[0]
        raise UserError(
            f"{path}: holds {values[unit, value]} as float32 (unit {unit}, value {value}); "
            "encode the video anew"
        )
    return values


def open_source(values: flags.FlagValues) -> FoldersSource:
    """Opens the source as the flags say.

    Raises:
      UserError: if a flag is missing, or by :class:`FoldersSource`.
    """
    for name in ("features_dir", "annotations", "unit_frames"):
        if values[name].value is None:
            raise UserError(f"--{name} is missing; --source=folders needs it")
    return FoldersSource(
        features_dir=values.features_dir,
        annotations=values.annotations,
        unit_frames=values.unit_frames,
        fps=values.fps,
        skip_missing=values.skip_missing,
    )
