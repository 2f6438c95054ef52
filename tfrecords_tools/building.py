"""Turns a source into a data set: splits, trimming, the type on disk, one record a video."""

import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cpmn_tf.data.manifest import Manifest, StreamSpec, check_split
from cpmn_tf.data.records import VideoRecord
from cpmn_tf.data.schema import DTYPES
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced
from cpmn_tf.formats.annotations import Annotations, Video
from tfrecords_tools.checks import (
    First,
    check_labels,
    check_names,
    check_segments,
    check_streams,
    common_units,
    odd_length,
    training_split,
)
from tfrecords_tools.findings import raise_errors
from tfrecords_tools.sources import Source, SourceSettings, SourceVideo, open_source
from tfrecords_tools.writing import write_metadata, write_shards

PROGRESS = 5.0  # seconds between two lines of progress
MAX_SHARDS = 1000  # per split: each is an open file while records are written


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltRecords:
    """What :func:`build_records` wrote; prints as a summary.

    Attributes:
      manifest: of the data set; ``manifest.folder`` is where it is.
      trimmed: videos whose longer stream was cut to the shorter.
      zeros: streams in which a forced float16 turned values into zero.
      odd_lengths: videos whose units and duration disagree by more than 10 % and two units.
      notes: what the source has to tell.
      dtype_reason: why float32 was taken; '' otherwise.

    >>> data = {"features_dir": "features", "annotations": "labels.json", "unit_frames": 16}
    >>> build_records(source="folders", output_dir="built", **data).manifest.rate
    1.5625
    """

    manifest: Manifest
    trimmed: int
    zeros: int
    odd_lengths: int
    notes: tuple[str, ...]
    dtype_reason: str = ""

    def __str__(self) -> str:
        manifest, lines = self.manifest, []
        for split, shards in manifest.splits.items():
            units = sum(shard.units for shard in shards)
            size = sum(shard.bytes for shard in shards) / 2**20
            lines.append(
                f"{split}: {manifest.num_videos(split)} videos, {units} units, "
                f"{len(shards)} shards, {size:.1f} MiB"
            )
        streams = ", ".join(f"{spec.name} {spec.width}" for spec in manifest.streams)
        since = f", since {self.dtype_reason}" if self.dtype_reason else ""
        rate = "differs" if manifest.rate is None else f"{manifest.rate:g}"
        lines += [
            f"streams: {streams}; {manifest.dtype}{since}",
            f"classes: {len(manifest.classes)}; units per second: {rate}",
            f"trimmed to the shorter stream: {self.trimmed} videos",
        ]
        if self.zeros:
            lines.append(
                f"float16 was forced: in {self.zeros} streams values that are not zero became zero"
            )
        if self.odd_lengths:
            lines.append(
                f"warning: {self.odd_lengths} videos' units and durations disagree by over 10 %; "
                "check `unit_frames` and fps"
            )
        return "\n".join([*lines, *self.notes, f"records are in {manifest.folder}"])


