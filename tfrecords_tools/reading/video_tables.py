"""CSV tables with a row per video: the first column is the video, others go by several names."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence

from cpmn_tf.errors import UserError
from cpmn_tf.formats.tables import read_text
from tfrecords_tools.findings import Findings

VIDEO = "video"
VIDEO_NAMES = ("video", "video_id", "video_name", "videoname", "name", "id")


def read_table(
    path: str | os.PathLike,
    needed: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]],
    findings: Findings,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields ("FILE line N", fields by name) of each row.

    Args:
      path: the table. Its first line names the columns if its first field is ``video`` or another
        of :data:`VIDEO_NAMES`; without such a line the columns are the video and ``needed``, in
        that order.
      needed: columns, and the names that each may go by.
      optional: the same, of columns that may be missing.
      findings: where rows of a wrong length go.

    Raises:
      UserError: naming the file and the line.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, width = None, 1 + len(needed)
    try:
        for row in reader:
            place = f"{path} line {reader.line_num}"
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            if header is None:
                named = _plain(fields[0]) in VIDEO_NAMES
                header = _columns(path, fields if named else [VIDEO, *needed], needed, optional)
                if named:
                    width = len(fields)
                    continue
            if len(fields) != width:
                text = f"{place}: has {len(fields)} fields instead of {width}; mend it"
                findings.add("annotation", text)
                continue
            yield place, {name: fields[number] for name, number in header.items()}
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: is not CSV ({error}); mend it") from None
    if header is None:
        raise UserError(f"{path}: is empty; write a line per video")


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_")


def _columns(
    path: str | os.PathLike,
    header: Sequence[str],
    needed: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    """The number of each column that is known."""
    places = {_plain(name): number for number, name in reversed(list(enumerate(header)))}
    columns = {VIDEO: 0}
    for name, aliases in {**needed, **optional}.items():
        found = [places[alias] for alias in aliases if alias in places]
        if found:
            columns[name] = found[0]
        elif name in needed:
            raise UserError(
                f"{path}: has no column {name!r} among {', '.join(header)}; name the columns "
                f"video, {', '.join(needed)} in its first line"
            )
    return columns
