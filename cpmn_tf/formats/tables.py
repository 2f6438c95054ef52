"""Reading text tables so that every error names the file and the line."""

import csv
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from cpmn_tf.errors import UserError


def read_text(path: str | os.PathLike) -> str:
    """A UTF-8 file's text, without a byte order mark.

    Raises:
      UserError: if the file cannot be read or is not UTF-8.
    """
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def filled_lines(path: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Yields ("FILE line N", stripped text) of each line that is not empty.

    Lines end at newlines only: an id may hold what `str.splitlines` would also split at.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path} line {number}", line.strip()


def csv_table(path: str | os.PathLike) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """The header of a CSV file, and its rows with their place.

    Raises:
      UserError: if the file is empty or a header name stands twice; later, while rows are read,
        if one has not as many fields as the header.
    """
    reader = csv.reader(read_text(path).splitlines(keepends=True))
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{path}: is not CSV ({error}); write the file anew") from None
    if not any(header):
        raise UserError(f"{path}: has no header line; name the columns in its first line")
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}: the column {name!r} stands twice; keep one of them")
    return header, _csv_rows(path, reader, len(header))


def _csv_rows(path, reader, width: int) -> Iterator[tuple[str, list[str]]]:
    try:
        for row in reader:
            place = f"{path} line {reader.line_num}"
            if not any(field.strip() for field in row):
                continue
            if len(row) != width:
                raise UserError(f"{place}: has {len(row)} fields, the header {width}; mend it")
            yield place, [field.strip() for field in row]
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: is not CSV ({error}); mend it") from None


def column_finder(
    path: str | os.PathLike, header: Sequence[str], names: dict[str, Sequence[str]]
) -> Callable[[list[str]], list[str]]:
    """A function that picks the named columns from a row, whatever their order.

    Args:
      path: for errors.
      header: the file's column names.
      names: for each wanted column the names it may go by.

    Raises:
      UserError: if a wanted column is not there.
    """
    known = {name.lower().replace("-", "_"): place for place, name in enumerate(header)}
    places = []
    for wanted, aliases in names.items():
        found = [known[alias] for alias in aliases if alias in known]
        if not found:
            raise UserError(
                f"{path}: has no column {wanted!r} among {', '.join(header)}; "
                f"name the columns {', '.join(names)} in its first line"
            )
        places.append(found[0])
    return lambda row: [row[place] for place in places]
