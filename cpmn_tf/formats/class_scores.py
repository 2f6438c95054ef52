"""Video-level class scores of another model: `--class_scores`.

The paper's localization takes its top-k classes and p_class from such scores (UntrimmedNet's on
THUMOS14). Formats, by suffix:

- `.npy`: a [rows, columns] array. ``rows`` says which video each row is, ``columns`` which class
  each column is; neither is in the file.
- `.csv`: a header ``video,CLASS,CLASS,…`` and a line per video.
- `.json`: ``{VIDEO: {CLASS: score}}``, or ActivityNet's classification result
  ``{"results": {VIDEO: [{"label", "score"}]}}``; a class that a video does not list scores 0. Or
  ``{"results": {VIDEO: [score, …]}, "class": [CLASS, …]}``, as CUHK's for ActivityNet.

Scores are probabilities, in [0, 1] after ``scale``. Imports no TensorFlow.
"""

import math
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotations import parse_number
from cpmn_tf.formats.arrays import open_array
from cpmn_tf.formats.names import alike, nfc, other_ids, plain_label
from cpmn_tf.formats.tables import filled_lines, read_table

_ROUNDING = 1e-4  # a sum of float32 softmaxes may pass its bound by so much

# All scores of a file: videos, classes (None for a column without a name), [videos, classes].
_Table = tuple[Sequence[str], Sequence[str | None], np.ndarray]
# A place for messages that names the video, the video, a class, and its score as it is written.
_Cells = Iterable[tuple[str, str, str, Any]]


def load_class_scores(
    path: str | os.PathLike,
    *,
    video_ids: Sequence[str],
    classes: Sequence[str],
    scale: float | None = None,
    rows: str | None = None,
    columns: str | None = None,
    known_ids: Iterable[str] | None = None,
) -> np.ndarray:
    """Scores of the given videos and classes, in their order.

    Args:
      path: `.npy`, `.csv` or `.json`; see the module.
      video_ids: V videos that need scores.
      classes: C class names of the data set.
      scale: what every score is multiplied by; needed where scores exceed 1. A sum of two streams'
        softmaxes wants 0.5.
      rows: `.npy` only: a text file with a video id per row, or a pattern for the row's number
        counted from 1, such as ``video_test_{:07d}``.
      columns: a text file that names the columns, a line each: the name, or the column's number
        counted from 1 and the name, as `detclasslist.txt` of THUMOS14 has it; columns may stay
        unnamed. Names beyond the data set's are not read. Without it, columns of an `.npy` are the
        data set's classes in their order; in `.csv` and `.json` the names that it lists beyond the
        data set's are allowed, as are those of "class", all others are errors.
      known_ids: all videos of the data set, so that `.csv` and `.json` may cover other splits
        (default: ``video_ids``).

    Returns:
      [V, C] float32 in [0, 1].

    Raises:
      UserError: naming the file, and the video or class, and the fix.
    """
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UserError(f"`scale={scale}` must be a positive number")
    suffix = pathlib.Path(path).suffix.lower()
    named = {} if columns is None else _column_names(columns)
    if suffix == ".npy":
        columns_of = named or dict(enumerate(classes))
        videos, labels, scores = _array_table(path, rows, columns, columns_of)
    elif suffix not in (".csv", ".json"):
        raise UserError(f"{path}: class scores are read from .npy, .csv or .json")
    elif rows is not None:
        raise UserError(f"`rows={rows}` is for .npy; {path} names its videos itself")
    else:
        known, allowed = {*video_ids, *(known_ids or ())}, {*classes, *named.values()}
        if suffix == ".csv":
            cells = _csv_cells(path)
        else:
            content, order = _json_results(path)
            if order and named and named != dict(enumerate(order)):
                raise UserError(f'`columns={columns}` is not "class" of {path}; leave it out')
            allowed |= {*order}
            last = max(named, default=-1)
            cells = _json_cells(path, content, order or [*map(named.get, range(last + 1))])
        videos, labels, scores = _cells_table(cells, known, allowed)
    _check_largest(path, scores, scale)
    row_of = {nfc(name): place for place, name in enumerate(videos)}
    column_of = {nfc(name): place for place, name in enumerate(labels) if name is not None}
    for label in classes:
        if nfc(label) not in column_of:
            where = columns if columns is not None and suffix == ".npy" else path
            for text in alike([label, *filter(None, labels)], plain_label):
                raise UserError(f"{where}: the labels {text}")
            raise UserError(f"{where}: has no scores of the class {label!r}; add them")
    missing = [video for video in video_ids if nfc(video) not in row_of]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path}: has no scores of the video {missing[0]!r}{others}; add them")
    rows_wanted = [row_of[nfc(video)] for video in video_ids]
    columns_wanted = [column_of[nfc(label)] for label in classes]
    return np.minimum(scores[np.ix_(rows_wanted, columns_wanted)] * (scale or 1.0), 1.0).astype(
        np.float32
    )


