"""Parts of a data set, which many processes build, and which are joined to what one would write.

Part K of N holds every N-th video of the annotations' order, from the K-th on. It is a folder of
``OUTPUT_DIR-parts``, written whole or not at all:

    00003-of-00064/records.tfrecord   serialized, in order
    00003-of-00064/part.json          settings, videos, and what was counted
"""

import dataclasses
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from tfrecords_tools.findings import listed

FILE, RECORDS = "part.json", "records.tfrecord"
_NAME = re.compile(r"(\d{5})-of-(\d{5})")


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


def parts_folder(output: pathlib.Path) -> pathlib.Path:
    """The folder of the parts of a data set that will be at ``output``."""
    return output.absolute().with_name(f"{output.absolute().name}-parts")


def part_path(output: pathlib.Path, number: int, total: int) -> pathlib.Path:
    """The folder of part ``number`` of ``total``."""
    return parts_folder(output) / f"{number:05d}-of-{total:05d}"


def load_part(path: pathlib.Path, settings: Mapping[str, Any]) -> Part:
    """Reads and checks a part's description.

    Raises:
      UserError: if it is of other settings or data, or if its records are not whole; names the
        command that builds it anew.
    """
    shard = "/".join(str(int(digits)) for digits in path.name.split("-of-"))
    again = f"build it anew with `shard={shard}` and `overwrite=True`"
    value = read_json(path / FILE)
    theirs = value["settings"]
    for name in sorted({*settings, *theirs}):
        if theirs.get(name) != settings.get(name):
            what = f"{name}={theirs.get(name)!r}, not {settings.get(name)!r}"
            what = "other annotations" if name == "annotated" else what
            raise UserError(f"{path}: part {shard} was built with {what}; {again}")
    records = path / RECORDS
    if not records.is_file() or records.stat().st_size != value["bytes"]:
        raise UserError(f"{path}: the records of part {shard} are not whole; {again}")
    return Part(**value)


def load_parts(output: pathlib.Path, settings: Mapping[str, Any]) -> list[Part]:
    """All parts of a data set, in their order.

    Raises:
      UserError: if one is missing, is of other settings, or there are parts of several N.
    """
    folder = parts_folder(output)
    found = sorted(path.name for path in folder.glob("*") if _NAME.fullmatch(path.name))
    if not found:
        raise UserError(f"{folder}: there are no parts; build them with `shard=1/N` to `shard=N/N`")
    totals = sorted({int(name[-5:]) for name in found})
    if len(totals) > 1:
        several = " and of ".join(map(str, totals))
        raise UserError(f"{folder}: there are parts of {several}; remove those of one division")
    (total,) = totals
    paths = [part_path(output, number, total) for number in range(1, total + 1)]
    missing = [f"{place}/{total}" for place, path in enumerate(paths, 1) if not path.is_dir()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {total} parts are missing: {listed(missing)}; build each "
            f"with the same flags and `shard={missing[0]}`"
        )
    return [load_part(path, settings) for path in paths]


def joined(output: pathlib.Path, parts: list[Part]) -> Iterator[tuple[str, bytes, int]]:
    """Yields id, serialized record and units of all videos, in the one process's order.

    Raises:
      UserError: naming the part whose records are damaged.
    """
    total = len(parts)
    records = [
        _records(part_path(output, number, total), f"{number}/{total}")
        for number in range(1, total + 1)
    ]
    videos = [iter(part.videos.items()) for part in parts]
    for place in range(sum(len(part.videos) for part in parts)):
        key, (units, _) = next(videos[place % total])
        yield key, next(records[place % total]), units


def _records(path: pathlib.Path, shard: str) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path / RECORDS)).as_numpy_iterator()
    except tf.errors.OpError:
        raise UserError(
            f"{path}: the records of part {shard} are damaged; build it anew with `shard={shard}` "
            "and `overwrite=True`"
        ) from None


def remove_parts(output: pathlib.Path) -> None:
    """Removes all parts, and what processes that died have left of theirs."""
    folder = parts_folder(output)
    for path in folder.iterdir():
        if _NAME.match(path.name.removeprefix(".")):
            shutil.rmtree(path)
    if not os.listdir(folder):
        folder.rmdir()
