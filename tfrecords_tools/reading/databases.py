"""Annotations as sources read them: JSON or a CSV, and a table of the videos.

What is read is ActivityNet's ``{"database": {ID: entry}}``, raw, so that a source can fill in what
the files leave out (subset, fps) before :func:`parse` makes it typed annotations.
"""

import contextlib
import os
import pathlib
from typing import Any

from cpmn_tf.errors import Problem, UserError, reported
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotation_tables import read_annotation_table
from cpmn_tf.formats.annotations import (
    Annotations,
    check_database,
    check_id,
    parse_annotations,
    parse_number,
)
from cpmn_tf.formats.names import check_keys, nfc, plain_id, spelled
from cpmn_tf.formats.tables import INFO, VIDEO, read_table
from cpmn_tf.formats.times import durations_differ, rates_differ


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

    What an entry itself says goes before the table; where they contradict, ``problem`` is told.

    Raises:
      UserError: naming the file, if it cannot be read.
    """
    if path is None:
        return database
    info: dict[str, dict[str, str]] = {}
    for place, row in read_table(path, VIDEO, optional=INFO, problem=problem):
        about = {name: row[name] for name in INFO if row.get(name)}
        if info.setdefault(nfc(row["video"]), about) != about:
            text = f"{place}: a second line of the video {row['video']!r} that differs; keep one"
            problem("duplicate", text, row["video"])
    if info and not any(info.values()):
        problem("annotation", f"{path}: has no column of subset, fps, duration or frames; add one")
    with reported(problem, "annotation"):
        ids = spelled(tuple(info), database, plain_id, f"{path}: the ids")
        info = dict(zip(ids, info.values(), strict=True))
    if database and not set(info) & set(database):
        text = (
            f"{path}: names none of the annotated videos, which are called {next(iter(database))!r}"
            " and so on; give it the same ids"
        )
        problem("annotation", text)
    for key, entry in database.items():
        for name, said in info.get(key, {}).items() if isinstance(entry, dict) else ():
            if _contradicts(name, entry.get(name), said):
                text = (
                    f"{path}: video {key!r}: {name} {said}, the annotations say {entry[name]}; "
                    "correct one of them"
                )
                problem("contradiction", text, key)
    return {
        key: {
            **info.get(key, {}),
            **{name: item for name, item in entry.items() if item is not None},
        }
        if isinstance(entry, dict)
        else entry
        for key, entry in database.items()
    }


def settle_fps(
    database: dict[str, Any],
    problem: Problem,
    *,
    fps: float | None,
    resampled_fps: float | None,
) -> list[str]:
    """Derives the fps of entries that say frames and duration, where nothing else says it.

    Args:
      database: as :func:`fill_in` gives it.
      problem: called where frames and duration contradict the fps.
      fps: of the entries that say none.
      resampled_fps: what all videos were brought to; then no count of frames contradicts.

    Returns:
      Notes: how many were derived, and how many say another fps than ``fps``.
    """
    derived, kept = [], []
    for key, entry in database.items():
        if not isinstance(entry, dict):
            continue
        own, seconds = _number(entry.get("fps")), _number(entry.get("duration"))
        frames = next(filter(None, (_number(entry.get(name)) for name in INFO["frames"])), None)
        if own and fps and rates_differ(own, fps):
            kept.append(key)
            text = (
                f"video {key!r}: its own fps is {own:g}, not {fps:g}; if it was brought to another "
                "before encoding, give `resampled_fps`"
            )
            problem("kept", text, key)
        if resampled_fps or not (frames and seconds):
            continue
        counted, given = frames / seconds, own or fps
        if not given:
            entry["fps"] = counted
            derived.append(key)
            about = f"{frames:g} frames in {seconds:g} s are {counted:.5g} per second"
            problem("derived", f"video {key!r}: {about}; add fps if they are not", key)
        elif rates_differ(counted, given) and durations_differ(frames / given, seconds):
            about = f"{frames:g} frames in {seconds:g} s are {counted:.4g} per second"
            text = (
                f"video {key!r}: {about}, not {given:g}; correct one of them, or give "
                "`resampled_fps`"
            )
            problem("contradiction", text, key)
    notes = [f"fps derived from frames and duration: {len(derived)} videos"] if derived else []
    return notes + ([f"fps that is theirs, not the one given: {len(kept)} videos"] if kept else [])


def _contradicts(name: str, own: Any, other: str) -> bool:
    """Whether an entry and a table differ by more than rounding, or a subset's short name."""
    if name == "subset":
        names = (str(own or other).lower(), other.lower())
        return not (names[0].startswith(names[1]) or names[1].startswith(names[0]))
    differ = {"fps": rates_differ, "duration": durations_differ}.get(name)
    first, second = _number(own), _number(other)
    return bool(differ and first and second and differ(first, second))


def _number(value: Any) -> float | None:
    """A positive number; what is none, the parser will say."""
    with contextlib.suppress(UserError):
        return parse_number(value, "", positive=True)
    return None


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
