"""Shards to what each module is fed: cascade batches, pyramid windows, whole videos (tf.data).

Everything random comes from (seed, epoch, video id) by stateless ops, so that an epoch can be
entered at any batch and gives the same bits as if it had been run from its start. Serialized
records are shuffled, never decoded ones.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data import records, sampling, schema
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError

# No Python control flow here depends on tensors; AutoGraph would take half of the start-up time.
_plainly = tf.autograph.experimental.do_not_convert

# Distinct streams of random numbers for distinct uses of the same (seed, epoch, video).
_SAMPLE, _WINDOWS = 1, 2

SHUFFLE_BUFFER = 4096  # serialized records that are shuffled together


@dataclasses.dataclass(frozen=True)
class Split:
    """A split's videos: ids and lengths of those that take part.

    Attributes:
      manifest: of the data set.
      name: of the split on disk.
      lengths: units by video id, in the order of the shards.
      total: videos the split holds on disk.
      labels: classes of every video on disk, as indices.
      places: shard and offset in bytes of every record.

    >>> split = Split.open("records", "testing")
    >>> split.total, list(split.lengths)[:2]
    (5, ['video_010', 'video_011'])
    """

    manifest: Manifest
    name: str
    lengths: Mapping[str, int]
    total: int
    labels: Mapping[str, list[int]]
    places: Mapping[str, tuple[str, int]]

    @classmethod
    def open(cls, data_dir: str | os.PathLike, name: str) -> "Split":
        """Reads a split's ids, lengths and labels; every record is parsed once.

        Raises:
          UserError: naming what is missing or broken.
        """
        manifest = Manifest.load(data_dir)
        _, dimensions = schema.stream_fields(manifest.streams[0].name)
        spec = records.parsers([schema.ID, dimensions])
        spec[schema.LABEL_INDEX.key] = tf.io.RaggedFeature(tf.int64)
        paths = manifest.shard_paths(name)
        records.check_frames(paths)
        dataset = tf.data.TFRecordDataset(paths).batch(64)
        parse = _plainly(lambda batch: (tf.io.parse_example(batch, spec), tf.strings.length(batch)))
        dataset = dataset.map(parse)
        lengths: dict[str, int] = {}
        labels: dict[str, list[int]] = {}
        sizes: list[int] = []
        for parsed, read in readable(dataset, manifest, name):
            sizes += read.numpy().tolist()
            ids, units = parsed[schema.ID.key].numpy(), parsed[dimensions.key].numpy()[:, 0]
            shown = parsed[schema.LABEL_INDEX.key].to_list()
            for video_id, count, classes in zip(ids.tolist(), units.tolist(), shown, strict=True):
                key = video_id.decode(errors="replace")
                known = all(0 <= label < len(manifest.classes) for label in classes)
                if key.encode() != video_id or not 0 < count <= schema.MAX_UNITS or not known:
                    error = ValueError(f"the id, units or classes of {key!r} cannot be")
                    raise records.explain_read_error(error, manifest, name)
                if key in lengths:
                    raise UserError(
                        f"{data_dir}: video {key!r} is in {name!r} twice; build the records anew"
                    )
                lengths[key] = count
                labels[key] = classes
        if len(lengths) != manifest.num_videos(name):
            error = ValueError(f"{len(lengths)} videos")
            raise records.explain_read_error(error, manifest, name)
        if not lengths:
            raise UserError(f"{data_dir}: the split {name!r} holds no video; add some")
        places, records_left = {}, iter(zip(lengths, sizes, strict=True))
        for path, shard in zip(paths, manifest.shards(name), strict=True):
            offset = 0
            for video_id, size in itertools.islice(records_left, shard.videos):
                places[video_id] = path, offset
                offset += size + 16  # of each record's length and checksums
        return cls(manifest, name, lengths, len(lengths), labels, places)

    def contents(self) -> dict[str, int | str]:
        """What tells which part of the data changed: the videos' number, digests of ids, labels."""
        ids = sorted(self.labels)
        labels = [[key, *sorted(self.labels[key])] for key in ids]
        digests = [
            hashlib.sha256(json.dumps(value).encode()).hexdigest() for value in (ids, labels)
        ]
        return {"videos": len(ids), "ids": digests[0], "labels": digests[1]}

    def hold_out(self, fraction: float) -> tuple["Split", "Split | None"]:
        """Splits off about ``fraction`` of the videos, chosen by a hash of their ids.

        Returns:
          The videos to train on, and those held out (None if ``fraction`` is 0).

        Raises:
          UserError: if either part would be empty.
        """
        if not fraction:
            return self, None
        ranked = sorted(self.lengths, key=lambda name: hashlib.sha256(name.encode()).digest())
        held = set(ranked[: round(len(ranked) * fraction)])
        if not 0 < len(held) < len(ranked):
            raise UserError(
                f"training.validation_fraction={fraction} of {len(ranked)} videos leaves one part "
                "empty; change it"
            )
        training, held_out = (
            {name: units for name, units in self.lengths.items() if (name in held) is side}
            for side in (False, True)
        )
        return dataclasses.replace(self, lengths=training), dataclasses.replace(
            self, lengths=held_out
        )

    def serialized(self) -> tf.data.Dataset:
        """The serialized records of the videos that take part, in the order of the shards."""
        return self._chosen(tf.data.TFRecordDataset(self.manifest.shard_paths(self.name)))

    def shuffled(self, seed: tf.Tensor, buffer: int) -> tf.data.Dataset:
        """The same records in an order that depends on ``seed``, a scalar int64, alone.

        Shards are shuffled, then blocks of ``buffer`` records. ``Dataset.shuffle`` is no help: its
        order also depends on the global seed, which a resumed process would have to know.
        """
        paths = tf.random.experimental.stateless_shuffle(
            self.manifest.shard_paths(self.name), seed=tf.stack([seed, 0])
        )
        blocks = self._chosen(tf.data.TFRecordDataset(paths)).batch(min(buffer, self.total))
        return blocks.enumerate().flat_map(
            lambda number, block: tf.data.Dataset.from_tensor_slices(
                tf.random.experimental.stateless_shuffle(block, tf.stack([seed, number + 1]))
            )
        )

    def grouped(self, seed: int, epoch: tf.Tensor, size: int) -> tf.data.Dataset:
        """The same records, each once, in the order of :func:`~sampling.draw_groups`.

        Groups are drawn from ids and labels; each record is then read where it stands.
        """
        names = list(self.lengths)
        labels = [self.labels[name] for name in names]
        paths, offsets = zip(*(self.places[name] for name in names), strict=True)
        order = tf.numpy_function(
            lambda epoch: sampling.draw_groups(labels, size, (seed, int(epoch))), [epoch], tf.int64
        )
        order.set_shape([None])

        def record(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
            # ``TFRecordDataset`` cannot begin within a file.
            variant = tf.raw_ops.TFRecordDatasetV2(
                filenames=[path],
                compression_type="",
                buffer_size=tf.constant(0, tf.int64),
                byte_offsets=[offset],
            )
            return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1)

        placed = tf.gather(tf.constant(paths), order), tf.gather(tf.constant(offsets), order)
        return tf.data.Dataset.from_tensor_slices(placed).flat_map(record)

    def _chosen(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        if len(self.lengths) == self.total:
            return dataset
        spec = records.parsers([schema.ID])
        chosen = tf.constant(list(self.lengths), tf.string)  # also of no video

        def takes_part(serialized: tf.Tensor) -> tf.Tensor:
            video_id = tf.io.parse_single_example(serialized, spec)[schema.ID.key]
            return tf.reduce_any(chosen == video_id)

        return dataset.filter(takes_part)


def readable(dataset: Iterable, manifest: Manifest, split: str) -> Iterator:
    """Iterates; what reading broken shards raises becomes one line that names the shard.

    Raises:
      UserError: see :func:`cpmn_tf.data.records.explain_read_error`.
    """
    try:
        yield from dataset
    except records.READ_ERRORS as error:
        raise records.explain_read_error(error, manifest, split) from error


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

    @_plainly
    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        if group > 1:
            dataset = split.grouped(seed, epoch, group)
        else:
            order = tf.constant(seed, tf.int64) * 2**20 + epoch
            dataset = split.shuffled(order, SHUFFLE_BUFFER)
        if part:
            total = len(split.lengths)
            dataset = part.own(dataset, total, _skipped(epoch, first_epoch, skip)).map(
                lambda rows, serialized: _sampled(serialized, epoch) | {"rows": rows},
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            longest = max(split.lengths.values())
            if config.data.resize_modules == "both":
                longest = config.data.resize_units or longest
            return part.batched(dataset, total, -(-longest // max(config.cascade.interval, 1)))
        dataset = dataset.skip(_skipped(epoch, first_epoch, size * skip))
        dataset = dataset.map(
            lambda serialized: _sampled(serialized, epoch), num_parallel_calls=tf.data.AUTOTUNE
        )
        # Only uniform sampling with a fixed interval makes samples of different lengths.
        return dataset.padded_batch(size)

    def _sampled(serialized: tf.Tensor, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        video = records.parse_training(serialized, split.manifest, stream.split("+"))
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


def training_windows(lengths: Iterable[int], config: Config) -> int:
    """How many windows an epoch of the pyramid has, from the videos' lengths in units."""
    if config.data.resize_units:
        lengths = [config.data.resize_units for _ in lengths]
    window = config.pyramid.window
    stride = min(config.pyramid.train_stride, window)
    return sum(1 + -(-max(length - window, 0) // stride) for length in lengths)


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
        dataset = split.shuffled(order, SHUFFLE_BUFFER)
        dataset = dataset.interleave(
            lambda serialized: windows_of(serialized, epoch), cycle_length=size, block_length=1
        )
        if part:
            total = training_windows(split.lengths.values(), config)
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

    Args:
      split: the videos.
      batch_size: videos per batch.
      segments: also parse the instances (never for training).
      streams: names of the streams wanted; all by default.

    Returns:
      What :func:`cpmn_tf.data.records.parse_training` gives, batched; with ``segments`` also
      ``segments`` [batch, N, 2] seconds and ``segment_labels`` [batch, N], -1 in padding.
    """
    parse = records.parse_with_segments if segments else records.parse_training
    dataset = split.serialized().map(
        _plainly(lambda serialized: parse(serialized, split.manifest, streams)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    padding = None
    if segments:
        padding = {"segment_labels": -1}
        padding = tf.nest.map_structure(lambda _: None, dataset.element_spec) | padding
    return dataset.padded_batch(batch_size, padding_values=padding).prefetch(2)
