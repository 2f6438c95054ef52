"""Turns a source into a data set: splits, trimming, the type on disk, one record a video."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from cpmn_tf.data.index import Entry
from cpmn_tf.data.manifest import Manifest, StreamSpec, check_split
from cpmn_tf.data.records import VideoRecord, encode
from cpmn_tf.data.schema import DTYPES
from cpmn_tf.errors import UserError
from cpmn_tf.files import local, replaced, write_json
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.shards import kept_part, part_path, remove_parts, share
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
from tfrecords_tools.parts import FILE, RECORDS, Part, joined, load_part, load_parts
from tfrecords_tools.sources import Source, SourceSettings, SourceVideo, open_source
from tfrecords_tools.writing import write_metadata, write_serialized, write_shards

Result = TypeVar("Result")
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltPart:
    """What :func:`build_part` wrote or found; prints as a summary.

    Attributes:
      shard: K/N.
      folder: where the part is.
      videos: how many it holds.
      kept: whether it was there already.

    >>> data = {"features_dir": "features", "annotations": "labels.json", "unit_frames": 16}
    >>> build_part(source="folders", output_dir="built", shard="1/1", **data).videos
    1
    """

    shard: str
    folder: pathlib.Path
    videos: int
    kept: bool

    def __str__(self) -> str:
        kept = "was there already and is kept" if self.kept else "is"
        return f"part {self.shard}: {self.videos} videos; it {kept} in {self.folder}"


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
    join: bool = False,
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
      join: whether the data set is put together of the parts that :func:`build_part` wrote, given
        the same arguments. It is the same bytes; the parts are removed at the end.
      **settings: fields of :class:`tfrecords_tools.sources.SourceSettings`, such as
        ``features_dir``, ``annotations``, ``unit_frames`` and ``fps``.

    Raises:
      UserError: naming the file, the video and the fix.
    """
    if shards is not None and not 1 <= shards <= MAX_SHARDS:
        raise UserError(f"`shards={shards}` is not in 1..{MAX_SHARDS}")
    output = local(output_dir)
    _check_output(output, overwrite)
    plan = _Plan.make(
        source=source,
        dtype=dtype,
        holdout=holdout,
        holdout_from=holdout_from,
        holdout_to=holdout_to,
        allow_empty_classes=allow_empty_classes,
        **settings,
    )
    parts = load_parts(output, plan.settings) if join else []
    with replaced(output) as folder:
        with _disk(output):
            folder.mkdir()
            if join:
                built = _join(plan, output, parts).join(output, parts, folder, shards)
            else:
                built = _in_float16(plan, folder, lambda build: build.write(folder, shards))
        if output.exists():  # only with `overwrite`; the old folder goes away with the scratch
            os.replace(output, folder.parent / "old")
    if join:
        remove_parts(output)
    manifest = dataclasses.replace(built.manifest, folder=str(output))
    return dataclasses.replace(built, manifest=manifest, notes=(*plan.notes, *built.notes))


