"""Which videos are meant: files, the files of a folder, or those of a list; and their ids."""

import os
import pathlib
from collections.abc import Iterable, Iterator

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import check_id
from cpmn_tf.formats.names import nfc
from cpmn_tf.formats.tables import filled_lines

# Files of a folder that are taken for videos; a file that is named itself may end in anything.
ENDINGS = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)


def find_videos(videos: Iterable[str | os.PathLike]) -> dict[str, pathlib.Path]:
    """Files by id, which is the file's name without its ending.

    Args:
      videos: files; folders, whose video files are taken; and .txt files with a path a line.

    Raises:
      UserError: naming the file, if a folder or list holds none, if two files have one id, or if a
        name cannot be an id.
    """
    found: dict[str, pathlib.Path] = {}
    for path in (path for item in videos for path in _files(pathlib.Path(item))):
        if path.stem != path.stem.strip():
            raise UserError(f"{path}: tables lose the blanks around its name; rename the file")
        key = nfc(check_id(path.stem))
        other = found.setdefault(key, path)
        if other != path:
            raise UserError(f"{path}: has the same name as {other}; rename one, ids are by name")
    return found


def _files(path: pathlib.Path) -> Iterator[pathlib.Path]:
    if path.is_dir():
        files = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
        )
    elif path.suffix.lower() == ".txt":
        files = [pathlib.Path(line) for _, line in filled_lines(path)]
    else:
        files = [path]
    if not files:
        raise UserError(f"{path}: holds no videos; name a folder of videos, or a list of them")
    yield from files
