"""What labelling tools have in common: files that stand for videos, and segments that come back.

Imports no TensorFlow. Times are seconds.
"""

import collections
import dataclasses
import os
import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import parse_number, parse_segment
from cpmn_tf.formats.names import nfc
from cpmn_tf.formats.tables import INFO, VIDEO, read_table

# Suffixes of what is labelled. All others belong to the name: `talk 1.2` is an id.
_MEDIA = r"\.(mp4|m4v|mov|avi|mkv|webm|mpe?g|ogv|ogg|wmv|flv|3gp|ts|csv|tsv|json)$"


def location(media: str, video: str) -> str:
    """Where a tool finds a video: the pattern ``media`` with the id, quoted as in URLs, for ``{}``.

    >>> location("https://example.com/{}.mp4", "clip 1")
    'https://example.com/clip%201.mp4'
    """
    return media.replace("{}", urllib.parse.quote(video, safe=""))


def id_of(file: str) -> str:
    """The id of the video that a tool's file is of: its name without folders and suffix.

    >>> id_of("/data/local-files/?d=clips/talk 1.2.mp4")
    'talk 1.2'
    """
    # What is uploaded to Label Studio gets eight digits in front of its name.
    name = re.sub(r"^.*/upload/\d+/[0-9a-f]{8}-", "", file)
    return re.sub(_MEDIA, "", re.split(r"[/\\]", name)[-1], flags=re.IGNORECASE)


def names_media(text: str) -> bool:
    """Whether a text ends as the name of a video, or of a table of sensors."""
    return re.search(_MEDIA, text, re.IGNORECASE) is not None


def read_video_info(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """What a CSV says of each video: any of ``fps``, ``duration`` (seconds) and ``subset``.

    Raises:
      UserError: naming the file and the line.
    """
    known: dict[str, dict[str, Any]] = {}
    for place, row in read_table(path, VIDEO, optional=INFO):
        said: dict[str, Any] = {}
        for name in ("fps", "duration"):
            if row.get(name):
                said[name] = parse_number(row[name], f"{place}: {name}", positive=True)
        if row.get("subset"):
            said["subset"] = row["subset"]
        if known.setdefault(nfc(row["video"]), said) is not said:
            raise UserError(f"{place}: a second line of the video {row['video']!r}; keep one")
    return known


@dataclasses.dataclass
class Labelled:
    """What people labelled in a tool.

    Attributes:
      segments: by video id, annotations ``{"label", "segment": [start, end]}``.
      left_out: how many regions, tasks or files were left out, by what they are.
    """

    segments: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, video: str, labels: Iterable[Any], segment: Any, what: str) -> None:
        """Takes one region, if it is not empty.

        Raises:
          UserError: that begins with ``what``, if its times are no numbers or reversed.
        """
        start, end = parse_segment(segment, f"{what}: a segment")
        if start == end:
            self.left_out["moments without a length"] += 1
            return
        items = [{"label": label, "segment": [start, end]} for label in labels]
        self.segments.setdefault(video, []).extend(items)