def build_part(
    *, output_dir: str | os.PathLike, shard: str, overwrite: bool = False, **options: Any
) -> BuiltPart:
    """Builds one part of a data set, for ``build_records(join=True)``; parts are built anywhere.

    A part that is there already is kept.

    Args:
      output_dir: the data set's folder; parts are in ``OUTPUT_DIR-parts`` beside it.
      shard: K/N: every N-th video, from the K-th on.
      overwrite: whether a part of other settings is replaced; the data set may be there then.
      **options: as :func:`build_records` takes them; ``shards`` is for joining.

    Raises:
      UserError: naming the file, the video and the fix.
    """
    output = local(output_dir)
    path = part_path(output, shard)
    _check_output(output, overwrite)
    plan = _Plan.make(**options)
    wanted = share(list(plan.splits), shard)
    if kept_part(path, lambda: load_part(path, plan.settings), overwrite):
        return BuiltPart(shard=shard, folder=path, videos=len(wanted), kept=True)
    with replaced(path) as folder, _disk(path):
        folder.mkdir()
        _in_float16(plan, folder, lambda build: build.write_part(folder), wanted)
    return BuiltPart(shard=shard, folder=path, videos=len(wanted), kept=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to be built of an opened source; ``settings`` is all that the records depend on."""

    source: Source
    splits: Mapping[str, str]
    dtype: str
    facts: Mapping[str, Any]
    notes: list[str]
    settings: Mapping[str, Any]

    @classmethod
    def make(
        cls,
        *,
        source: str = "folders",
        dtype: str = "auto",
        holdout: str | None = None,
        holdout_from: str = "training",
        holdout_to: str = "validation",
        allow_empty_classes: bool = False,
        **settings: Any,
    ) -> "_Plan":
        """Opens the source and checks what can be checked without its features."""
        if dtype not in ("auto", *DTYPES):
            raise UserError(f"`dtype={dtype}` is none of auto, {', '.join(DTYPES)}")
        given = SourceSettings(**settings)
        opened = open_source(source, given)
        known = opened.annotations
        check_names(known, raise_errors)
        durations = [video.duration for video in known.videos.values() if video.duration]
        check_segments(known, durations, raise_errors)
        splits = assign_splits(known, holdout, holdout_from, holdout_to)
        notes = list(known.notes)

        def told(kind: str, message: str, video: str = "") -> None:
            raise_errors(kind, message, video)
            notes.append(message.partition("; ")[0])

        training = training_split(list(splits.values()))
        check_labels(known, splits, training, allow_empty_classes, told)
        facts = dict(opened.facts)
        if holdout is not None:
            facts["holdout"] = {"pattern": holdout, "from": holdout_from, "to": holdout_to}
        own = {name: getattr(given, name) for name in sorted(given.given() - {"drop_labels"})}
        own = {
            name: value if type(value) in (int, float) else str(value)
            for name, value in own.items()
        }
        annotated = repr((known.classes, known.videos, splits, sorted(facts.items()))).encode()
        return cls(
            source=opened,
            splits=splits,
            dtype=dtype,
            facts=facts,
            notes=notes,
            settings={
                "source": source,
                "dtype": dtype,
                **own,
                "annotated": hashlib.sha256(annotated).hexdigest(),
            },
        )


@contextlib.contextmanager
def _disk(path: pathlib.Path) -> Iterator[None]:
    """Names ``path`` where the disk refuses it."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        raise UserError(f"{path}: cannot be written ({reason}); check its disk") from error


def _in_float16(
    plan: _Plan,
    folder: pathlib.Path,
    write: "Callable[[_Build], Result]",
    wanted: Collection[str] | None = None,
) -> Result:
    """What ``write`` returns, float32 being taken if that is allowed and float16 loses a value."""
    try:
        return write(_Build(plan, plan.dtype, wanted=wanted))
    except _NeedsFloat32 as lost:
        print(f"float32 it is, since {lost}; starting over", flush=True)
        for path in folder.iterdir():
            path.unlink()
        return write(_Build(plan, "float32", lost, wanted=wanted))


def _join(plan: _Plan, output: pathlib.Path, parts: list[Part]) -> "_Build":
    """The build that parts are joined by, in their type.

    Raises:
      UserError: if one part needs float32 and another is in float16.
    """
    order = {key: place for place, key in enumerate(plan.splits)}
    reasons = [part.reason for part in parts if part.reason]
    if not reasons:
        return _Build(plan, parts[0].dtype)
    lost = _NeedsFloat32(*min(reasons, key=lambda reason: order[reason[0]]))
    narrow = [place for place, part in enumerate(parts, 1) if part.dtype == "float16"]
    if narrow:
        shard = f"{narrow[0]}/{len(parts)}"
        raise UserError(
            f"{part_path(output, shard)}: part {shard} is in float16, but float32 is needed, since "
            f"{lost}; build all parts with `dtype=float32` and `overwrite=True`"
        )
    return _Build(plan, "float32", lost)


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
    """A video's values that were lost while float16 was tried."""

    def __init__(self, video: str, what: str):
        super().__init__(video, what)
        self.reason = (video, what)

    def __str__(self) -> str:
        video, what = self.reason
        return f"in video {video!r}, {what}"


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

    def __init__(
        self,
        plan: _Plan,
        dtype: str,
        lost: _NeedsFloat32 | None = None,
        *,
        wanted: Collection[str] | None = None,
    ):
        self._plan, self._source, self._splits = plan, plan.source, plan.splits
        self._lost, self._wanted = lost, wanted
        self._strict = dtype == "auto"
        self._dtype = "float16" if self._strict else dtype
        self._index = {name: place for place, name in enumerate(self._source.annotations.classes)}
        self._first: First = {}
        self._written: dict[str, tuple[int, float]] = {}  # units and duration
        self._rates: set[float] = set()
        self._counts = {"trimmed": 0, "zeros": 0, "odd_lengths": 0}
        self._told = time.monotonic()

    def write(self, folder: pathlib.Path, shards: int | None) -> BuiltRecords:
        """Writes shards and metadata into an empty folder."""
        manifest, records = self._records()
        return self._finish(folder, write_shards(folder, manifest, records, shards=shards))

    def write_part(self, folder: pathlib.Path) -> None:
        """Writes the wanted videos' records and their description into an empty folder."""
        manifest, records = self._records()
        with tf.io.TFRecordWriter(str(folder / RECORDS)) as writer:
            for _, record in records:
                writer.write(encode(record, manifest))
        part = Part(
            settings=self._plan.settings,
            dtype=self._dtype,
            reason=self._lost.reason if self._lost else None,
            bytes=(folder / RECORDS).stat().st_size,
            videos=self._written,
            rates=tuple(sorted(self._rates)),
            streams=self._first,
            tallies=self._counts,
            counts=tuple((*key, count) for key, count in self._source.counts.items()),
        )
        write_json(folder / FILE, dataclasses.asdict(part))

    def join(
        self, output: pathlib.Path, parts: list[Part], folder: pathlib.Path, shards: int | None
    ) -> BuiltRecords:
        """Writes what :meth:`write` would into an empty folder, of the parts' records."""
        for part in parts:
            self._rates.update(part.rates)
            self._written.update(part.videos)
            for name, count in part.tallies.items():
                self._counts[name] += count
            for subject, made, count in part.counts:
                self._source.counts[subject, made] += count
            streams = {
                name: np.broadcast_to(np.float16(0), (units, width))
                for name, (width, units, _) in part.streams.items()
            }
            check_streams(next(iter(part.videos)), streams, self._first, raise_errors)
        records = (
            (self._splits[key], record, Entry(key, units, self._labels(key), len(record)))
            for key, record, units in joined(output, parts)
        )
        widths = {name: width for name, (width, _, _) in self._first.items()}
        manifest = write_serialized(folder, self._manifest(widths), records, shards=shards)
        return self._finish(folder, manifest)

    def _manifest(self, widths: Mapping[str, int]) -> Manifest:
        return Manifest(
            streams=tuple(StreamSpec(*item) for item in widths.items()),
            dtype=self._dtype,
            rate=None,
            classes=self._source.annotations.classes,
            splits={},
            source=self._plan.facts,
        )

    def _records(self) -> tuple[Manifest, Iterator[tuple[str, VideoRecord]]]:
        """A manifest without splits, and the videos' splits and records."""
        videos = self._source.videos(self._splits, self._wanted)
        first = next(videos)
        widths = {name: values.shape[1] for name, values in first.features.items()}
        records = _ahead(map(self._record, itertools.chain([first], videos)))
        return self._manifest(widths), records

    def _finish(self, folder: pathlib.Path, manifest: Manifest) -> BuiltRecords:
        """Writes the metadata beside the shards."""
        if len(self._rates) == 1:
            manifest = dataclasses.replace(manifest, rate=self._rates.pop())
        # In the annotations' order, so that the file does not depend on the source's.
        known = self._source.annotations.videos
        videos = {
            key: dataclasses.replace(known[key], subset=split, duration=self._written[key][1])
            for key, split in self._splits.items()
            if key in self._written
        }
        write_metadata(folder, manifest, videos)
        return BuiltRecords(
            manifest=manifest,
            notes=tuple(self._source.notes),
            dtype_reason=str(self._lost or ""),
            **self._counts,
        )

    def _record(self, video: SourceVideo) -> tuple[str, VideoRecord]:
        """A video's split and record."""
        if time.monotonic() - self._told >= PROGRESS:
            self._told = time.monotonic()
            number = len(self._splits if self._wanted is None else self._wanted)
            print(f"{len(self._written)} of {number} videos", flush=True)
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
        self._written[video.id] = units, duration
        return split, VideoRecord(
            id=video.id,
            duration=duration,
            rate=video.rate,
            labels=self._labels(video.id),
            segments=tuple((i.start, i.end, self._index[i.label]) for i in known.instances),
            features=features,
        )

    def _labels(self, key: str) -> tuple[int, ...]:
        """A video's classes, as indices."""
        return tuple(self._index[name] for name in self._source.annotations.videos[key].labels)

    def _stored(self, key: str, name: str, values: np.ndarray) -> np.ndarray:
        """The values in float16 where that is the type, unless it would lose them."""
        if self._dtype != "float16":
            return values
        half = to_float16(values)
        overflow, zeros = float16_losses(values, half)
        if self._strict and (overflow or zeros):
            raise _NeedsFloat32(key, f"{name}, {overflow or zeros}")
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
