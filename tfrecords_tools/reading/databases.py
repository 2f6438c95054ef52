"""Annotations as sources read them: JSON or a labels-only CSV, and a table of the videos.

What is read is ActivityNet's ``{"database": {ID: entry}}``, raw, so that a source can fill in what
the files leave out (subset, fps) before :func:`parse` makes it typed annotations.
"""

import contextlib
import json
import os
import pathlib
from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotations import (
    Annotations,
    check_id,
    parse_annotations,
    parse_classes,
    parse_number,
    parse_segment,
)
from tfrecords_tools.findings import Defect, Findings
from tfrecords_tools.reading.video_tables import VIDEO, read_table

LABELS = ("labels", "label")
# The kinds of findings, by what the parsers of cpmn_tf.data, which know none, say.
TOLD_BY = {"ends before it starts": "reversed", "is in another subset": "overlap"}
INFO = {  # what a table of videos may say of each, by the columns it may stand in
    "subset": ("subset", "split"),
    "fps": ("fps", "frame_rate"),
    "duration": ("duration", "seconds", "duration_second"),
}


def read_database(path: str | os.PathLike, findings: Findings) -> dict[str, Any]:
    """Raw annotations from ActivityNet-style JSON, or from a labels-only CSV.

    Returns:
      A dict whose ``database`` maps ids, all able to name a file, to raw entries.

    Raises:
      UserError: naming the file, if it is neither.
    """
    if pathlib.Path(path).suffix.lower() == ".csv":
        raw = read_labels(path, findings)
    else:
        raw = read_raw(path, findings)
        if not isinstance(raw, dict) or not isinstance(raw.get("database"), dict):
            parse_annotations_of(path, raw)  # names what is wrong with it
    return {**raw, "database": checked_ids(path, raw["database"], findings)}


def checked_ids(path: str | os.PathLike, database: dict, findings: Findings) -> dict:
    """The entries whose ids can name a file."""
    kept = {}
    for key, entry in database.items():
        with findings.catching("id", key):
            try:
                check_id(key)
            except UserError as error:
                raise Defect("id", f"{path}: {error}") from None
            kept[key] = entry
    return kept


def read_labels(path: str | os.PathLike, findings: Findings) -> dict[str, Any]:
    """Raw annotations from ``video,label|label`` lines.

    The first line may name the columns: ``video``, ``labels``, and also ``subset``, ``fps``,
    ``duration``; without such a line there are two, video and labels. A video's field of labels may
    be empty. Where neither a column nor the features' folders say otherwise, all videos are of the
    subset ``training``.

    Raises:
      UserError: naming the file and the line.
    """
    database: dict[str, Any] = {}
    for place, row in read_table(path, {"labels": LABELS}, INFO, findings):
        entry = {key: row[key] for key in INFO if row.get(key)}
        names = [name.strip() for name in row["labels"].split("|")]
        entry["annotations"] = [{"label": name} for name in dict.fromkeys(names) if name]
        if row[VIDEO] in database:
            text = f"{place}: video {row[VIDEO]!r} stands twice; keep one, write labels as a|b"
            findings.add("duplicate", text, row[VIDEO])
        database[row[VIDEO]] = entry
    return {"database": database, "default_subset": "training"}


def fill_in(
    database: dict[str, Any], path: str | os.PathLike | None, findings: Findings
) -> dict[str, Any]:
    """The entries with what --video_info says of subset, fps and duration, where they do not.

    Raises:
      UserError: naming the file and the line.
    """
    if path is None:
        return database
    info: dict[str, dict[str, str]] = {}
    for place, row in read_table(path, {}, INFO, findings):
        if info.setdefault(row[VIDEO], row) != row:
            text = f"{place}: video {row[VIDEO]!r} stands twice and differs; keep one"
            findings.add("duplicate", text, row[VIDEO])
    if database and not set(info) & set(database):
        text = (
            f"{path}: names none of the annotated videos, which are called {next(iter(database))!r}"
            " and so on; give it the same ids"
        )
        findings.add("annotation", text)
    filled = {}
    for key, entry in database.items():
        if isinstance(entry, dict):
            said = {name: info[key][name] for name in INFO if info.get(key, {}).get(name)}
            entry = {**said, **{name: item for name, item in entry.items() if item is not None}}
        filled[key] = entry
    return filled


