"""Annotations as sources read them: JSON or a CSV, and a table of the videos.

What is read is ActivityNet's ``{"database": {ID: entry}}``, raw, so that a source can fill in what
the files leave out (subset, fps) before :func:`parse` makes it typed annotations.
"""

import os
import pathlib
from typing import Any

from cpmn_tf.errors import Problem, UserError, reported
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotation_tables import read_annotation_table
from cpmn_tf.formats.annotations import Annotations, check_database, check_id, parse_annotations
from cpmn_tf.formats.names import check_keys, nfc, plain_id, spelled
from cpmn_tf.formats.tables import INFO, VIDEO, read_table


def read_database(path: str | os.PathLike, problem: Problem) -> dict[str, Any]:
    """Raw annotations from ActivityNet-style JSON, or from a CSV.

    Raises:
      UserError: naming the file, if it is neither.
    """
    if pathlib.Path(path).suffix.lower() == ".csv":
        return read_annotation_table(path, problem)
    raw = read_json(path, problem=problem)
    for key, entry in check_database(raw, path).items():
        if isinstance(entry, dict) and not entry.get("subset"):  # which others may say
            with reported(problem, "annotation", key):
                check_keys(entry, ("subset",), f"{path}: video {key!r}")
    return raw


def fill_in(
    database: dict[str, Any], path: str | os.PathLike | None, problem: Problem
) -> dict[str, Any]:
    """The entries with what a table of the videos says of subset, fps and duration.

    What an entry itself says goes before the table.

    Raises:
      UserError: naming the file, if it cannot be read.
    """
    if path is None:
        return database
    info: dict[str, dict[str, str]] = {}
    for place, row in read_table(path, VIDEO, optional=INFO, problem=problem):
        said = {name: row[name] for name in INFO if row.get(name)}
        if info.setdefault(nfc(row["video"]), said) != said:
            text = f"{place}: a second line of the video {row['video']!r} that differs; keep one"
            problem("duplicate", text, row["video"])
    with reported(problem, "annotation"):
        ids = spelled(tuple(info), database, plain_id, f"{path}: the ids")
        info = dict(zip(ids, info.values(), strict=True))
    if database and not set(info) & set(database):
        text = (
            f"{path}: names none of the annotated videos, which are called {next(iter(database))!r}"
            " and so on; give it the same ids"
        )
        problem("annotation", text)
    return {
        key: {
            **info.get(key, {}),
            **{name: item for name, item in entry.items() if item is not None},
        }
        if isinstance(entry, dict)
        else entry
        for key, entry in database.items()
    }


def parse(path: str | os.PathLike, raw: dict[str, Any], problem: Problem) -> Annotations:
    """Typed annotations of the videos whose ids can name a file."""
    database = named_safely(path, raw["database"], problem)
    return parse_annotations({**raw, "database": database}, path, problem=problem)


def named_safely(
    path: str | os.PathLike, database: dict[str, Any], problem: Problem
) -> dict[str, Any]:
    """The entries whose ids can name a file."""
    kept = {}
    for key, entry in database.items():
        try:
            kept[check_id(key)] = entry
        except UserError as error:
            problem("id", f"{path}: {error}", key)
    return kept
