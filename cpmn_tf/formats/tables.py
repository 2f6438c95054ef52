"""Text tables: CSV with named columns, and plain lines, each with its place for messages."""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from cpmn_tf.errors import Problem, UserError, raise_first
from cpmn_tf.files import read_text

VIDEO = {"video": ("video", "video_id", "video_name", "videoname", "name", "id")}

SEGMENT = {
    "start": ("start", "t_start", "start_seconds", "start_time"),
    "end": ("end", "t_end", "end_seconds", "end_time"),
}
INFO = {  # what a table may say of each video, by the columns it may be in
    "subset": ("subset", "split", "set", "partition", "phase", "fold"),
    "fps": ("fps", "frame_rate", "framerate"),
    "duration": ("duration", "seconds", "duration_second"),
    "frames": (
        *("frames", "frame", "num_frames", "num_frame", "numframes", "numframe", "nframes"),
        *("n_frames", "nb_frames", "frame_num", "frame_count", "total_frames", "duration_frame"),
    ),
}


def filled_lines(path: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Yields ("FILE line N", stripped text) of each line that is not empty.

    Lines end at newlines only: an id may hold what `str.splitlines` would also split at.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path} line {number}", line.strip()


def read_table(
    path: str | os.PathLike,
    columns: Mapping[str, Sequence[str]],
    *,
    optional: Mapping[str, Sequence[str]] | None = None,
    bare: bool = False,
    problem: Problem = raise_first,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields ("FILE line N", fields by column) of each row of a CSV file.

    Args:
      path: the file.
      columns: the columns that it must have, in any order, and the names that each may go by.
        Upper case, blanks and hyphens in the header make no difference.
      optional: the same, of columns that may be missing. All others keep the header's names.
      bare: the file may have no header: if the first field of its first line is no name of the
        first of ``columns``, the columns are those, in that order.
      problem: called at a row of a wrong length, which is left out if it returns.

    Raises:
      UserError: if the file is empty or is not CSV, or has no such column, or one twice.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            place = f"{path} line {reader.line_num}"
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            if header is None:
                if len(fields) == 1 and (mark := re.search("[;\t|]", fields[0])):
                    raise UserError(f"{place}: has {mark[0]!r} between its fields; write commas")
                if not bare or _plain(fields[0]) in next(iter(columns.values())):
                    header = _header(path, fields, columns, optional or {})
                    continue
                header = list(columns)
            if len(fields) == len(header):
                yield place, dict(zip(header, fields, strict=True))
            else:
                text = f"{place}: has {len(fields)} fields instead of {len(header)}; fix it"
                problem("annotation", text)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: is not CSV ({error}); fix it") from None
    if header is None:
        raise UserError(f"{path}: is empty; write a line that names the columns, and the rows")


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _header(
    path: str | os.PathLike,
    header: list[str],
    columns: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]],
) -> list[str]:
    """The header with the names of ``columns`` and ``optional`` for those that the file uses."""
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}: has two columns {name!r}; keep one of them")
    named = list(header)
    plain = [_plain(name) for name in header]
    for name, aliases in {**columns, **optional}.items():
        found = [plain.index(alias) for alias in aliases if alias in plain]
        if found:
            named[found[0]] = name
        elif name in columns:
            raise UserError(
                f"{path}: has no column {name!r} among {', '.join(header)}; "
                f"name the columns {', '.join(columns)} in its first line"
            )
    return named
