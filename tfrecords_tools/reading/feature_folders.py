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
    Reading,
    load_archive,
    load_features,
    split_columns,
    stream_names,
)

JOINT = ""  # the name of the stream's folder where one file holds all streams
FLAT = ""  # the name of the group's folder where features are not kept by subset
JUNK = ("__MACOSX", "@eaDir", "lost+found")  # folders that are nobody's


class FeatureFolders:
    """The feature files below a folder, which gives ``streams`` their names."""

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        subsets: Iterable[str],
        problem: Problem,
        split_at: int | None = None,
        reading: Reading | None = None,
    ):
        """Lists the folders; reads no feature yet.

        Args:
          root: the features' folder.
          subsets: of the annotations, where known.
          problem: called where a video has two files.
          split_at: columns of the first stream in joint files.
          reading: how files are read where they can be read in two ways.

        Raises:
          UserError: if the folder holds no layout that is known.
        """
        self.root = pathlib.Path(root)
        self._split_at, self._problem, self._reading = split_at, problem, reading
        self._subsets = set(subsets)
        self._unread: dict[tuple[str, str, str], str] = {}  # files of other types
        # By subset; one group, named '', where there are none.
        self._groups, self._folders = self._layout()
        self._files = {
            (group, stream): self._listed(group, stream)
            for group in self._groups
            for stream in self._folders
        }
        self._joined = self._folders == [JOINT]
        self.streams = self._joint_streams() if self._joined else self._folders
        for name in self.streams:
            check_stream_name(name)

    def _layout(self) -> tuple[list[str], list[str]]:
        """The groups' folders, and the streams' folders in each of them."""
        names = _folders(self.root)
        inside = {name: _folders(self.root / name) for name in names}
        deep = [name for name in names if inside[name]]
        if self._split_at is not None or not names or (not deep and self._subsets & set(names)):
            if _has_features(self.root):
                return [FLAT], [JOINT]
            groups = [name for name in names if _has_features(self.root / name)]
            if not groups:
                raise UserError(
                    f"{self.root}: holds no folder of a stream; put the features in "
                    f"{self.root / 'STREAM' / 'ID.npy'}"
                )
            return self._used(groups), [JOINT]
        if not deep:
            return [FLAT], names
        if len(deep) < len(names):
            flat = next(name for name in names if not inside[name])
            raise UserError(
                f"{self.root}: {deep[0]!r} holds folders and {flat!r} does not; keep to either "
                "STREAM/ID.npy or SUBSET/STREAM/ID.npy"
            )
        groups = self._used(names)
        first = groups[0]
        for name in groups:
            if inside[name] != inside[first]:
                raise UserError(
                    f"{self.root}: the streams of {first!r} are {', '.join(inside[first])}, "
                    f"those of {name!r} {', '.join(inside[name])}; make them the same"
                )
        return groups, inside[first]

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
        if subset in self._groups:
            return subset
        if self._groups == [FLAT]:
            return FLAT
        found = [
            name
            for name in self._groups
            if name not in self._subsets
            and any(video_id in self._files[name, stream] for stream in self._folders)
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
        for stream in self._folders:
            if video_id not in self._files[group, stream]:
                unread = self._unread.get((group, stream, video_id))
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
        paths = {
            stream: self.root / group / stream / self._files[group, stream][video_id]
            for stream in self._folders
        }
        if self._split_at is not None:
            return split_columns(
                paths[JOINT], load_features(paths[JOINT], self._reading), self._split_at
            )
        if self._joined:
            return load_archive(paths[JOINT], self.streams)
        return {stream: load_features(path, self._reading) for stream, path in paths.items()}

    def _listed(self, group: str, stream: str) -> dict[str, str]:
        """Feature files of a folder by id."""
        folder = self.root / group / stream
        found: dict[str, str] = {}
        for name in _entries(folder):
            stem, suffix = os.path.splitext(name)
            if suffix not in SUFFIXES:
                self._unread[group, stream, stem] = name
                continue
            if stem in found:
                text = f"{folder}: video {stem!r} has two files ({found[stem]}, {name}); keep one"
                self._problem("duplicate", text, stem)
            found[stem] = name
        return found


def _has_features(folder: pathlib.Path) -> bool:
    return any(os.path.splitext(name)[1] in SUFFIXES for name in _entries(folder))


def _entries(folder: pathlib.Path) -> list[str]:
    """Names in a folder, sorted, less macOS's ``._NAME`` beside NAME."""
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); check the path") from None
    return sorted(name for name in names if not (name.startswith("._") and name[2:] in names))


def _folders(path: pathlib.Path) -> list[str]:
    """Names of the folders in ``path``, sorted, hidden ones and :data:`JUNK` left out."""
    return [
        name
        for name in _entries(path)
        if not name.startswith(".")
        and name not in JUNK
        and os.path.splitext(name)[1] not in SUFFIXES
        and (path / name).is_dir()
    ]
