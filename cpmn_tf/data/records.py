"""The writer and the parsers of records: training sees no instance, and nothing broken passes.

Weak supervision is enforced here: :func:`parse_training` does not know the ``segment`` keys.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cpmn_tf.data import schema
from cpmn_tf.data.manifest import Manifest, StreamSpec, check_there
from cpmn_tf.errors import UserError
from cpmn_tf.files import file_size, opened
from cpmn_tf.formats.annotations import check_id
from cpmn_tf.formats.arrays import all_finite

_LISTS = {"string": "bytes_list", "float32": "float_list", "int64": "int64_list"}

# What reading broken shards raises. TensorFlow quotes a record that it cannot parse in its message,
# and the quoted bytes need not be UTF-8.
READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """What one record holds.

    Attributes:
      id: the video's id.
      duration: seconds.
      rate: units per second.
      labels: the video's classes, as indices.
      segments: (start in seconds, end in seconds, class index) of each known instance.
      features: [T, G] float per stream, T the same in all.
    """

    id: str
    duration: float
    rate: float
    labels: tuple[int, ...]
    segments: tuple[tuple[float, float, int], ...] = ()
    features: Mapping[str, np.ndarray]


def encode(record: VideoRecord, manifest: Manifest) -> bytes:
    """Serializes one video; ``manifest`` gives streams, dtype and class names.

    Raises:
      UserError: naming the video, if its streams, lengths, labels or size do not fit.
    """
    check_id(record.id)
    what = f"video {record.id!r}"
    names = [spec.name for spec in manifest.streams]
    if set(record.features) != set(names):
        raise UserError(f"{what}: has streams {sorted(record.features)} instead of {names}")
    for spec in manifest.streams:
        shape = record.features[spec.name].shape
        if len(shape) != 2 or shape[1] != spec.width:
            raise UserError(
                f"{what}: {spec.name} has the shape {list(shape)} instead of [T, {spec.width}]"
            )
    length, *more = sorted({len(values) for values in record.features.values()})
    if more:
        raise UserError(f"{what}: its streams have {[length, *more]} units; make them equal")
    if not length:
        raise UserError(f"{what}: has 0 units; remove the video")
    for field, number in ((schema.DURATION, record.duration), (schema.RATE, record.rate)):
        with np.errstate(over="ignore"):
            held = np.float32(number)
        if not 0 < held < np.inf:
            raise UserError(f"{what}: {field.key} is {number}; it must be positive")
    starts, ends, labels = zip(*record.segments, strict=True) if record.segments else ((), (), ())
    if any(not 0 <= index < len(manifest.classes) for index in (*record.labels, *labels)):
        raise UserError(f"{what}: a label is outside the {len(manifest.classes)} classes")
    values: dict[schema.Field, Sequence] = {
        schema.ID: [record.id.encode()],
        schema.DURATION: [record.duration],
        schema.LABEL_INDEX: record.labels,
        schema.LABEL_STRING: [manifest.classes[index].encode() for index in record.labels],
        schema.SEGMENT_START: starts,
        schema.SEGMENT_END: ends,
        schema.SEGMENT_LABEL: labels,
        schema.DTYPE: [manifest.dtype.encode()],
        schema.RATE: [record.rate],
    }
    check_size(what, length, [spec.width for spec in manifest.streams], manifest.dtype)
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    for spec in manifest.streams:
        data, dimensions = schema.stream_fields(spec.name)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(record.features[spec.name], dtype)
        if not all_finite(stored):
            raise UserError(
                f"{what}: {spec.name} holds NaN or infinite values in {manifest.dtype}; fix them"
            )
        values |= {data: [stored.tobytes()], dimensions: [length, spec.width]}
    example = tf.train.Example()
    for field, items in values.items():
        getattr(example.features.feature[field.key], _LISTS[field.dtype]).value.extend(items)
    # Maps have no order of their own: without this, each process would write other bytes.
    return example.SerializeToString(deterministic=True)


def check_size(what: str, units: int, widths: Iterable[int], dtype: str) -> None:
    """Checks that a video's streams, of so many values per unit, fit one record.

    Raises:
      UserError: that begins with ``what``.
    """
    size = units * sum(widths) * np.dtype(dtype).itemsize
    if size > schema.MAX_RECORD:
        raise UserError(f"{what}: its features take {size} bytes, over 2 GiB; cut the video")


def parsers(fields: Iterable[schema.Field]) -> dict[str, Any]:
    """What ``tf.io.parse_example`` needs to know of the fields, by key."""
    return {
        field.key: tf.io.FixedLenSequenceFeature([], field.dtype, allow_missing=True)
        if field.shape == (None,)
        else tf.io.FixedLenFeature(field.shape, field.dtype)
        for field in fields
    }


def training_spec(manifest: Manifest, streams: Sequence[str] | None = None) -> dict:
    """The features that training parses: no ``segment`` key is among them.

    Args:
      manifest: of the data set.
      streams: names of the streams wanted; all by default.
    """
    fields = [field for field in schema.VIDEO if field != schema.LABEL_STRING]
    for stream in _wanted(manifest, streams):
        fields += schema.stream_fields(stream.name)
    return parsers(fields)


def parse_training(
    serialized: tf.Tensor, manifest: Manifest, streams: Sequence[str] | None = None
) -> dict:
    """Parses what training may see of a record.

    Args:
      serialized: scalar string.
      manifest: of the data set.
      streams: names of the streams wanted; all by default.

    Returns:
      ``id`` scalar string; ``length`` int32, T; ``rate`` float32, units per second; ``duration``
      float32, seconds; ``labels`` [C] float32 multi-hot; ``features`` {stream: [T, G] in the
      stored dtype}.

    Raises:
      tf.errors.InvalidArgumentError: when run on a record that does not fit the manifest; the
        message holds the video's id where the record has one.
    """
    parsed = tf.io.parse_single_example(serialized, training_spec(manifest, streams))
    return _decode(parsed, manifest, streams)


def parse_with_segments(
    serialized: tf.Tensor, manifest: Manifest, streams: Sequence[str] | None = None
) -> dict:
    """As :func:`parse_training`, and the instances; for evaluation and pictures, never training.

    Returns:
      Also ``segments`` [N, 2] float32, seconds, and ``segment_labels`` [N] int32.
    """
    spec = training_spec(manifest, streams) | parsers(schema.SEGMENTS)
    parsed = tf.io.parse_single_example(serialized, spec)
    video_id = parsed[schema.ID.key]
    start, end, label = (parsed[field.key] for field in schema.SEGMENTS)
    sizes = [tf.size(start), tf.size(end), tf.size(label)]
    same = tf.logical_and(sizes[0] == sizes[1], sizes[1] == sizes[2])
    with tf.control_dependencies([_require(video_id, same, "its segments' counts differ", *sizes)]):
        inside = _inside(label, len(manifest.classes))
        # Also false where either is NaN or infinite.
        ordered = tf.reduce_all((end >= start) & (end - start < np.inf))
        checks = [
            _require(video_id, inside, "a segment's label is outside the classes", label),
            _require(
                video_id, ordered, "a segment is infinite or ends before it starts", start, end
            ),
        ]
    with tf.control_dependencies(checks):
        segments = tf.stack([start, end], axis=-1)
    video = _decode(parsed, manifest, streams)
    return {**video, "segments": segments, "segment_labels": tf.cast(label, tf.int32)}


def batch_spec(streams: Iterable[str]) -> dict[str, Any]:
    """The features that :func:`parse_batch` parses."""
    fields = [field for name in streams for field in schema.stream_fields(name)]
    return parsers([schema.DURATION, schema.RATE, schema.DTYPE, *fields])


def parse_batch(
    serialized: tf.Tensor, streams: Mapping[str, int]
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Parses what a model takes of a batch of records, of whatever data set.

    Args:
      serialized: [batch] string.
      streams: width G by stream name; other streams of the records are left alone.

    Returns:
      {stream: [batch, units, G] float32}; lengths [batch] int32, -1 where a record's bytes are not
      the values that its dimensions and dtype say, so that a model gives that video its status;
      rates [batch] float32, units per second; durations [batch] float32, seconds.

    Raises:
      tf.errors.InvalidArgumentError: when run on what is no record, or has not every stream.
    """
    parsed = tf.io.parse_example(serialized, batch_spec(streams))
    dtype = parsed[schema.DTYPE.key]
    size = sum(tf.where(dtype == name, np.dtype(name).itemsize, 0) for name in schema.DTYPES)
    stored = {name: [parsed[field.key] for field in schema.stream_fields(name)] for name in streams}
    units = next(iter(stored.values()))[1][:, 0]
    sound = (size > 0) & (units > 0) & (units <= schema.MAX_UNITS)
    for name, (data, dimensions) in stored.items():
        values = tf.cast(tf.strings.length(data), tf.int64)
        sound &= (dimensions[:, 0] == units) & (dimensions[:, 1] == streams[name])
        sound &= values == units * streams[name] * tf.cast(size, tf.int64)
    lengths = tf.cast(tf.where(sound, units, -1), tf.int32)
    most = tf.maximum(tf.reduce_max(lengths), 1)
    features = {}
    for name, (data, _) in stored.items():
        found = tf.zeros([tf.size(serialized), most * streams[name]])
        for kind in map(tf.as_dtype, schema.DTYPES):
            own = (dtype == kind.name) & sound
            # Padding with zeros is what this op does; it has no float16 (TensorFlow 2.21).
            flat = tf.io.decode_raw(
                tf.where(own, data, ""),
                tf.int16 if kind.size == 2 else tf.int32,
                fixed_length=most * streams[name] * kind.size,
            )
            flat = tf.cast(tf.bitcast(flat, kind), tf.float32)
            found = tf.where(own[:, tf.newaxis], flat, found)
        features[name] = tf.reshape(found, [-1, most, streams[name]])
    return features, lengths, parsed[schema.RATE.key], parsed[schema.DURATION.key]