def _cells_table(cells: _Cells, known: set[str], allowed: set[str]) -> _Table:
    """The table of a file that names videos and classes; what is not there scores 0."""
    rows: dict[str, dict[str, float]] = {}
    ids, names = ({nfc(name): name for name in some} for some in (known, allowed))
    for place, video, label, value in cells:
        video, label = ids.get(nfc(video), video), names.get(nfc(label), label)
        if video not in known:
            for other in other_ids(video) & known:
                raise UserError(f"{place} is {other!r} in the data set; call it so in both")
            raise UserError(f"{place} is not in the data set; remove it")
        if label not in allowed:
            raise UserError(
                f"{place}: {label!r} is not a class of the data set; remove it, or name all the "
                "file's classes with `columns`"
            )
        what = f"{place}, class {label!r}: the score"
        if label in rows.setdefault(video, {}):
            raise UserError(f"{what} is there twice; keep one of them")
        score = rows[video][label] = parse_number(value, what)
        if score < 0:
            raise UserError(f"{what} {score} is negative; scores are probabilities")
    classes = list(dict.fromkeys(label for row in rows.values() for label in row))
    scores = [[row.get(label, 0.0) for label in classes] for row in rows.values()]
    return list(rows), classes, np.array(scores).reshape(len(rows), len(classes))


def _csv_cells(path: str | os.PathLike) -> _Cells:
    for place, row in read_table(path, {"video": ("video", "video_id", "id")}):
        video = row.pop("video")
        for label, value in row.items():
            yield f"{place}: video {video!r}", video, label, value


def _json_results(path: str | os.PathLike) -> tuple[dict[str, Any], list[str]]:
    """Entries by video, and the classes of lists of scores where "class" names them."""
    value, order = read_json(path), []
    if isinstance(value, dict) and isinstance(value.get("results"), dict):
        value, order = value["results"], value.get("class", [])
    if not isinstance(value, dict):
        text = f"{path}: is not a JSON object of videos; write {{VIDEO: {{CLASS: score}}}}"
        raise UserError(text)
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        raise UserError(f'{path}: "class" is not a list of names; write one for each score')
    return value, order


def _json_cells(
    path: str | os.PathLike, content: dict[str, Any], order: Sequence[str | None]
) -> _Cells:
    for video, entry in content.items():
        place = f"{path}: video {video!r}"
        pairs: Iterable[tuple[Any, Any]]
        if isinstance(entry, dict):
            pairs = entry.items()
        elif not isinstance(entry, list):
            raise UserError(f"{place}: is not an object of scores; write {{CLASS: score}}")
        elif all(isinstance(item, dict) for item in entry):
            pairs = [(item.get("label"), item.get("score")) for item in entry]
        elif len(entry) == len(order):
            pairs = zip(order, entry, strict=True)
        elif order:
            raise UserError(f"{place}: has {len(entry)} scores for {len(order)} classes; fix it")
        else:
            raise UserError(
                f'{place}: its scores have no classes; name them in a list "class" beside '
                '"results", or with `columns`'
            )
        for label, score in pairs:
            if not isinstance(label, str):
                raise UserError(f'{place}: a score has no class; write "label" and "score"')
            yield place, video, label, score


