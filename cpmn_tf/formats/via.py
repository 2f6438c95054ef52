"""Projects of VIA 3, the VGG Image Annotator for videos: detections in, and segments out.

A segment is an entry of ``metadata`` with two times ``z``, in seconds, and the class as the value
of the attribute that the tool draws its time lines of. Imports no TensorFlow.
"""

import os
from typing import Any

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from cpmn_tf.formats.annotations import listing, mapping
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.labelling import Labelled, id_of, location

_SEGMENTS = "FILE1_Z2_XY0"  # an attribute of segments: of one file, two times, no place
_TEXT, _CHECKBOX, _SELECT = 1, 2, 4  # kinds of attributes
_VIDEO, _HTTP, _RELATIVE = 4, 2, 3  # a kind of file, and where files are
_FORM = '{"attribute": {}, "file": {}, "view": {}, "metadata": {}} (save the project in VIA 3)'


def via_project(detections: Detections, *, media: str) -> dict[str, Any]:
    """A project with a video per view, its detections as segments on a time line per class.

    The score is a second attribute of each segment.

    Args:
      detections: what was found.
      media: where VIA finds a video, with ``{}`` for its id: a URL, or a path from VIA's own file.
    """
    files, metadata = {}, {}
    for number, (video, found) in enumerate(detections.by_video(), start=1):
        key = str(number)
        source = location(media, video)
        files[key] = {
            "fid": key,
            "fname": f"{video}.mp4",  # what is shown, and read back
            "type": _VIDEO,
            "loc": _HTTP if source.startswith(("http://", "https://")) else _RELATIVE,
            "src": source,
        }
        for place, (label, start, end, score) in enumerate(found):
            metadata[f"{key}_{place:08}"] = {
                "vid": key,
                "flg": 0,
                "z": [start, end],
                "xy": [],
                "av": {"1": label, "2": f"{score:.4g}"},
            }
    # Options are named by themselves: the names of time lines are the options' keys.
    classes = _attribute("TEMPORAL-SEGMENTS", _SELECT, {name: name for name in detections.classes})
    return {
        "project": {
            "pid": "__VIA_PROJECT_ID__",  # VIA's own marks of a project that is not shared
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "Detections",
            "creator": "cpmn_tf",
            "created": 0,
            "data_format_version": "3.1.1",
            "vid_list": list(files),
        },
        "config": {
            "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
            "ui": {"file_content_align": "center", "gtimeline_visible_row_count": "4"},
        },
        "attribute": {"1": classes, "2": _attribute("score", _TEXT, {})},
        "file": files,
        "view": {key: {"fid_list": [key]} for key in files},
        "metadata": metadata,
    }


def _attribute(name: str, kind: int, options: dict[str, str]) -> dict[str, Any]:
    return {
        "aname": name,
        "anchor_id": _SEGMENTS,
        "type": kind,
        "desc": "",
        "options": options,
        "default_option_id": "",
    }


def read_via(path: str | os.PathLike) -> Labelled:
    """The segments of a saved project.

    The class is the first attribute of segments, as in the tool. Whether a video without a segment
    was looked at the project does not say: it is left out.

    Raises:
      UserError: naming the file, the entry and the fix.
    """
    value = mapping(read_json(path), f"{path}: the file", _FORM)
    parts = (value.get(name) for name in ("attribute", "file", "view", "metadata"))
    attributes, files, views, metadata = (
        mapping(part, f"{path}: a part of the project", _FORM) for part in parts
    )
    classes = {
        key: entry
        for key, entry in attributes.items()
        if mapping(entry, f"{path}: attribute {key!r}", _FORM).get("anchor_id") == _SEGMENTS
    }
    if not classes:
        raise UserError(f"{path}: has no attribute of temporal segments; label some in VIA 3")
    key, attribute = next(iter(classes.items()))
    options = mapping(attribute.get("options") or {}, f"{path}: the options of {key!r}", _FORM)
    labelled = Labelled()
    used: dict[str, str] = {}
    for name, item in metadata.items():
        what = f"{path}: metadata {name!r}"
        item = mapping(item, what, _FORM)
        times = listing(item.get("z"), f'{what}: its "z"', _FORM)
        if len(times) != 2 or item.get("xy"):
            labelled.left_out["regions of pictures, and moments"] += 1
            continue
        written = mapping(item.get("av"), f'{what}: its "av"', _FORM).get(key)
        if not isinstance(written, str) or not written:
            labelled.left_out["segments without a label"] += 1
            continue
        chosen = written.split(",") if attribute.get("type") == _CHECKBOX else [written]
        view = str(item.get("vid"))
        video = _video_of(views.get(view), files, what)
        if used.setdefault(video, view) != view:
            raise UserError(f"{what}: video {video!r} is in another view, too; remove one of them")
        labelled.add(video, [options.get(option, option) for option in chosen], times, what)
    labelled.left_out["videos without a segment"] += len(views) - len(used)
    return labelled


def _video_of(view: Any, files: dict[str, Any], what: str) -> str:
    """The id of the one video of a view."""
    keys = listing(
        mapping(view, f"{what}: its view", _FORM).get("fid_list"), f"{what}: its files", _FORM
    )
    if len(keys) != 1:
        raise UserError(f"{what}: its view shows {len(keys)} files; label one video per view")
    file = mapping(files.get(str(keys[0])), f"{what}: its file", _FORM)
    if not isinstance(file.get("fname"), str):
        raise UserError(f'{what}: its file has no "fname"; save the project anew')
    return id_of(file["fname"])