def _wanted(manifest: Manifest, streams: Sequence[str] | None) -> list[StreamSpec]:
    if streams is None:
        return list(manifest.streams)
    return [manifest.stream(name) for name in streams]


def _require(
    video_id: tf.Tensor, condition: tf.Tensor, message: str, *data: tf.Tensor
) -> tf.Operation:
    return tf.debugging.Assert(condition, ["video", video_id, message, *data], summarize=8)


def _inside(index: tf.Tensor, size: int) -> tf.Tensor:
    return tf.reduce_all(tf.logical_and(index >= 0, index < size))


def _decode(parsed: dict, manifest: Manifest, streams: Sequence[str] | None) -> dict:
    """Compares parsed features with the manifest, then decodes them."""
    fields = (schema.ID, schema.LABEL_INDEX, schema.DURATION, schema.RATE, schema.DTYPE)
    video_id, label, duration, rate, dtype = (parsed[field.key] for field in fields)
    count, stored = len(manifest.classes), manifest.dtype
    positive = tf.reduce_all([duration > 0, rate > 0, duration < np.inf, rate < np.inf])
    numbers = "clip/duration and feature/rate are not positive numbers"
    inside = _inside(label, count)
    checks = [
        _require(video_id, dtype == stored, f"feature/dtype is not the manifest's {stored}", dtype),
        _require(video_id, inside, f"a label is outside the {count} classes", label),
        _require(video_id, positive, numbers, duration, rate),
    ]
    features, length = {}, None
    for stream in _wanted(manifest, streams):
        data, dimensions = (parsed[field.key] for field in schema.stream_fields(stream.name))
        length = dimensions[0] if length is None else length
        size = tf.cast(tf.strings.length(data), tf.int64)
        fits = [
            dimensions[0] == length,
            dimensions[1] == stream.width,
            length > 0,
            length <= schema.MAX_UNITS,
            size == length * stream.width * np.dtype(stored).itemsize,
        ]
        text = (
            f"{stream.name} is not {stream.width} values for each of the first stream's units; "
            "dimensions, units, bytes"
        )
        shape = _require(video_id, tf.reduce_all(fits), text, dimensions, length, size)
        with tf.control_dependencies([*checks, shape]):
            flat = tf.io.decode_raw(data, tf.as_dtype(stored))
            features[stream.name] = tf.reshape(flat, [-1, stream.width])
    with tf.control_dependencies(checks):
        hot = tf.one_hot(label, count, dtype=tf.float32)
        labels = tf.reduce_max(tf.pad(hot, [[1, 0], [0, 0]]), axis=0)  # zeros without any label
    return {
        "id": video_id,
        "length": tf.cast(length, tf.int32),
        "rate": rate,
        "duration": duration,
        "labels": labels,
        "features": features,
    }