def parse(path: str | os.PathLike, raw: dict[str, Any], findings: Findings) -> Annotations:
    """Typed annotations; broken entries and labels that are no class are left out and kept as
    findings where those are collected.

    Raises:
      UserError: naming the file, the video and the mend.
    """
    if findings.collecting:
        known = None
        if raw.get("classes") is not None:
            with findings.catching("annotation"), in_file(path):
                known = list(parse_classes(raw["classes"]))
        database = {}
        for key, entry in raw["database"].items():
            with findings.catching("annotation", key):
                database[key] = _cleaned(path, key, entry, known, findings)
        raw = {**raw, "classes": known, "database": database}
    return parse_annotations_of(path, raw)


def parse_annotations_of(path: str | os.PathLike, raw: Any) -> Annotations:
    """:func:`parse_annotations` with the file in its errors."""
    with in_file(path):
        return parse_annotations(raw)


@contextlib.contextmanager
def in_file(path: str | os.PathLike) -> Iterator[None]:
    """Names the file in the block's errors."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


@contextlib.contextmanager
def intervals(findings: Findings, video: str = "") -> Iterator[None]:
    """Keeps what is wrong with an interval that the block parses, as the kind that it is."""
    with findings.catching("annotation", video):
        try:
            yield
        except UserError as error:
            kinds = [kind for text, kind in TOLD_BY.items() if text in str(error)]
            raise Defect(kinds[0] if kinds else "annotation", str(error)) from None


def read_raw(path: str | os.PathLike, findings: Findings) -> Any:
    """Decoded JSON, whose repeated keys are findings; the last of them stays.

    Raises:
      UserError: naming the file, if it cannot be read.
    """
    if not findings.collecting:
        return read_json(path)
    value = read_json(path, unique_keys=False)

    def count(pairs: list[tuple[str, Any]]) -> None:
        for key, number in Counter(key for key, _ in pairs).items():
            if number > 1:
                text = f"{path}: the key {key!r} stands {number} times in one object"
                findings.add("duplicate", text, key)

    json.loads(pathlib.Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=count)
    return value


def _cleaned(
    path: str | os.PathLike,
    key: str,
    entry: Any,
    known: Container[str] | None,
    findings: Findings,
) -> dict[str, Any]:
    """The entry without what is broken in it."""
    what = f"{path}: video {key!r}"
    if not isinstance(entry, dict) or not isinstance(entry.get("annotations", []), list):
        raise Defect("annotation", f"{what}: is not an object with a list of annotations")
    if not isinstance(entry.get("subset"), str) or not entry["subset"]:
        raise Defect("annotation", f'{what}: "subset" is missing')
    kept: dict[str, Any] = {"subset": entry["subset"], "annotations": [], "ambiguous": []}
    for name in ("fps", "duration"):
        with findings.catching("annotation", key):
            if entry.get(name) is not None:
                number = parse_number(entry[name], f"{what}: {name}")
                if number <= 0:
                    raise Defect("annotation", f"{what}: {name} is {number}; it must be positive")
                kept[name] = number
    if not isinstance(entry.get("ambiguous", []), list):
        raise Defect("annotation", f"{what}: its ambiguous intervals are no list")
    for item in entry.get("ambiguous", []):
        with intervals(findings, key):
            parse_segment(item, f"{what}: an ambiguous interval")
            kept["ambiguous"].append(item)
    for item in entry.get("annotations", []):
        with findings.catching("annotation", key):
            kept["annotations"].append(_cleaned_item(what, key, item, known, findings))
    return kept


def _cleaned_item(
    what: str, key: str, item: Any, known: Container[str] | None, findings: Findings
) -> dict[str, Any]:
    label = item.get("label") if isinstance(item, dict) else None
    if not isinstance(label, str) or not label:
        raise Defect("annotation", f"{what}: an annotation has no label")
    if known is not None and label not in known:
        raise Defect("label", f"{what}: its label {label!r} is not among the classes")
    segment = item.get("segment")
    if segment is not None:
        with intervals(findings, key):
            parse_segment(segment, f"{what}: the segment of {label!r}")
            return {"label": label, "segment": segment}
    return {"label": label}  # with a broken segment, the video shows the class all the same
