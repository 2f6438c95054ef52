"""Annotations in a CSV: of labels, a line per video, or of segments, a line per instance.

Imports no TensorFlow.
"""

import os
from typing import Any

from cpmn_tf.errors import Problem, UserError, raise_first
from cpmn_tf.formats.names import check_keys, nfc
from cpmn_tf.formats.tables import INFO, SEGMENT, VIDEO, read_table

_LABELS = {"labels": ("labels", "label")}


def read_annotation_table(
    path: str | os.PathLike, problem: Problem = raise_first
) -> dict[str, Any]:
    """Decoded annotations, as :func:`cpmn_tf.formats.annotations.parse_annotations` takes them.

    The first line may name the columns: ``video``, ``labels``, and also ``subset``, ``fps``,
    ``duration``; without such a line there are two, video and labels. Several labels are written
    ``label|label``; a video's field of labels may be empty. With columns ``start`` and ``end``
    (seconds) a line is an instance, and a video has a line for each; both may be empty. Where
    neither a column nor the features' folders say otherwise, all videos are of the subset
    ``training``.

    Args:
      path: the file.
      problem: called at each defect.

    Raises:
      UserError: naming the file, if it cannot be read.
    """
    database: dict[str, Any] = {}
    spelling: dict[str, str] = {}
    optional = {**SEGMENT, **INFO}
    table = read_table(path, {**VIDEO, **_LABELS}, optional=optional, bare=True, problem=problem)
    for place, row in table:
        check_keys(row, ("start", "end", "subset"), place)
        timed = row.keys() & SEGMENT
        if len(timed) == 1:
            raise UserError(f"{path}: has a column {timed.pop()!r} alone; give start and end")
        if not row["video"]:
            problem("id", f"{place}: names no video; add it")
            continue
        said: dict[str, Any] = {key: row[key] for key in INFO if row.get(key)}
        names = [name for name in map(str.strip, row["labels"].split("|")) if name]
        items: list[dict[str, Any]] = [{"label": name} for name in dict.fromkeys(names)]
        if timed and (row["start"] or row["end"]):
            if not items:
                problem("annotation", f"{place}: a segment without a label; add it", row["video"])
            items = [{**item, "segment": [row["start"], row["end"]]} for item in items]
        again = nfc(row["video"]) in spelling
        video = spelling.setdefault(nfc(row["video"]), row["video"])
        entry = database.setdefault(video, {**said, "annotations": []})
        if again and not timed:
            text = f"{place}: a second line of the video {video!r}; keep one, write labels as a|b"
            problem("duplicate", text, video)
        elif {**entry, **said} != entry:
            text = f"{place}: another subset, fps or duration of the video {video!r} than before"
            problem("duplicate", text, video)
        entry["annotations"] += items
    return {"database": database, "default_subset": "training"}