def readable(dataset: Iterable, manifest: Manifest, split: str) -> Iterator:
    """Iterates; what reading broken shards raises becomes one line that names the shard.

    Raises:
      UserError: see :func:`explain_read_error`.
    """
    try:
        yield from dataset
    except READ_ERRORS as error:
        raise explain_read_error(error, manifest, split) from error


def check_frames(paths: Iterable[str]) -> None:
    """Follows the lengths of the records in TFRecord files.

    TensorFlow takes the memory that a length asks for, and the process dies where there is none.

    Raises:
      UserError: naming the file, and the record that is longer than it.
    """
    for path in paths:
        try:
            size, end = file_size(path), 0
            with opened(path) as file:
                for number in itertools.count():
                    file.seek(end)
                    if end == size or len(head := file.read(8)) < 8:
                        break
                    end += 16 + int.from_bytes(head, "little")  # with length and checksums
                    if end > size:
                        text = f"{path}: record {number} is broken (it is longer than the file)"
                        raise UserError(f"{text}; copy or build it anew")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def explain_read_error(error: Exception, manifest: Manifest, split: str) -> UserError:
    """Finds the broken shard behind an error met while a split was read; scans all its shards.

    Args:
      error: what reading or parsing raised.
      manifest: of the data set.
      split: that was read.

    Returns:
      An error that names the shard, the record's place and the video where they can be found.
    """
    try:
        paths = manifest.shard_paths(split)
        for path in paths:
            check_there(path)
    except UserError as found:
        return found
    for path, shard in zip(paths, manifest.shards(split), strict=True):
        count = 0
        dataset = tf.data.TFRecordDataset(path)
        try:
            for _ in dataset.map(lambda serialized: parse_with_segments(serialized, manifest)):
                count += 1
        except READ_ERRORS as found:
            return UserError(f"{path}: record {count} is broken ({_brief(found)}); build it anew")
        if count != shard.videos:
            return UserError(
                f"{path}: holds {count} records instead of {shard.videos}; build it anew"
            )
    return UserError(f"{manifest.folder}: split {split!r} cannot be read ({_brief(error)})")


def _brief(error: Exception) -> str:
    """TensorFlow's message without the graph's names and without what a record holds."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not a tf.train.Example"
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    message = message.rsplit("assertion failed:", 1)[-1].split("[[{{", 1)[0]
    message = re.sub(
        r"\{\{.*?\}\}|Error in user-defined.*?Iterator::\S+|, value: .*", "", message, flags=re.S
    )
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())[:200]
