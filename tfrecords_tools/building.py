"""Turns a source into a data set: splits, trimming, the type on disk, one record a video."""

import concurrent.futures
import dataclasses
import pathlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cpmn_tf.data.manifest import Manifest, StreamSpec, check_split, check_stream
from cpmn_tf.data.records import VideoRecord
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Video
from tfrecords_tools.sources import Source, SourceVideo
from tfrecords_tools.writing import write_metadata, write_shards

TRIM = 2  # units by which a video's streams may differ in length


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
        raise UserError(f"--holdout={holdout}: is not a regular expression ({error})") from None
    check_split(given_to)
    if given_to in splits.values():
        raise UserError(f"the subset {given_to!r} is there already; choose another --holdout_to")
    candidates = annotations.subset(taken_from).videos
    held = [key for key in candidates if pattern.fullmatch(key)]
    if not held or len(held) == len(candidates):
        raise UserError(
            f"--holdout={holdout}: matches {len(held)} of the {len(candidates)} videos of "
            f"{taken_from!r}; it must match some and leave some"
        )
    return {**splits, **dict.fromkeys(held, given_to)}


class Build:
    """One data set in the making; counts what is worth telling.

    Attributes:
      trimmed: videos whose longer stream was cut to the shorter.
      zeros: streams in which a forced float16 turned values into zero.
      odd_lengths: videos whose units and duration disagree by more than 10 % and two units.
      dtype_reason: why float32 was taken; '' otherwise.
    """

    def __init__(
        self,
        *,
        source: Source,
        splits: Mapping[str, str],
        folder: pathlib.Path,
        shards: int | None = None,
    ):
        """Makes the build; nothing is written yet.

        Args:
          source: of features and annotations.
          splits: each video's split.
          folder: an existing, empty folder.
          shards: per split; None decides by size.
        """
        self._source, self._splits, self._folder, self._shards = source, splits, folder, shards
        self._reset()

    def _reset(self) -> None:
        self._written: dict[str, Video] = {}
        self._rates: Counter[float] = Counter()
        self.trimmed = self.zeros = self.odd_lengths = 0
        self.dtype_reason = ""

    def run(self, dtype: str, facts: dict) -> Manifest:
        """Writes all; with dtype ``auto`` starts over in float32 where float16 would lose."""
        if dtype != "auto":
            return self._write(dtype, False, facts)
        try:
            return self._write("float16", True, facts)
        except _NeedsFloat32 as reason:
            print(f"float32 it is, since {reason}; starting over", flush=True)
            for path in self._folder.iterdir():
                path.unlink()
            self._reset()
            self.dtype_reason = f", since {reason}"
        return self._write("float32", False, facts)

    def _write(self, dtype: str, strict: bool, facts: dict) -> Manifest:
        videos = self._source.videos(self._splits)
        first = next(videos, None)
        if first is None:
            raise UserError("the source has no video; check the annotations and the features")
        manifest = Manifest(
            streams=tuple(
                check_stream(StreamSpec(name, values.shape[1]))
                for name, values in first.features.items()
            ),
            dtype=dtype,
            rate=None,
            classes=self._source.annotations.classes,
            splits={},
            source=facts,
        )
        records = _ahead(self._records(_chain(first, videos), dtype, strict))
        manifest = write_shards(self._folder, manifest, records, shards=self._shards)
        if len(self._rates) == 1:
            manifest = dataclasses.replace(manifest, rate=next(iter(self._rates)))
        # In the annotations' order, so that the file does not depend on the source's.
        videos = {key: self._written[key] for key in self._splits if key in self._written}
        write_metadata(self._folder, manifest, videos)
        return manifest

    def _records(
        self, videos: Iterator[SourceVideo], dtype: str, strict: bool
    ) -> Iterator[tuple[str, VideoRecord]]:
        progress = _Progress(len(self._splits))
        for video in videos:
            features, trimmed = align(video)
            self.trimmed += trimmed
            if dtype == "float16":
                features = {
                    name: self._half(video.id, name, values, strict)
                    for name, values in features.items()
                }
            yield self._splits[video.id], self._record(video, features)
            progress.step()

    def _half(self, key: str, name: str, values: np.ndarray, strict: bool) -> np.ndarray:
        """The values in float16, after what that would lose was looked at."""
        half = to_float16(values)
        bits = half.view(np.uint16) & 0x7FFF  # without signs: as the values' magnitudes are ordered
        overflow = float16_overflow(values) if bits.max(initial=0) >= 0x7C00 else ""
        lost = not overflow and np.count_nonzero(bits) != np.count_nonzero(values != 0)
        if (overflow or lost) and strict:
            reason = overflow or float16_zeros(values)
            raise _NeedsFloat32(f"in video {key!r}, {name}, {reason}")
        if overflow:
            raise UserError(f"video {key!r}: {name}: {overflow}; use --dtype=float32")
        self.zeros += lost
        return half

    def _record(self, video: SourceVideo, features: dict[str, np.ndarray]) -> VideoRecord:
        known = self._source.annotations.videos[video.id]
        index = {name: place for place, name in enumerate(self._source.annotations.classes)}
        units = len(next(iter(features.values())))
        duration = known.duration or units / video.rate
        self.odd_lengths += odd_length(units, video.rate, duration)
        self._rates[video.rate] += 1
        self._written[video.id] = dataclasses.replace(
            known, subset=self._splits[video.id], duration=duration
        )
        return VideoRecord(
            id=video.id,
            duration=duration,
            rate=video.rate,
            labels=tuple(index[label] for label in known.labels),
            segments=tuple((item.start, item.end, index[item.label]) for item in known.instances),
            features=features,
        )


