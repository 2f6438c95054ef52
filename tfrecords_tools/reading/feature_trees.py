"""What a features' folder holds: folders and files, archives of all videos being folders too.

An .npz or .h5 file that is named as no video, and names videos inside, is read as the folder that
it is called: ``rgb.h5`` with an array per id as ``rgb/ID.npy``.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Set

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.formats.names import nfc
from tfrecords_tools.reading.archives import ARCHIVES, Archive
from tfrecords_tools.reading.feature_files import SUFFIXES, Reading, read_array

JUNK = ("__MACOSX", "@eaDir", "lost+found")  # folders that are nobody's
SIDE_BY_SIDE = ("rgb", "flow")  # streams that may end a file's name, ID_rgb.npy
DEPTH = 2  # folders below the features' own: SUBSET/STREAM


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array that can be read; ``path``, its file's or its archive's, is for messages."""

    path: str
    read: Callable[[Reading], np.ndarray]

    @property
    def file(self) -> str:
        """The name of the file, or of the archive and its member."""
        return os.path.basename(self.path)


@dataclasses.dataclass
class Folder:
    """A folder, or an archive that is read as one.

    Attributes:
      path: what messages call it.
      folders: the folders in it by name.
      files: the arrays in it, each with its name less the suffix.
      unread: names of other files, by the same.
    """

    path: str
    folders: "dict[str, Folder]" = dataclasses.field(default_factory=dict)
    files: list[tuple[str, Stored]] = dataclasses.field(default_factory=list)
    unread: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether no array is in it, at any depth."""
        return not self.files and all(folder.empty for folder in self.folders.values())


def scan(root: str | os.PathLike, ids: Set[str]) -> Folder:
    """Lists a features' folder, or an archive, and reads no array.

    Args:
      root: the folder; an archive is taken for a folder that holds nothing else.
      ids: of the annotated videos, in NFC.

    Raises:
      UserError: naming what cannot be read.
    """
    path = pathlib.Path(root)
    if path.suffix.lower() in ARCHIVES and path.is_file():
        inside = _opened(path)
        return Folder(str(path), folders={path.stem: inside}) if inside.files else inside
    top = _scan(path, DEPTH)
    for stem, stored in list(top.files):
        if video_of(nfc(stem), ids) or not stored.path.lower().endswith(ARCHIVES):
            continue
        inside = _opened(stored.path)
        named = {*inside.folders, *(name for name, _ in inside.files)}
        named |= {name for folder in inside.folders.values() for name in folder.folders}
        named |= {name for folder in inside.folders.values() for name, _ in folder.files}
        if any(video_of(nfc(name), ids) for name in named):
            if stem in top.folders:
                raise UserError(f"{root}: {stem!r} is there twice; keep one of them")
            top.folders[stem] = inside
            top.files.remove((stem, stored))
    return top


def video_of(name: str, ids: Set[str]) -> str | None:
    """The id that a file is named by, alone or before ``_rgb`` or ``_flow``."""
    return name if name in ids else next((key for key, _ in split_name(name) if key in ids), None)


def split_name(name: str) -> list[tuple[str, str]]:
    """The id and the stream of a name such as ``ID_rgb``, or nothing."""
    key, _, stream = name.rpartition("_")
    return [(key, stream)] if key and stream in SIDE_BY_SIDE else []


def _scan(path: pathlib.Path, depth: int) -> Folder:
    found = Folder(str(path))
    for name in _entries(path):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            file = os.path.join(path, name)
            found.files.append((stem, Stored(file, functools.partial(read_array, file))))
            continue
        found.unread[nfc(stem)] = name
        if not name.startswith(".") and name not in JUNK and (path / name).is_dir():
            below = _scan(path / name, depth - 1) if depth else Folder(str(path / name))
            found.folders[name] = below
    return found


def _entries(folder: pathlib.Path) -> list[str]:
    """Names in a folder, sorted, less macOS's ``._NAME`` beside NAME."""
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); check the path") from None
    return sorted(name for name in names if not (name.startswith("._") and name[2:] in names))


def _opened(path: str | os.PathLike) -> Folder:
    """An archive as a folder; the arrays' names say in which folders they are."""
    archive = Archive(path)
    top = Folder(str(path))
    for name in archive.names:
        *above, stem = name.split("/")
        folder = top
        for part in above:
            folder = folder.folders.setdefault(part, Folder(f"{folder.path}/{part}"))
        folder.files.append((stem, Stored(f"{path}: {name}", _reader(archive, name))))
    return top


def _reader(archive: Archive, name: str) -> Callable[[Reading], np.ndarray]:
    return lambda _: archive.read(name)  # of an array there is but one way to read it
