"""The parser of records: training sees no instance, and nothing broken passes.

Weak supervision is enforced here: :func:`parse_training` does not know the ``segment`` keys.
Keys and types are in :mod:`cpmn_tf.data.schema`, which this module offers on.
"""

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cpmn_tf.data.manifest import SCHEMA_VERSION, Manifest, Shard, StreamSpec
from cpmn_tf.data.schema import (
    DTYPE,
    DURATION,
    ID,
    LABEL_INDEX,
    MAX_UNITS,
    RATE,
    SEGMENT_END,
    SEGMENT_LABEL,
    SEGMENT_START,
    VideoRecord,
    encode,
    stream_keys,
)
from cpmn_tf.errors import UserError

__all__ = [
    "ID",
    "READ_ERRORS",
    "SCHEMA_VERSION",
    "Manifest",
    "Shard",
    "StreamSpec",
    "VideoRecord",
    "encode",
    "explain_read_error",
    "parse_training",
    "parse_with_segments",
    "stream_keys",
    "training_spec",
]

# What reading broken shards raises. TensorFlow quotes a record that it cannot parse in its message,
# and the quoted bytes need not be UTF-8.
READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)


def training_spec(manifest: Manifest, streams: Sequence[str] | None = None) -> dict:
    """The features that training parses: no ``segment`` key is among them.

    Args:
      manifest: of the data set.
      streams: names of the streams wanted; all by default.
    """
    spec = {
        ID: tf.io.FixedLenFeature([], tf.string),
        DURATION: tf.io.FixedLenFeature([], tf.float32),
        RATE: tf.io.FixedLenFeature([], tf.float32),
        DTYPE: tf.io.FixedLenFeature([], tf.string),
        LABEL_INDEX: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    }
    for stream in _wanted(manifest, streams):
        data_key, dimensions_key = stream_keys(stream.name)
        spec[data_key] = tf.io.FixedLenFeature([], tf.string)
        spec[dimensions_key] = tf.io.FixedLenFeature([2], tf.int64)
    return spec


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
    spec = training_spec(manifest, streams)
    for key, kind in (
        (SEGMENT_START, tf.float32),
        (SEGMENT_END, tf.float32),
        (SEGMENT_LABEL, tf.int64),
    ):
        spec[key] = tf.io.FixedLenSequenceFeature([], kind, allow_missing=True)
    parsed = tf.io.parse_single_example(serialized, spec)
    start, end, label = parsed[SEGMENT_START], parsed[SEGMENT_END], parsed[SEGMENT_LABEL]
    sizes = [tf.size(start), tf.size(end), tf.size(label)]
    same = tf.logical_and(sizes[0] == sizes[1], sizes[1] == sizes[2])
    with tf.control_dependencies(
        [_require(same, parsed[ID], "its segments' counts differ", sizes)]
    ):
        inside = _inside(label, len(manifest.classes))
        ordered = tf.reduce_all(end >= start)  # also false where either is NaN
    with tf.control_dependencies(
        [
            _require(inside, parsed[ID], "a segment's label is outside the classes", [label]),
            _require(ordered, parsed[ID], "a segment ends before it starts", [start, end]),
        ]
    ):
        segments = tf.stack([start, end], axis=-1)
    video = _decode(parsed, manifest, streams)
    return {**video, "segments": segments, "segment_labels": tf.cast(label, tf.int32)}


def _wanted(manifest: Manifest, streams: Sequence[str] | None) -> list[StreamSpec]:
    if streams is None:
        return list(manifest.streams)
    if not streams:
        raise ValueError("streams is empty; name at least one, or None for all")
    return [manifest.stream(name) for name in streams]


def _require(condition: tf.Tensor, video_id: tf.Tensor, message: str, data: list) -> tf.Operation:
    return tf.debugging.Assert(condition, ["video", video_id, message, *data], summarize=8)


def _inside(index: tf.Tensor, size: int) -> tf.Tensor:
    return tf.reduce_all(tf.logical_and(index >= 0, index < size))


def _decode(parsed: dict, manifest: Manifest, streams: Sequence[str] | None) -> dict:
    """Checks parsed features against the manifest, then decodes them."""
    video_id, label = parsed[ID], parsed[LABEL_INDEX]
    duration, rate = parsed[DURATION], parsed[RATE]
    checks = [
        _require(
            parsed[DTYPE] == manifest.dtype,
            video_id,
            f"feature/dtype is not the manifest's {manifest.dtype}",
            [parsed[DTYPE]],
        ),
        _require(
            _inside(label, len(manifest.classes)),
            video_id,
            f"a label is outside the {len(manifest.classes)} classes",
            [label],
        ),
        _require(
            tf.reduce_all([duration > 0, rate > 0, duration < np.inf, rate < np.inf]),
            video_id,
            "clip/duration and feature/rate are not positive numbers",
            [duration, rate],
        ),
    ]
    features, length = {}, None
    for stream in _wanted(manifest, streams):
        data_key, dimensions_key = stream_keys(stream.name)
        dimensions = parsed[dimensions_key]
        length = dimensions[0] if length is None else length
        shape_checks = _shape_checks(
            parsed[data_key], dimensions, length, stream, manifest, video_id
        )
        with tf.control_dependencies([*checks, *shape_checks]):
            flat = tf.io.decode_raw(parsed[data_key], tf.as_dtype(manifest.dtype))
            features[stream.name] = tf.reshape(flat, [-1, stream.width])
    with tf.control_dependencies(checks):
        hot = tf.one_hot(label, len(manifest.classes), dtype=tf.float32)
        labels = tf.reduce_max(tf.pad(hot, [[1, 0], [0, 0]]), axis=0)  # zeros without any label
    return {
        "id": video_id,
        "length": tf.cast(length, tf.int32),
        "rate": rate,
        "duration": duration,
        "labels": labels,
        "features": features,
    }


def _shape_checks(
    data: tf.Tensor,
    dimensions: tf.Tensor,
    length: tf.Tensor,
    stream: StreamSpec,
    manifest: Manifest,
    video_id: tf.Tensor,
) -> list[tf.Operation]:
    """A stream's bytes must be exactly [length, width] values of the manifest's dtype."""
    fits = tf.logical_and(dimensions[0] == length, dimensions[1] == stream.width)
    fits = tf.logical_and(fits, tf.logical_and(length > 0, length <= MAX_UNITS))
    size = tf.strings.length(data, unit="BYTE")
    row = stream.width * np.dtype(manifest.dtype).itemsize
    # Clipped, so that a wild length cannot overflow the product (2^31 · 2^20 · 4 = 2^53).
    expected = tf.clip_by_value(length, 0, MAX_UNITS) * row
    return [
        _require(
            fits,
            video_id,
            f"{stream.name} does not have {stream.width} values for each of the first stream's "
            "units; dimensions, units",
            [dimensions, length],
        ),
        _require(
            tf.cast(size, tf.int64) == expected,
            video_id,
            f"{stream.name} has another number of bytes than its dimensions say",
            [size, expected],
        ),
    ]


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