def _chain(first: SourceVideo, rest: Iterator[SourceVideo]) -> Iterator[SourceVideo]:
    yield first
    yield from rest


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The items (none is None), the next one being made while the last one is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item


def align(video: SourceVideo) -> tuple[dict[str, np.ndarray], bool]:
    """The video's streams trimmed to the shortest, and whether anything was cut.

    Raises:
      UserError: if the streams differ by more than ``TRIM`` units, or there is no unit.
    """
    lengths = {name: len(values) for name, values in video.features.items()}
    shortest, longest = min(lengths.values()), max(lengths.values())
    listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if shortest == 0:
        raise UserError(f"video {video.id!r}: has no unit ({listed}); encode it anew or remove it")
    if longest - shortest > TRIM:
        raise UserError(
            f"video {video.id!r}: its streams' units differ by more than {TRIM} ({listed}); "
            "encode it anew"
        )
    features = {name: values[:shortest] for name, values in video.features.items()}
    return features, longest != shortest


def odd_length(units: int, rate: float, duration: float) -> bool:
    """Whether units and duration (seconds) disagree by more than 10 % and two units."""
    return abs(units / rate - duration) > max(2.0 / rate, 0.1 * duration)


def to_float16(values: np.ndarray) -> np.ndarray:
    """The nearest float16 values, ties to even, as NumPy's ``astype`` gives them.

    TensorFlow's cast is used: it is the processor's own instruction, NumPy's a loop.
    """
    if values.dtype == np.float16:
        return values
    return np.asarray(memoryview(tf.cast(values, tf.float16)))  # unlike .numpy(), no copy


def float16_overflow(values: np.ndarray) -> str:
    """Says which finite value float16 cannot hold; '' if it holds all."""
    largest = np.abs(values).max(initial=0.0)
    # Halfway between the largest float16, 65504, and the next power of two, rounding goes up.
    return f"{largest:.6g} overflows float16" if 65520 <= largest < np.inf else ""


def float16_zeros(values: np.ndarray) -> str:
    """Says how many values that are not zero float16 turns into zero; '' if none."""
    with np.errstate(over="ignore"):
        lost = (values.astype(np.float16) == 0) & (values != 0)
    if not lost.any():
        return ""
    return (
        f"{lost.sum()} values ({100 * lost.mean():.2g} %) that are not zero become zero in float16"
    )


class _Progress:
    """A line every few seconds, not every video."""

    def __init__(self, total: int):
        self._total, self._done, self._last = total, 0, time.monotonic()

    def step(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last >= 5:
            self._last = now
            print(f"{self._done} of {self._total} videos", flush=True)