def _array_table(
    path: str | os.PathLike, rows: str | None, columns: str | None, named: dict[int, str]
) -> _Table:
    """The table of an array; every score is checked, also of rows that are not wanted."""
    array = open_array(path, ("videos", "classes"))
    height, width = array.shape
    ids = _row_ids(path, rows, height)
    if columns is None and width != len(named):
        raise UserError(
            f"{path}: has {width} columns for {len(named)} classes; name its columns with `columns`"
        )
    last = max(named, default=-1)
    if last >= width:
        raise UserError(
            f"{columns}: names column {last + 1} ({named[last]!r}), but {path} has {width} columns"
        )
    scores = np.asarray(array, np.float64)
    wrong = np.argwhere(~np.isfinite(scores) | (scores < 0))
    if len(wrong):
        row, column = wrong[0].tolist()
        what = f"class {named[column]!r}" if column in named else f"column {column + 1}"
        raise UserError(
            f"{path}: video {ids[row]!r}, {what}: the score {scores[row, column]} is negative or "
            "not finite; scores are probabilities"
        )
    return ids, [named.get(column) for column in range(width)], scores


def _row_ids(path: str | os.PathLike, rows: str | None, number: int) -> list[str]:
    if rows is None:
        raise UserError(
            f"{path}: does not say whose scores its rows are; give `rows`, a file "
            "with an id per row or a pattern such as video_test_{:07d}"
        )
    if "{" in rows and not os.path.exists(rows):
        try:
            ids = [rows.format(row + 1) for row in range(number)]
        except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
            text = f"`rows={rows}` is no pattern ({error}); write video_test_{{:07d}}"
            raise UserError(text) from None
    else:
        ids = [line for _, line in filled_lines(rows)]
        if len(ids) != number:
            raise UserError(f"{rows}: holds {len(ids)} ids, but {path} has {number} rows")
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"`rows={rows}` gives the video {twice!r} two rows")
    return ids


def _column_names(path: str) -> dict[int, str]:
    """Column (from 0) to class name, from ``NAME`` or ``NUMBER NAME`` lines."""
    lines = list(filled_lines(path))
    parts = [line.split(None, 1) for _, line in lines]
    numbered = all(len(part) == 2 and re.fullmatch(r"\d{1,9}", part[0]) for part in parts)
    names: dict[int, str] = {}
    for row, (place, line) in enumerate(lines):
        column, name = (int(parts[row][0]) - 1, parts[row][1]) if numbered else (row, line)
        if column < 0 or column in names or name in names.values():
            raise UserError(f"{place}: {line!r} repeats a column or class, or counts from 0")
        names[column] = name
    if not names:
        raise UserError(f"{path}: is empty; write a class name per line")
    return names


def _check_largest(path: str | os.PathLike, scores: np.ndarray, scale: float | None) -> None:
    largest = float(scores.max(initial=0.0))
    if largest * (scale or 1.0) <= 1 + _ROUNDING:
        return
    with np.errstate(over="ignore"):
        middle = float(np.median(scores.sum(axis=1)))
    advice = "what brings them to [0, 1]"
    if 1.5 < middle < math.inf and abs(middle - round(middle)) < 0.01:  # a sum of softmaxes
        advice = f"its rows sum to {round(middle)}, so {1 / round(middle):.3g}"
    given = "" if scale is None else f" times `scale={scale:g}`"
    raise UserError(f"{path}: scores reach {largest:.4g}{given}, above 1; give `scale` ({advice})")
