"""Label Studio's JSON: detections as predictions on tasks, and exported annotations.

Of videos, regions are `timelinelabels`: whole frames counted from 1, the last one included. Of
sensors they are `timeserieslabels`, in the unit of the time column, which has to be seconds.
Imports no TensorFlow.
"""

import os
import urllib.parse
from collections.abc import Callable
from typing import Any

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotations import listing, mapping, parse_number
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.labelling import Labelled, id_of, location, names_media

Rate = Callable[[str], float]  # a video's frames per second, by its id

_TASKS = '[{"data": {}, "annotations": [{"result": []}]}]'
_REGION = '{"type": "timelinelabels", "value": {"ranges": [], "timelinelabels": []}}'
_ID = "video_id"  # of a task's data: exports give all of it back


def video_tasks(
    detections: Detections, *, rate: Rate, media: str, version: str
) -> list[dict[str, Any]]:
    """A task per video with its detections as predictions, for `TimelineLabels` called `actions`.

    Args:
      detections: what was found.
      rate: a video's frames per second. The task's data holds it as ``fps``, for ``frameRate``.
      media: where Label Studio finds a video, with ``{}`` for its id.
      version: what predictions are called, so that those of two models stay apart.
    """
    tasks = []
    for video, found in detections.by_video():
        fps = rate(video)
        regions = []
        for label, start, end, score in found:
            first = max(round(start * fps) + 1, 1)
            frames = {"start": first, "end": max(round(end * fps), first)}
            regions.append(({"ranges": [frames], "timelinelabels": [label]}, score))
        data = {"video": location(media, video), _ID: video, "fps": fps}
        tasks.append(_task(data, "timelinelabels", "video", regions, version))
    return tasks


def sensor_tasks(detections: Detections, *, media: str, version: str) -> list[dict[str, Any]]:
    """A task per recording with its detections as predictions, for `TimeSeriesLabels`.

    The arguments are those of :func:`video_tasks`.
    """
    tasks = []
    for video, found in detections.by_video():
        regions = [
            ({"start": start, "end": end, "instant": False, "timeserieslabels": [label]}, score)
            for label, start, end, score in found
        ]
        data = {"series": location(media, video), _ID: video}
        tasks.append(_task(data, "timeserieslabels", "series", regions, version))
    return tasks


def _task(
    data: dict[str, Any], kind: str, to_name: str, regions: list[tuple[dict, float]], version: str
) -> dict[str, Any]:
    names = {"from_name": "actions", "to_name": to_name, "type": kind}
    result = [
        {"id": f"detection_{number}", **names, "value": value, "score": score}
        for number, (value, score) in enumerate(regions)
    ]
    best = max((score for _, score in regions), default=0.0)
    return {
        "data": data,
        "predictions": [{"model_version": version, "score": best, "result": result}],
    }


def read_label_studio(path: str | os.PathLike, rate: Rate) -> Labelled:
    """The annotations of an export in the format JSON; predictions are no annotations.

    Of several annotations of a task the one marked as ground truth counts, or else the one changed
    last. A task that was submitted without a region is a video that shows nothing.

    Args:
      path: the export.
      rate: frames per second of a video whose task's data has no ``fps``.

    Raises:
      UserError: naming the file, the task and the fix.
    """
    labelled = Labelled()
    seen: set[str] = set()
    for number, task in enumerate(listing(read_json(path), f"{path}: the file", _TASKS), start=1):
        what = f"{path}: task {number}"
        task = mapping(task, what, _TASKS)
        if "annotations" not in task:
            raise UserError(f'{what} has no "annotations"; export as JSON, not as JSON-MIN')
        given = listing(task["annotations"], f"{what}: its annotations", _TASKS)
        drafts = [mapping(item, f"{what}: an annotation", _TASKS) for item in given]
        done = [item for item in drafts if not item.get("was_cancelled")]
        if not done:
            labelled.left_out["tasks that nobody labelled"] += 1
            continue
        labelled.left_out["further annotations of a task"] += len(done) - 1
        last = max(done, key=lambda it: (bool(it.get("ground_truth")), str(it.get("updated_at"))))
        data = mapping(task.get("data"), f"{what}: its data", _TASKS)
        video = _video_of(data, what)
        if video in seen:
            raise UserError(f"{what}: video {video!r} is in another task, too; remove one of them")
        seen.add(video)
        labelled.segments[video] = []
        what = f"{what}, video {video!r}"
        for region in listing(last.get("result"), f"{what}: its result", _TASKS):
            _add(labelled, video, mapping(region, f"{what}: a region", _REGION), data, rate, what)
    return labelled


def _video_of(data: dict[str, Any], what: str) -> str:
    if isinstance(data.get(_ID), str):
        return data[_ID]
    for value in data.values():
        if isinstance(value, str) and names_media(value):
            return id_of(urllib.parse.unquote(value))
    raise UserError(f'{what}: its data names no file of a video; add "{_ID}": ID to it')


def _add(
    labelled: Labelled,
    video: str,
    region: dict[str, Any],
    data: dict[str, Any],
    rate: Rate,
    what: str,
) -> None:
    """Takes the segments of one region, in seconds."""
    kind = region.get("type")
    if kind not in ("timelinelabels", "timeserieslabels"):
        labelled.left_out[f"regions of the type {kind!r:.60}"] += 1
        return
    value = mapping(region.get("value"), f"{what}: a region's value", _REGION)
    labels = listing(value.get(kind) or [], f"{what}: a region's {kind}", _REGION)
    if not labels:
        labelled.left_out["regions without a label"] += 1
    elif kind == "timeserieslabels":
        labelled.add(video, labels, [value.get("start"), value.get("end")], what)
    else:
        fps = data["fps"] if data.get("fps") else rate(video)
        fps = parse_number(fps, f"{what}: fps", positive=True)
        for frames in listing(value.get("ranges"), f"{what}: a region's ranges", _REGION):
            frames = mapping(frames, f"{what}: a range", _REGION)
            start, end = (
                parse_number(frames.get(key), f"{what}: a range's {key}")
                for key in ("start", "end")
            )
            # From the first frame's beginning to the last one's end; some tools count from 0.
            labelled.add(video, labels, [max(start - 1, 0) / fps, end / fps], what)
