"""Shards to what each module is fed: cascade batches, pyramid windows, whole videos (tf.data).

Everything random comes from (seed, epoch, video id) by stateless ops, so that an epoch can be
entered at any batch and gives the same bits as if it had been run from its start. Numbers of
records are shuffled, and each record is read where it stands: what waits in memory is a few.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data import records, sampling
from cpmn_tf.data.index import FRAME, Index
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError

# No Python control flow here depends on tensors; AutoGraph would take half of the start-up time.
_plainly = tf.autograph.experimental.do_not_convert

# Distinct streams of random numbers for distinct uses of the same (seed, epoch, video).
_SAMPLE, _WINDOWS = 1, 2

SHUFFLED_TOGETHER = 4096  # records; with another number published figures would change
PADDING = 0.1  # most of a batch of whole videos


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The videos of a split that take part.

    Attributes:
      manifest: of the data set.
      name: of the split on disk.
      index: all records on disk, in the order of the shards.
      chosen: [videos] int64, the numbers among them of those that take part, ascending.

    >>> split = Split.open("records", "testing")
    >>> len(split), split.ids[:2]
    (5, ['video_010', 'video_011'])
    """

    manifest: Manifest
    name: str
    index: Index
    chosen: np.ndarray

    @classmethod
    def open(cls, data_dir: str | os.PathLike, name: str) -> "Split":
        """Opens all of a split, by its index.

        Raises:
          UserError: naming what is missing or broken.
        """
        manifest = Manifest.load(data_dir)
        manifest.shard_paths(name)  # all there, and of their size
        index = Index.open(manifest, name)
        return cls(manifest, name, index, np.arange(len(index.units)))

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.chosen)

    @property
    def ids(self) -> list[str]:
        """The videos' ids, in the order of the shards."""
        names = [name.decode() for name in self.index.ids_as_bytes()]
        return [names[number] for number in self.chosen.tolist()]

    @property
    def lengths(self) -> np.ndarray:
        """[videos] int32, the units of each."""
        return self.index.units[self.chosen]

    def only(self, ids: Iterable[str]) -> "Split":
        """The split of those of these videos that are in this one."""
        wanted = set(ids)
        return self._part(np.array([name in wanted for name in self.ids], bool))

    def first(self, count: int) -> "Split":
        """The split of the first so many videos."""
        return self._part(slice(count))

    def _part(self, places: Any) -> "Split":
        return dataclasses.replace(self, chosen=self.chosen[places])

    def contents(self) -> dict[str, int | str]:
        """What tells which part of the data changed: the number of the videos on disk, digests.

        The digests are of JSON, which models made before hold; a million videos are never one text.
        """
        names = list(self.index.ids_as_bytes())
        order = sorted(range(len(names)), key=names.__getitem__)  # in UTF-8 as of the characters
        rows = zip(order, self.index.labels_of(order), strict=True)
        return {
            "videos": len(names),
            "ids": _json_digest(names[number].decode() for number in order),
            "labels": _json_digest([names[number].decode(), *sorted(row)] for number, row in rows),
        }

    def hold_out(self, fraction: float) -> tuple["Split", "Split | None"]:
        """Splits off about ``fraction`` of the videos, chosen by a hash of their ids.

        Returns:
          The videos to train on, and those held out (None if ``fraction`` is 0).

        Raises:
          UserError: if either part would be empty.
        """
        if not fraction:
            return self, None
        digests = [hashlib.sha256(name.encode()).digest() for name in self.ids]
        ranked = sorted(range(len(self)), key=digests.__getitem__)
        held = np.zeros(len(self), bool)
        held[ranked[: round(len(self) * fraction)]] = True
        if held.all() or not held.any():
            raise UserError(
                f"training.validation_fraction={fraction} of {len(self)} videos leaves one part "
                "empty; change it"
            )
        return self._part(~held), self._part(held)

    def serialized(self, order: np.ndarray | None = None) -> tf.data.Dataset:
        """The serialized records of the videos that take part.

        Args:
          order: [videos] int, their places in :attr:`ids`; in the order of the shards by default.
        """
        if order is None and len(self) == len(self.index.units):
            return tf.data.TFRecordDataset(self.manifest.shard_paths(self.name))
        numbers = self.chosen if order is None else self.chosen[order]
        return tf.data.Dataset.from_tensor_slices(numbers).map(
            self.reader(), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A graph's function of a record's number, which reads the record where it stands."""
        paths = tf.constant(self.manifest.shard_paths(self.name))
        shards = self.manifest.shards(self.name)
        counts, sizes = zip(*((shard.videos, shard.bytes) for shard in shards), strict=True)
        ends, framed = np.cumsum(counts), self.index.sizes + FRAME
        begins = np.cumsum(sizes) - sizes  # of the shards, if they were one file
        offsets = np.cumsum(framed) - framed - np.repeat(begins, counts)

        @_plainly
        def record(number: tf.Tensor) -> tf.Tensor:
            shard = tf.searchsorted(ends, number[tf.newaxis], side="right")
            # ``TFRecordDataset`` cannot begin within a file.
            variant = tf.raw_ops.TFRecordDatasetV2(
                filenames=tf.gather(paths, shard),
                compression_type="",
                buffer_size=tf.constant(0, tf.int64),
                byte_offsets=tf.gather(offsets, number)[tf.newaxis],
            )
            spec = tf.TensorSpec([], tf.string)
            return tf.data.experimental.from_variant(variant, spec).take(1).get_single_element()

        return record

    def shuffled(self, seed: tf.Tensor, block: int) -> tf.data.Dataset:
        """The records' numbers in an order that depends on ``seed``, a scalar int64, alone.

        Shards are shuffled, then blocks of so many numbers. ``Dataset.shuffle`` is no help: its
        order also depends on the global seed, which a resumed process would have to know.
        """
        videos = [shard.videos for shard in self.manifest.shards(self.name)]
        splits = np.searchsorted(self.chosen, np.cumsum([0, *videos]))
        shards = tf.RaggedTensor.from_row_splits(self.chosen, splits)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(videos)), seed=tf.stack([seed, 0])
        )
        numbers = tf.data.Dataset.from_tensor_slices(tf.gather(shards, order).flat_values)
        return (
            numbers.batch(min(block, len(self.index.units)))
            .enumerate()
            .flat_map(
                lambda place, part: tf.data.Dataset.from_tensor_slices(
                    tf.random.experimental.stateless_shuffle(part, tf.stack([seed, place + 1]))
                )
            )
        )

    def grouped(self, seed: int, epoch: tf.Tensor, size: int) -> tf.data.Dataset:
        """The records' numbers in the order of :func:`~sampling.draw_groups`."""
        labels = list(self.index.labels_of(self.chosen.tolist()))
        order = tf.numpy_function(
            lambda epoch: sampling.draw_groups(labels, size, (seed, int(epoch))), [epoch], tf.int64
        )
        order.set_shape([None])
        return tf.data.Dataset.from_tensor_slices(tf.gather(self.chosen, order))


def _json_digest(items: Iterator[Any]) -> str:
    """The SHA-256 of ``json.dumps(list(items))``."""
    digest, before = hashlib.sha256(b"["), ""
    while chunk := list(itertools.islice(items, 1000)):
        digest.update((before + json.dumps(chunk)[1:-1]).encode())
        before = ", "
    digest.update(b"]")
    return digest.hexdigest()


def _seed(seed: int, epoch: tf.Tensor, video_id: tf.Tensor, use: int) -> tf.Tensor:
    """[2] int64 for stateless ops."""
    video = tf.strings.to_hash_bucket_fast(video_id, 2**31)
    return tf.stack([tf.constant(seed, tf.int64) * 4 + use, epoch * 2**31 + video])


def _epochs(
    make_epoch: Callable[[tf.Tensor], tf.data.Dataset], first: int, last: int
) -> tf.data.Dataset:
    """Epochs ``first`` to ``last - 1`` one after another, without a pause between them."""
    options = tf.data.Options()
    options.deterministic = True
    dataset = tf.data.Dataset.range(first, last).flat_map(make_epoch)
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _skipped(epoch: tf.Tensor, first: int, count: int) -> tf.Tensor:
    """How much of an epoch is left out: ``count`` of the first one, nothing of later ones."""
    return tf.where(epoch == first, tf.constant(count, tf.int64), 0)


@dataclasses.dataclass(frozen=True)
class Part:
    """The rows of every batch that one input pipeline feeds, a replica's after the other's.

    All batches are then full: the last one of an epoch is filled up with rows of zeros.

    Attributes:
      first, end: its rows of each batch, ``end`` excluded.
      replica_rows: rows of each of its replicas.
      size: rows of a whole batch.
    """

    first: int
    end: int
    replica_rows: int
    size: int

    def own(self, dataset: tf.data.Dataset, total: int, skip: tf.Tensor) -> tf.data.Dataset:
        """The part's rows of an epoch of ``total`` rows, each with the rows of its whole batch.

        Args:
          dataset: all rows of the epoch, as they are.
          total: their number.
          skip: whole batches to leave out.

        Returns:
          ``(rows, row)``, rows int32.
        """
        numbered = dataset.enumerate().skip(self.size * skip)
        mine = numbered.filter(
            lambda place, _: (place % self.size >= self.first) & (place % self.size < self.end)
        )
        return mine.map(
            lambda place, row: (
                tf.cast(tf.minimum(total - place // self.size * self.size, self.size), tf.int32),
                row,
            )
        )

    def batched(self, dataset: tf.data.Dataset, total: int, samples: int) -> tf.data.Dataset:
        """The part's rows of an epoch in replicas' batches, of one shape all.

        Args:
          dataset: rows of :meth:`own`, decoded; ``rows`` says how many the whole batch has.
          total: rows of the epoch.
          samples: to pad to.
        """
        spec = dataset.element_spec
        shapes = {
            name: [samples if size is None else size for size in part.shape]
            for name, part in spec.items()
        }
        beyond = range(total, -(-total // self.size) * self.size)
        missing = sum(self.first <= place % self.size < self.end for place in beyond)
        # Valid zeros: of a video without a valid unit some means would be of nothing.
        filling = {
            name: tf.fill(shapes[name], tf.cast(name == "valid", part.dtype))
            for name, part in spec.items()
        }
        filled = dataset.concatenate(tf.data.Dataset.from_tensors(filling).repeat(missing))
        return filled.padded_batch(self.replica_rows, shapes, drop_remainder=True)


def cascade_batches(
    split: Split,
    stream: str,
    config: Config,
    *,
    seed: int,
    first_epoch: int = 0,
    last_epoch: int = 1,
    skip: int = 0,
    part: Part | None = None,
) -> tf.data.Dataset:
    """Batches of sampled units for one stream's cascade.

    Args:
      split: training videos.
      stream: its name; ``rgb+flow`` of two joined ones.
      config: sampling, resizing and batch size.
      seed: of order and sampling.
      first_epoch, last_epoch: epochs to run, the last one excluded.
      skip: batches of the first epoch to leave out, when training is resumed there.
      part: the rows that are wanted of each batch; all by default.

    Returns:
      ``features`` [batch, samples, G] in the stored dtype, ``valid`` [batch, samples] bool and
      ``labels`` [batch, C] float32; the last batch of an epoch may be short. With
      ``training.group_size``, each so many rows from the first on are a group. With ``part``
      batches are its replicas', and ``rows`` [batch] int32 says how many rows the whole batch has,
      0 in padding.
    """
    size, group = config.training.batch_size, config.training.group_size
    read = split.reader()

    @_plainly
    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        if group > 1:
            numbers = split.grouped(seed, epoch, group)
        else:
            order = tf.constant(seed, tf.int64) * 2**20 + epoch
            numbers = split.shuffled(order, SHUFFLED_TOGETHER)
        if part:
            dataset = part.own(numbers, len(split), _skipped(epoch, first_epoch, skip)).map(
                lambda rows, number: _sampled(number, epoch) | {"rows": rows},
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            longest = int(split.lengths.max())
            if config.data.resize_modules == "both":
                longest = config.data.resize_units or longest
            return part.batched(dataset, len(split), -(-longest // max(config.cascade.interval, 1)))
        dataset = numbers.skip(_skipped(epoch, first_epoch, size * skip)).map(
            lambda number: _sampled(number, epoch), num_parallel_calls=tf.data.AUTOTUNE
        )
        # Only uniform sampling with a fixed interval makes samples of different lengths.
        return dataset.padded_batch(size)

    def _sampled(number: tf.Tensor, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        video = records.parse_training(read(number), split.manifest, stream.split("+"))
        features, length = sampling.join_streams(video["features"], stream), video["length"]
        if config.data.resize_units and config.data.resize_modules == "both":
            features, length = resized(features, config.data.resize_units)
        positions, valid = _positions(features, length, epoch, video["id"], config, seed)
        picked = tf.where(valid[:, tf.newaxis], tf.gather(features, positions), 0)
        return {"features": picked, "valid": valid, "labels": video["labels"]}

    return _epochs(epoch_of, first_epoch, last_epoch)


def resized(features: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """[units, G] resized linearly to [size, G], and its length."""
    length = tf.shape(features)[:1]
    values = tf.cast(features, tf.float32)[tf.newaxis]
    values = sampling.resize(values, length, tf.constant([size]), size)[0]
    return tf.cast(
        tf.ensure_shape(values, [size, features.shape[-1]]), features.dtype
    ), tf.constant(size)


def _positions(
    features: tf.Tensor,
    length: tf.Tensor,
    epoch: tf.Tensor,
    video_id: tf.Tensor,
    config: Config,
    seed: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The sampled units of one video: positions [samples] int32 and valid [samples] bool."""
    section = config.cascade
    count, lengths = section.units, length[tf.newaxis]
    if section.sampling == "sparse":
        key = _seed(seed, epoch, video_id, _SAMPLE)
        draws = tf.random.stateless_uniform([1, count], key, dtype=tf.float64)
        positions, valid = sampling.sparse_positions(lengths, count, draws)
    elif section.sampling == "uniform" and section.interval:
        positions, valid = sampling.interval_positions(lengths, section.interval)
    elif section.sampling == "uniform":
        positions, valid = sampling.uniform_positions(lengths, count)
    else:
        video = tf.strings.to_hash_bucket_fast(video_id, 2**31)
        drawn = tf.numpy_function(
            lambda values, epoch, video: sampling.shot_positions(
                values, count, (seed, int(epoch), int(video))
            ),
            [features, epoch, video],
            tf.int32,
        )
        drawn.set_shape([None])
        positions = tf.pad(drawn, [[0, count - tf.size(drawn)]])[tf.newaxis]
        valid = tf.sequence_mask([tf.size(drawn)], count)
        positions.set_shape([1, count])
    return positions[0], valid[0]


def training_windows(lengths: np.ndarray, config: Config) -> int:
    """How many windows an epoch of the pyramid has, from the videos' [videos] lengths in units."""
    units = np.full_like(lengths, config.data.resize_units) if config.data.resize_units else lengths
    window = config.pyramid.window
    stride = min(config.pyramid.train_stride, window)
    return len(units) + int((-(-np.maximum(units - window, 0) // stride)).sum())


def pyramid_batches(
    split: Split,
    stream: str,
    config: Config,
    *,
    seed: int,
    first_epoch: int = 0,
    last_epoch: int = 1,
    skip: int = 0,
    part: Part | None = None,
) -> tf.data.Dataset:
    """Batches of sliding windows for one stream's pyramid; arguments as in :func:`cascade_batches`.

    A batch mixes the windows of as many videos as it has places, in an order drawn anew each
    epoch; every window inherits its video's labels.

    Returns:
      ``features`` [batch, T_w, G] in the stored dtype, ``valid`` [batch, T_w] bool and ``labels``
      [batch, C] float32; with ``part`` as in :func:`cascade_batches`.
    """
    size, window = config.training.batch_size, config.pyramid.window
    read = split.reader()

    def windows_of(serialized: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        video = records.parse_training(serialized, split.manifest, stream.split("+"))
        features, length = sampling.join_streams(video["features"], stream), video["length"]
        if config.data.resize_units:
            features, length = resized(features, config.data.resize_units)
        starts, _ = sampling.window_starts(
            length[tf.newaxis], window, config.pyramid.train_stride, length
        )
        key = _seed(seed, epoch, video["id"], _WINDOWS)
        starts = tf.random.experimental.stateless_shuffle(starts[0], key)
        features = tf.pad(features, [[0, tf.maximum(window - length, 0)], [0, 0]])
        count = tf.size(starts)
        # All windows at once: cut one by one they would cost more than a step of the pyramid.
        parts = {
            "features": tf.gather(features, starts[:, tf.newaxis] + tf.range(window)),
            # Only a short video's one window has padding.
            "valid": tf.repeat([tf.range(window) < length], count, axis=0),
            "labels": tf.repeat([video["labels"]], count, axis=0),
        }
        return tf.data.Dataset.from_tensor_slices(parts)

    @_plainly
    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.constant(seed, tf.int64) * 2**20 + epoch
        dataset = split.shuffled(order, SHUFFLED_TOGETHER)
        dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE).interleave(
            lambda serialized: windows_of(serialized, epoch), cycle_length=size, block_length=1
        )
        if part:
            total = training_windows(split.lengths, config)
            dataset = part.own(dataset, total, _skipped(epoch, first_epoch, skip))
            dataset = dataset.map(lambda rows, windows: windows | {"rows": rows})
            return part.batched(dataset, total, window)
        return dataset.batch(size).skip(_skipped(epoch, first_epoch, skip))

    return _epochs(epoch_of, first_epoch, last_epoch)


def whole_videos(
    split: Split,
    *,
    batch_size: int = 1,
    segments: bool = False,
    streams: Sequence[str] | None = None,
) -> tf.data.Dataset:
    """Whole videos for inference, padded to the longest of their batch.

    One by one they are in the split's order. Batches are of videos of like length, longest first,
    so that the batch that takes most memory is the first.

    Args:
      split: the videos.
      batch_size: videos per batch, at most; see :func:`batch_sizes`.
      segments: also parse the instances (never for training).
      streams: names of the streams wanted; all by default.

    Returns:
      What :func:`cpmn_tf.data.records.parse_training` gives, batched; with ``segments`` also
      ``segments`` [batch, N, 2] seconds and ``segment_labels`` [batch, N], -1 in padding.
    """
    parse = records.parse_with_segments if segments else records.parse_training
    order = None if batch_size == 1 else np.argsort(-split.lengths, kind="stable")
    dataset = split.serialized(order).map(
        _plainly(lambda serialized: parse(serialized, split.manifest, streams)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    padding = None
    if segments:
        padding = {"segment_labels": -1}
        padding = tf.nest.map_structure(lambda _: None, dataset.element_spec) | padding
    if order is None:
        return dataset.padded_batch(1, padding_values=padding).prefetch(2)
    sizes = tf.constant(batch_sizes(split.lengths[order].tolist(), batch_size), tf.int64)
    numbers = tf.repeat(tf.range(len(sizes), dtype=tf.int64), sizes)
    return (
        dataset.enumerate()
        .group_by_window(
            lambda place, _: numbers[place],
            lambda _, batch: batch.map(lambda _, video: video).padded_batch(
                batch_size, padding_values=padding
            ),
            window_size_func=lambda number: sizes[number],
        )
        .prefetch(2)
    )


def batch_sizes(lengths: Iterable[int], most: int) -> list[int]:
    """How many videos each batch takes: so many that at most ``PADDING`` of its units are padding.

    Args:
      lengths: units of the videos, in descending order.
      most: videos of a batch.
    """
    sizes: list[int] = []
    longest = together = 0  # units
    for units in lengths:
        padded = longest * (sizes[-1] + 1) if sizes else 0
        if not sizes or sizes[-1] == most or together + units < (1 - PADDING) * padded:
            sizes.append(0)
            longest, together = units, 0
        sizes[-1] += 1
        together += units
    return sizes
