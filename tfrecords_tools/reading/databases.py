"""Annotations as sources read them: JSON or a labels-only CSV, and a table of the videos.

What is read is ActivityNet's ``{"database": {ID: entry}}``, raw, so that a source can fill in what
the files leave out (subset, fps) before :func:`parse` makes it typed annotations.
"""

import os
import pathlib
from typing import Any

from cpmn_tf.errors import Problem, UserError
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotations import Annotations, check_database, check_id, parse_annotations
from cpmn_tf.formats.tables import VIDEO, read_table

LABELS = {"labels": ("labels", "label")}
INFO = {  # what a table may say of each video, by the columns it may be in
    "subset": ("subset", "split"),
    "fps": ("fps", "frame_rate"),
    "duration": ("duration", "seconds", "duration_second"),
}


def read_database(path: str | os.PathLike, problem: Problem) -> dict[str, Any]:
    """Raw annotations from ActivityNet-style JSON, or from a labels-only CSV.

    Raises:
      UserError: naming the file, if it is neither.
    """
    if pathlib.Path(path).suffix.lower() == ".csv":
        return read_labels(path, problem)
    raw = read_json(path, problem=problem)
    check_database(raw, path)
    return raw


def read_labels(path: str | os.PathLike, problem: Problem) -> dict[str, Any]:
    """Raw annotations from ``video,label|label`` lines.

    The first line may name the columns: ``video``, ``labels``, and also ``subset``, ``fps``,
    ``duration``; without such a line there are two, video and labels. A video's field of labels may
    be empty. Where neither a column nor the features' folders say otherwise, all videos are of the
    subset ``training``.

    Raises:
      UserError: naming the file, if it cannot be read.
    """
    database: dict[str, Any] = {}
    table = read_table(path, {**VIDEO, **LABELS}, optional=INFO, bare=True, problem=problem)
    for place, row in table:
        entry: dict[str, Any] = {key: row[key] for key in INFO if row.get(key)}
        names = [name.strip() for name in row["labels"].split("|")]
        entry["annotations"] = [{"label": name} for name in dict.fromkeys(names) if name]
        if row["video"] in database:
            text = f"{place}: a second line of the video {row['video']!r}"
            problem("duplicate", f"{text}; keep one, write labels as a|b", row["video"])
        database[row["video"]] = entry
    return {"database": database, "default_subset": "training"}


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
        if info.setdefault(row["video"], said) != said:
            text = f"{place}: a second line of the video {row['video']!r} that differs; keep one"
            problem("duplicate", text, row["video"])
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
