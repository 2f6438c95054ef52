"""Where a video's feature files are: the layouts of a features' folder.

    FEATURES/STREAM/ID.npy            the folders' names are the streams' names
    FEATURES/SUBSET/STREAM/ID.npy     also where SUBSET is called otherwise than in the annotations
    FEATURES/ID/STREAM.npy            a folder per video; also ID/ID_STREAM.npy
    FEATURES/ID_STREAM.npy            side by side; the streams are ``rgb`` and ``flow``
    FEATURES/ID.npy                   all streams in one file: ``split_at``, or an .npz by stream
    FEATURES/SUBSET/...               each of the last three by subset, too
    FEATURES.h5                       one file of all videos, the same names in it: ``STREAM/ID``

Files of all kinds may be side by side, and ``STREAM.h5`` or ``SUBSET.npz`` stand for folders of
those names; what macOS, Windows and network drives leave in folders (``._ID.npy``, ``__MACOSX``,
``Thumbs.db``) is passed over. Files' names and ids are compared in Unicode's form NFC.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from cpmn_tf.data.manifest import check_stream_names
from cpmn_tf.errors import Defect, Problem, UserError, listed
from cpmn_tf.formats.names import nfc, other_ids
from tfrecords_tools.reading.archives import ARCHIVES, Archive
from tfrecords_tools.reading.feature_files import (
    Reading,
    crop_axis,
    load_archive,
    split_columns,
    units_of,
    without_ones,
)
from tfrecords_tools.reading.feature_trees import Folder, Stored, scan, split_name

JOINT = ""  # the name of the stream's folder where one file holds all streams
FLAT = ""  # the name of the group's folder where features are not kept by subset


class FeatureFolders:
    """The feature files below a folder, which gives ``streams`` their names."""

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        ids: Iterable[str],
        subsets: Iterable[str],
        problem: Problem,
        split_at: int | None = None,
        reading: Reading | None = None,
    ):
        """Lists the folders; reads no feature yet.

        Args:
          root: the features' folder, or an archive of all videos.
          ids: of the annotated videos.
          subsets: of the annotations, where known.
          problem: called where a video has two files, and where files are not read.
          split_at: columns of the first stream in joint files.
          reading: how files are read where they can be read in two ways.

        Raises:
          UserError: if the folder holds no layout that is known.
        """
        self.root = pathlib.Path(root)
        self.notes: list[str] = []
        self._split_at, self._problem = split_at, problem
        self._reading = reading or Reading()
        self._alike = functools.cache(self._names_alike)
        self._crops = functools.cache(self._crop_axis)
        self._ids = {nfc(key) for key in ids}
        self._subsets = set(subsets)
        self._top = self._by_stream("", scan(root, self._ids))
        for name, folder in self._top.folders.items():
            self._top.folders[name] = self._by_stream(name, folder)
        # By subset; one group, named '', where there are none.
        self._groups, self._folders = self._layout()
        self._files = {
            (group, stream): self._listed(group, stream)
            for group in self._groups
            for stream in self._folders
        }
        self._joined = self._folders == [JOINT]
        self.streams = self._joint_streams() if self._joined else self._folders
        check_stream_names(self.streams)

    def _layout(self) -> tuple[list[str], list[str]]:
        """The groups' folders, and the streams' folders in each of them."""
        folders = self._top.folders
        # Folders without any feature beside files are nobody's.
        held = not self._top.files or not all(folder.empty for folder in folders.values())
        names = sorted(folders) if held else []
        inside = {name: sorted(folders[name].folders) for name in names}
        deep = [name for name in names if inside[name]]
        if self._split_at is not None or not names or (not deep and self._subsets & set(names)):
            if self._top.files:
                return [FLAT], [JOINT]
            groups = [name for name in names if folders[name].files]
            if not groups:
                raise UserError(
                    f"{self.root}: holds no folder of a stream; put the features in "
                    f"{self.root / 'STREAM' / 'ID.npy'}"
                )
            return self._used(groups), [JOINT]
        self._not_read(self._top.files, f"beside the folders {listed(names)}")
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
            self._not_read(folders[name].files, f"beside the folders {listed(inside[name])}")
        return groups, inside[first]

    def _used(self, names: list[str]) -> list[str]:
        """Folders named as subsets; all folders, if some subset has none of its name."""
        if self._subsets and self._subsets <= set(names):
            return [name for name in names if name in self._subsets]
        return names

    def _by_stream(self, name: str, folder: Folder) -> Folder:
        """The folder called ``name``, with a folder per stream also where ids come first.

        Raises:
          UserError: if some files are of one stream each, and others of all.
        """
        below = folder.folders
        videos = {key for key in below if nfc(key) in self._ids}
        if videos and not any(
            nfc(stem) in self._ids for held in below.values() for stem, _ in held.files
        ):
            found = [
                (key, stem.removeprefix(f"{key}_"), stored)
                for key, held in below.items()
                for stem, stored in held.files
            ]
            streams = {stream for key, stream, _ in found if key in videos}
            return self._regrouped(folder, [item for item in found if item[1] in streams])
        parts = [
            (key, stream, stored)
            for stem, stored in folder.files
            for key, stream in split_name(nfc(stem))
        ]
        if self._split_at is not None or {stream for _, stream, _ in parts} <= {name}:
            return folder
        known = {stored.path for key, _, stored in parts if key in self._ids}
        whole = {stored.path for stem, stored in folder.files if nfc(stem) in self._ids}
        if not known - whole and (whole or len(parts) < len(folder.files)):
            return folder
        others = sorted(whole - known) or [held.path for held in below.values() if not held.empty]
        if others:
            raise UserError(
                f"{parts[0][2].path}: is one stream of a video, {os.path.basename(others[0])} is "
                "not; keep to one layout"
            )
        taken = {stored.path for _, _, stored in parts}
        rest = [file for file in folder.files if file[1].path not in taken]
        self._not_read(rest, "which end in neither _rgb nor _flow")
        return self._regrouped(folder, parts)

    def _regrouped(self, folder: Folder, found: list[tuple[str, str, Stored]]) -> Folder:
        """A folder of (id, stream, array), as if it held one folder per stream."""
        streams: dict[str, Folder] = {}
        for key, stream, stored in found:
            streams.setdefault(stream, Folder(folder.path)).files.append((key, stored))
        for stream, held in list(streams.items()):
            with contextlib.suppress(UserError):  # is told when its video is read
                if held.files[0][1].read(Reading()).ndim < 2:
                    self._not_read(streams.pop(stream).files, "of fewer than two axes")
        return Folder(folder.path, folders=streams, unread=folder.unread)

    def _not_read(self, files: list[tuple[str, Stored]], which: str) -> None:
        """Tells of files that are left out."""
        if files:
            shown = listed(stored.path.removeprefix(f"{self.root}/") for _, stored in files)
            text = f"{len(files)} feature files {which}: {shown}"
            self.notes.append(f"not read: {text}")
            self._problem("surplus", f"{self.root}: {text}")

    def _joint_streams(self) -> list[str]:
        if self._split_at is not None:
            return ["rgb", "flow"]
        for (group, _), files in self._files.items():
            for stored in files.values():
                if not stored.path.lower().endswith(ARCHIVES):
                    raise UserError(
                        f"{stored.path}: which columns belong to which "
                        "stream? give `split_at`, the number of the first stream's columns; files "
                        f"of one stream go to {self.root / group / 'STREAM'}"
                    )
                with Archive(stored.path) as archive:
                    return archive.names
        raise UserError(f"{self.root}: holds no features; check `features_dir`")

    def group(self, video_id: str, subset: str | None) -> str | None:
        """The group a video's features are in; None if there are none.

        Raises:
          Defect: if two folders have it, and the subset does not say which.
        """
        key = nfc(video_id)
        if subset in self._groups:
            return subset
        if self._groups == [FLAT]:
            return FLAT
        found = [
            name
            for name in self._groups
            if name not in self._subsets
            and any(key in self._files[name, stream] for stream in self._folders)
        ]
        if len(found) > 1:
            raise Defect(
                "overlap",
                f"{self.root}: video {video_id!r} is in {' and in '.join(found)}; remove one",
            )
        return found[0] if found else None

    def missing(self, video_id: str, group: str | None) -> dict[str, str]:
        """Streams (or 'features') that a video has no file of, each with the file that is meant."""
        key = nfc(video_id)
        gone = {}
        for stream in self._folders:
            groups = self._groups if group is None else [group]
            if group is None or key not in self._files[group, stream]:
                near = (self._near(name, stream, key) for name in groups)
                gone[stream or "features"] = next(filter(None, near), "")
        return gone

    def _near(self, group: str, stream: str, key: str) -> str:
        """The file that may be meant for a video that has none."""
        if unread := self._at(group, stream).unread.get(key):
            return f"only {unread}, which is not read"
        if alike := self._alike(group, stream).get(key.strip().casefold()):
            return f"there is {alike!r}; ids are compared with case and blanks"
        for other in other_ids(key):
            if stored := self._files[group, stream].get(other):
                return f"there is {stored.file!r}; call it so in both"
            if other == stream:  # of an archive of folders, none of which is a video's
                return f"there is {other!r}; call it so in both"
        return ""

    def _names_alike(self, group: str, stream: str) -> dict[str, str]:
        """Names of files by id, without blanks around it and in lower case."""
        files = self._files[group, stream]
        return {key.strip().casefold(): stored.file for key, stored in files.items()}

    def present(self) -> set[str]:
        """Ids of all videos that have a file, in NFC."""
        return {key for files in self._files.values() for key in files}

    def load(self, video_id: str, group: str) -> Mapping[str, np.ndarray]:
        """A video's [T, G] float32 features by stream.

        Raises:
          UserError: naming the file.
        """
        key = nfc(video_id)
        stored = {stream: self._files[group, stream][key] for stream in self._folders}
        if self._joined and self._split_at is None:
            path = stored[JOINT].path
            return load_archive(path, self.streams, self._reading, self._crops)
        found = {
            stream: units_of(
                item.path, item.read(self._reading), self._reading, self._crops(stream)
            )
            for stream, item in stored.items()
        }
        if self._split_at is not None:
            return split_columns(stored[JOINT].path, found[JOINT], self._split_at)
        return found

    def _crop_axis(self, stream: str) -> tuple[int, int] | None:
        """The axis of a stream's arrays that counts crops, and its length."""
        return crop_axis(self._shapes(stream)) if self._reading.crops else None

    def _shapes(self, stream: str) -> Iterator[tuple[int, ...]]:
        """Shapes of a stream's arrays that have three axes."""
        for group in self._groups:
            for stored in self._files[group, stream if stream in self._folders else JOINT].values():
                with contextlib.suppress(UserError):  # is told when its video is read
                    if stream in self._folders:
                        shape = stored.read(Reading()).shape
                    else:
                        with Archive(stored.path) as archive:
                            shape = archive.read(stream).shape
                    shape = (without_ones(shape, 3) if self._reading.squeeze else None) or shape
                    if len(shape) == 3:
                        yield shape

    def _at(self, group: str, stream: str) -> Folder:
        folder = self._top.folders[group] if group else self._top
        return folder.folders[stream] if stream else folder

    def _listed(self, group: str, stream: str) -> dict[str, Stored]:
        """Feature files of a folder by id."""
        folder = self._at(group, stream)
        found: dict[str, Stored] = {}
        for stem, stored in folder.files:
            key = nfc(stem)
            if key not in self._ids and key.removesuffix(f"_{stream}") in self._ids:
                key = key.removesuffix(f"_{stream}")
            if key in found:
                names = f"{found[key].file}, {stored.file}"
                text = f"{folder.path}: video {key!r} has two files ({names}); keep one"
                self._problem("duplicate", text, key)
            found[key] = stored
        return found
