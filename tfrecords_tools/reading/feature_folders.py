"""Where a video's feature files are: the layouts of a features' folder.

    FEATURES/STREAM/ID.npy            the folders' names are the streams' names
    FEATURES/SUBSET/STREAM/ID.npy     also where SUBSET is called otherwise than in the annotations
    FEATURES/ID.npy                   all streams in one file: ``split_at``, or an .npz by stream
    FEATURES/SUBSET/ID.npy            the same by subset

``.npy``, ``.npz`` and ``.csv`` files may be side by side; what macOS, Windows and network
drives leave in folders (``._ID.npy``, ``__MACOSX``, ``Thumbs.db``) is passed over.
"""

import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from cpmn_tf.data.manifest import check_stream_name
from cpmn_tf.errors import Defect, Problem, UserError
from tfrecords_tools.reading.feature_files import (
    SUFFIXES,
    load_features,
    load_streams,
    stream_names,
)

JOINT = ""  # stands for a stream's name where one file holds all streams
FLAT = ""  # stands for a group's name where features are not kept by subset
JUNK = ("__MACOSX", "@eaDir", "lost+found")  # folders that are nobody's


class FeatureFolders:
    """The feature files below a folder.

    Attributes:
      streams: the streams' names.
      groups: the folders by subset that are used; one, named '', where there are none.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        subsets: Iterable[str],
        problem: Problem,
        split_at: int | None = None,
    ):
        """Lists the folders; reads no feature yet.

        Args:
          root: the features' folder.
          subsets: of the annotations, where known.
          problem: called where a video has two files.
          split_at: columns of the first stream in joint files.

        Raises:
          UserError: if the folder holds no layout that is known.
        """
        self.root = pathlib.Path(root)
        self._split_at, self._problem = split_at, problem
        self._subsets = set(subsets)
        self._unread: dict[tuple[pathlib.Path, str], str] = {}  # files of other types, by id
        names = _folders(self.root)
        if split_at is not None or not names:
            self.groups, streams = self._joint(names)
        else:
            self.groups, streams = self._by_stream(names)
        self._files = {
            (group, stream): self._listed(self.root / group / stream)
            for group in self.groups
            for stream in streams
        }
        self._joined = streams == [JOINT]
        self.streams = self._joint_streams() if self._joined else streams
        for name in self.streams:
            check_stream_name(name)

    def _joint(self, names: list[str]) -> tuple[list[str], list[str]]:
        if _has_features(self.root):
            return [FLAT], [JOINT]
        groups = [name for name in names if _has_features(self.root / name)]
        if not groups:
            raise UserError(
                f"{self.root}: holds no folder of a stream; put the features in "
                f"{self.root / 'STREAM' / 'ID.npy'}"
            )
        return self._used(groups), [JOINT]

    def _by_stream(self, names: list[str]) -> tuple[list[str], list[str]]:
        nested = {name: bool(_folders(self.root / name)) for name in names}
        if len(set(nested.values())) != 1:
            flat = next(name for name in names if not nested[name])
            deep = next(name for name in names if nested[name])
            raise UserError(
                f"{self.root}: {deep!r} holds folders and {flat!r} does not; keep to either "
                "STREAM/ID.npy or SUBSET/STREAM/ID.npy"
            )
        if not nested[names[0]]:
            return self._joint(names) if self._subsets & set(names) else ([FLAT], names)
        groups = self._used(names)
        found = {name: _folders(self.root / name) for name in groups}
        first = groups[0]
        for name, streams in found.items():
            if streams != found[first]:
                raise UserError(
                    f"{self.root}: the streams of {first!r} are {', '.join(found[first])}, "
                    f"those of {name!r} {', '.join(streams)}; make them the same"
                )
        return groups, found[first]

    def _used(self, names: list[str]) -> list[str]:
        """Folders named as subsets; all folders, if some subset has none of its name."""
        if self._subsets and self._subsets <= set(names):
            return [name for name in names if name in self._subsets]
        return names

    def _joint_streams(self) -> list[str]:
        if self._split_at is not None:
            return ["rgb", "flow"]
        for (group, stream), files in self._files.items():
            for name in files.values():
                if not name.endswith(".npz"):
                    raise UserError(
                        f"{self.root / group / stream / name}: which columns belong to which "
                        "stream? give `split_at`, the number of the first stream's columns; files "
                        f"of one stream go to {self.root / group / 'STREAM'}"
                    )
                return stream_names(self.root / group / stream / name)
        raise UserError(f"{self.root}: holds no features; check `features_dir`")

    def group(self, video_id: str, subset: str | None) -> str | None:
        """The group a video's features are in; None if there are none.

        Raises:
          Defect: if two folders have it, and the subset does not say which.
        """
        if subset in self.groups:
            return subset
        if self.groups == [FLAT]:
            return FLAT
        candidates = [name for name in self.groups if name not in self._subsets]
        found = [
            name
            for name in candidates
            if any(video_id in files for (group, _), files in self._files.items() if group == name)
        ]
        if len(found) > 1:
            raise Defect(
                "overlap",
                f"{self.root}: video {video_id!r} is in {' and in '.join(found)}; remove one",
            )
        return found[0] if found else None

    def missing(self, video_id: str, group: str | None) -> list[str]:
        """Streams (or 'features') that a video has no file of, with the file that is not read."""
        if group is None:
            return ["features"] if self._joined else list(self.streams)
        gone = []
        for (name, stream), files in self._files.items():
            if name == group and video_id not in files:
                unread = self._unread.get((self.root / group / stream, video_id))
                only = f" (only {unread}, which is not read)" if unread else ""
                gone.append((stream or "features") + only)
        return gone

    def present(self) -> set[str]:
        """Ids of all videos that have a file."""
        return {key for files in self._files.values() for key in files}

    def load(self, video_id: str, group: str) -> Mapping[str, np.ndarray]:
        """A video's [T, G] float32 features by stream.

        Raises:
          UserError: naming the file.
        """
        if self._joined:
            path = self.root / group / self._files[group, JOINT][video_id]
            return load_streams(path, self._split_at, self.streams)
        return {
            stream: load_features(
                os.path.join(self.root, group, stream, self._files[group, stream][video_id])
            )
            for stream in self.streams
        }

    def _listed(self, folder: pathlib.Path) -> dict[str, str]:
        """Feature files of a folder by id; none if there is no such folder."""
        found: dict[str, str] = {}
        for name in sorted(_entries(folder)):
            stem, suffix = os.path.splitext(name)
            if suffix not in SUFFIXES:
                self._unread[folder, stem] = name
                continue
            if stem in found:
                self._problem(
                    "duplicate",
                    f"{folder}: video {stem!r} has two files ({found[stem]}, {name}); keep one",
                    stem,
                )
            found[stem] = name
        return found


def _has_features(folder: pathlib.Path) -> bool:
    return any(os.path.splitext(name)[1] in SUFFIXES for name in _entries(folder))


def _entries(folder: pathlib.Path) -> list[str]:
    """Names in a folder, less macOS's ``._NAME`` beside NAME; none if there is no such folder."""
    try:
        names = set(os.listdir(folder))
        return [name for name in names if not (name.startswith("._") and name[2:] in names)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); check the path") from None


def _folders(path: pathlib.Path) -> list[str]:
    """Names of the folders in ``path``, sorted, hidden ones and :data:`JUNK` left out."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and entry.name not in JUNK
                and os.path.splitext(entry.name)[1] not in SUFFIXES
                and entry.is_dir()
            )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
