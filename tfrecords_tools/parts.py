"""Parts of a data set, which many processes build, and which are joined to what one would write.

Part K of N holds every N-th video of the annotations' order, from the K-th on. It is a folder of
``OUTPUT_DIR-parts``, written whole or not at all:

    00003-of-00064/records.tfrecord   serialized, in order
    00003-of-00064/part.json          settings, videos, and what was counted
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from cpmn_tf.shards import all_parts, check_part, made_anew, part_path, shard_of

FILE, RECORDS = "part.json", "records.tfrecord"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """What ``part.json`` holds.

    Attributes:
      settings: what the records depend on; the same in all parts.
      dtype: of the records, ``float16`` or ``float32``.
      reason: where float16 was tried and lost a value, the video's id and what was lost.
      bytes: the size of the records' file.
      videos: units and duration (seconds) by id, in the order of the records.
      rates: of the videos, units per second.
      streams: of the first video, by stream: its width, its units and the video's id.
      tallies: what a build counts for its summary.
      counts: of the source, (subject, what was made of it, number).
    """

    settings: Mapping[str, Any]
    dtype: str
    reason: tuple[str, str] | None
    bytes: int
    videos: Mapping[str, tuple[int, float]]
    rates: tuple[float, ...]
    streams: Mapping[str, tuple[int, int, str]]
    tallies: Mapping[str, int]
    counts: tuple[tuple[str, str, int], ...]


def load_part(path: pathlib.Path, settings: Mapping[str, Any]) -> Part:
    """Reads and checks a part's description.

    Raises:
      UserError: if it is of other settings or data, or if its records are not whole; names the
        command that makes it anew.
    """
    value = read_json(path / FILE)
    check_part(path, value["settings"], settings, {"annotated": "other annotations"})
    records = path / RECORDS
    if not records.is_file() or records.stat().st_size != value["bytes"]:
        raise UserError(
            f"{path}: the records of part {shard_of(path)} are not whole; {made_anew(path)}"
        )
    return Part(**value)


def load_parts(output: pathlib.Path, settings: Mapping[str, Any]) -> list[Part]:
    """All parts of a data set, in their order.

    Raises:
      UserError: if one is missing, is of other settings, or there are parts of several N.
    """
    return [load_part(path, settings) for path in all_parts(output)]


def joined(output: pathlib.Path, parts: list[Part]) -> Iterator[tuple[str, bytes, int]]:
    """Yields id, serialized record and units of all videos, in the one process's order.

    Raises:
      UserError: naming the part whose records are damaged.
    """
    total = len(parts)
    records = [_records(part_path(output, f"{number}/{total}")) for number in range(1, total + 1)]
    videos = [iter(part.videos.items()) for part in parts]
    for place in range(sum(len(part.videos) for part in parts)):
        key, (units, _) = next(videos[place % total])
        yield key, next(records[place % total]), units


def _records(path: pathlib.Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path / RECORDS)).as_numpy_iterator()
    except tf.errors.OpError:
        raise UserError(
            f"{path}: the records of part {shard_of(path)} are damaged; {made_anew(path)}"
        ) from None