def build_records(
    *,
    output_dir: str | os.PathLike,
    source: str = "folders",
    dtype: str = "auto",
    shards: int | None = None,
    holdout: str | None = None,
    holdout_from: str = "training",
    holdout_to: str = "validation",
    overwrite: bool = False,
    allow_empty_classes: bool = False,
    **settings: Any,
) -> BuiltRecords:
    """Builds a data set of records from a source's features and annotations.

    Args:
      output_dir: the data set's folder, made here; after an error nothing is left in it.
      source: the layout that is read, one of :data:`tfrecords_tools.sources.SOURCES`.
      dtype: ``float16``, ``float32``, or ``auto``: float16 unless values overflow or become zero.
      shards: number of shards per split; None starts a new one every 128 MiB.
      holdout: a regular expression; videos of ``holdout_from`` whose whole id matches are given to
        the split ``holdout_to``.
      holdout_from: the subset that ``holdout`` takes from.
      holdout_to: a new split.
      overwrite: whether a data set that is in the folder is replaced.
      allow_empty_classes: whether classes without a labelled video in the training split, such as
        ``training``, are no error.
      **settings: fields of :class:`tfrecords_tools.sources.SourceSettings`, such as
        ``features_dir``, ``annotations``, ``unit_frames`` and ``fps``.

    Raises:
      UserError: naming the file, the video and the fix.
    """
    if dtype not in ("auto", *DTYPES):
        raise UserError(f"`dtype={dtype}` is none of auto, {', '.join(DTYPES)}")
    if shards is not None and not 1 <= shards <= MAX_SHARDS:
        raise UserError(f"`shards={shards}` is not in 1..{MAX_SHARDS}")
    output = pathlib.Path(output_dir)
    _check_output(output, overwrite)
    opened = open_source(source, SourceSettings(**settings))
    check_names(opened.annotations, raise_errors)
    durations = [video.duration for video in opened.annotations.videos.values() if video.duration]
    check_segments(opened.annotations, durations, raise_errors)
    splits = assign_splits(opened.annotations, holdout, holdout_from, holdout_to)
    notes = list(opened.annotations.notes)

    def told(kind: str, message: str, video: str = "") -> None:
        raise_errors(kind, message, video)
        notes.append(message.partition("; ")[0])

    training = training_split(list(splits.values()))
    check_labels(opened.annotations, splits, training, allow_empty_classes, told)
    facts = dict(opened.facts)
    if holdout is not None:
        facts["holdout"] = {"pattern": holdout, "from": holdout_from, "to": holdout_to}
    with replaced(output) as folder:
        folder.mkdir()
        try:
            try:
                built = _Build(opened, splits, dtype).write(folder, shards, facts)
            except _NeedsFloat32 as lost:
                print(f"float32 it is, since {lost}; starting over", flush=True)
                for path in folder.iterdir():
                    path.unlink()
                built = _Build(opened, splits, "float32", str(lost)).write(folder, shards, facts)
        except (OSError, tf.errors.OpError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise UserError(f"{output}: cannot be written ({reason}); check its disk") from error
        if output.exists():  # only with `overwrite`; the old folder goes away with the scratch
            os.replace(output, folder.parent / "old")
    manifest = dataclasses.replace(built.manifest, folder=output)
    return dataclasses.replace(built, manifest=manifest, notes=(*notes, *built.notes))


def _check_output(output: pathlib.Path, overwrite: bool) -> None:
    if output.is_symlink() or output.is_file():
        raise UserError(f"{output}: is not a folder; choose another `output_dir`")
    if not output.exists() or not any(output.iterdir()):
        return
    if not overwrite:
        raise UserError(f"{output}: is there already; add `overwrite=True` or choose another")
    if not (output / "manifest.json").is_file():
        raise UserError(f"{output}: holds no data set, so that it is not overwritten; remove it")


class _NeedsFloat32(Exception):
    """A value met while float16 was tried."""


def assign_splits(
    annotations: Annotations, holdout: str | None, taken_from: str, given_to: str
) -> dict[str, str]:
    """The split of each video: its subset, or ``given_to`` for those held out.

    Raises:
      UserError: if ``holdout`` matches no video or every video, or ``given_to`` is taken.
    """
    splits = {video.id: video.subset for video in annotations.videos.values()}
    if holdout is None:
        return splits
    try:
        pattern = re.compile(holdout)
    except re.error as error:
        raise UserError(f"`holdout={holdout}`: is not a regular expression ({error})") from None
    check_split(given_to)
    if given_to in splits.values():
        raise UserError(f"the subset {given_to!r} is there already; choose another `holdout_to`")
    candidates = [key for key, subset in splits.items() if subset == taken_from]
    held = [key for key in candidates if pattern.fullmatch(key)]
    if not held or len(held) == len(candidates):
        raise UserError(
            f"`holdout={holdout}`: matches {len(held)} of the {len(candidates)} videos of "
            f"{taken_from!r}; it must match some and leave some"
        )
    return {**splits, **dict.fromkeys(held, given_to)}


class _Build:
    """One data set in the making; counts what :class:`BuiltRecords` tells.

    With dtype ``auto``, a value that float16 would lose raises :class:`_NeedsFloat32`.
    """

    def __init__(self, source: Source, splits: Mapping[str, str], dtype: str, reason: str = ""):
        self._source, self._splits, self._reason = source, splits, reason
        self._strict = dtype == "auto"
        self._dtype = "float16" if self._strict else dtype
        self._index = {name: place for place, name in enumerate(source.annotations.classes)}
        self._first: First = {}
        self._written: dict[str, Video] = {}
        self._rates: set[float] = set()
        self._counts = {"trimmed": 0, "zeros": 0, "odd_lengths": 0}
        self._told = time.monotonic()

    def write(self, folder: pathlib.Path, shards: int | None, facts: dict) -> BuiltRecords:
        """Writes shards and metadata into an empty folder."""
        videos = self._source.videos(self._splits)
        first = next(videos)
        widths = {name: values.shape[1] for name, values in first.features.items()}
        manifest = Manifest(
            streams=tuple(StreamSpec(*item) for item in widths.items()),
            dtype=self._dtype,
            rate=None,
            classes=self._source.annotations.classes,
            splits={},
            source=facts,
        )
        records = _ahead(map(self._record, itertools.chain([first], videos)))
        manifest = write_shards(folder, manifest, records, shards=shards)
        if len(self._rates) == 1:
            manifest = dataclasses.replace(manifest, rate=self._rates.pop())
        # In the annotations' order, so that the file does not depend on the source's.
        written = {key: self._written[key] for key in self._splits if key in self._written}
        write_metadata(folder, manifest, written)
        notes = tuple(self._source.notes)
        return BuiltRecords(
            manifest=manifest, notes=notes, dtype_reason=self._reason, **self._counts
        )

    def _record(self, video: SourceVideo) -> tuple[str, VideoRecord]:
        """A video's split and record."""
        if time.monotonic() - self._told >= PROGRESS:
            self._told = time.monotonic()
            print(f"{len(self._written)} of {len(self._splits)} videos", flush=True)
        known, split = self._source.annotations.videos[video.id], self._splits[video.id]
        check_streams(video.id, video.features, self._first, raise_errors)
        units = common_units(video.id, video.features, raise_errors)
        duration = known.duration or units / video.rate
        features = {
            name: self._stored(video.id, name, values[:units])
            for name, values in video.features.items()
        }
        self._counts["trimmed"] += any(len(values) > units for values in video.features.values())
        self._counts["odd_lengths"] += odd_length(units, video.rate, duration)
        self._rates.add(video.rate)
        self._written[video.id] = dataclasses.replace(known, subset=split, duration=duration)
        return split, VideoRecord(
            id=video.id,
            duration=duration,
            rate=video.rate,
            labels=tuple(self._index[label] for label in known.labels),
            segments=tuple((i.start, i.end, self._index[i.label]) for i in known.instances),
            features=features,
        )

    def _stored(self, key: str, name: str, values: np.ndarray) -> np.ndarray:
        """The values in float16 where that is the type, unless it would lose them."""
        if self._dtype != "float16":
            return values
        half = to_float16(values)
        overflow, zeros = float16_losses(values, half)
        if self._strict and (overflow or zeros):
            raise _NeedsFloat32(f"in video {key!r}, {name}, {overflow or zeros}")
        if overflow:
            raise UserError(f"video {key!r}: {name}: {overflow}; use `dtype=float32`")
        self._counts["zeros"] += bool(zeros)
        return half


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The items (none is None), the next one being made while the last one is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item


def to_float16(values: np.ndarray) -> np.ndarray:
    """The nearest float16 values, ties to even, as NumPy's ``astype`` gives them.

    TensorFlow's cast is used: it is the processor's own instruction, NumPy's a loop.
    """
    if values.dtype == np.float16:
        return values
    return np.asarray(memoryview(tf.cast(values, tf.float16)))  # unlike .numpy(), no copy


def float16_losses(values: np.ndarray, half: np.ndarray) -> tuple[str, str]:
    """Says which value overflowed, and how many became zero, when values became ``half``."""
    overflow = zeros = ""
    bits = half.view(np.uint16) & 0x7FFF  # without signs: as the values' magnitudes are ordered
    if bits.max(initial=0) >= 0x7C00:
        overflow = f"{np.abs(values).max():.6g} overflows float16"
    lost = np.count_nonzero(values != 0) - np.count_nonzero(bits)
    if lost:
        percent = 100 * lost / values.size
        zeros = f"{lost} values ({percent:.2g} %) that are not zero become zero in float16"
    return overflow, zeros
