"""The record schema: the one place where keys, types and versions are written; writer and parser.

A record is a serialized ``tf.train.Example``, one per video (key names follow MediaSequence):

| key | value |
| --- | --- |
| ``example/id`` | the video's id |
| ``clip/duration`` | float, seconds |
| ``clip/label/index``, ``clip/label/string`` | the video's classes, none or more |
| ``segment/start/seconds``, ``segment/end/seconds``, ``segment/label/index`` | its instances |
| ``feature/dtype`` | ``float16`` or ``float32``, of all streams |
| ``feature/rate`` | float, units per second |
| ``feature/STREAM/bytes`` | [T, G] values, raw, little-endian, row by row |
| ``feature/STREAM/dimensions`` | int64 T, G |

Weak supervision is enforced here: :func:`parse_training` does not know the ``segment`` keys.
The data set as a whole is described by :class:`Manifest`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from cpmn_tf.data.annotations import check_id
from cpmn_tf.data.manifest import SCHEMA_VERSION, Manifest, Shard, StreamSpec
from cpmn_tf.errors import UserError

__all__ = [
    "SCHEMA_VERSION",
    "Manifest",
    "Shard",
    "StreamSpec",
    "VideoRecord",
    "encode",
    "float16_loss",
    "parse_training",
    "parse_with_segments",
    "training_spec",
]

ID = "example/id"
DURATION = "clip/duration"
LABEL_INDEX = "clip/label/index"
LABEL_STRING = "clip/label/string"
SEGMENT_START = "segment/start/seconds"
SEGMENT_END = "segment/end/seconds"
SEGMENT_LABEL = "segment/label/index"
DTYPE = "feature/dtype"
RATE = "feature/rate"

MAX_RECORD = (1 << 31) - (1 << 16)  # protocol buffers end at 2 GiB
MAX_UNITS = (1 << 31) - 1  # lengths travel as int32


def stream_keys(name: str) -> tuple[str, str]:
    """The keys of a stream's bytes and of its dimensions."""
    return f"feature/{name}/bytes", f"feature/{name}/dimensions"


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


def float16_loss(values: np.ndarray) -> str:
    """Why float16 cannot hold ``values`` (overflow, non-zero values become zero); '' if it can."""
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype(np.float16)
    over = np.isinf(half) & np.isfinite(values)
    if over.any():
        return f"{np.abs(values[over]).max():.6g} overflows"
    lost = (half == 0) & (values != 0)
    if lost.any():
        share = 100.0 * lost.mean()
        return f"{lost.sum()} values ({share:.2g} %) that are not zero become zero"
    return ""


def encode(record: VideoRecord, manifest: Manifest) -> bytes:
    """Serializes one video; ``manifest`` gives streams, dtype and class names.

    Raises:
      UserError: naming the video, if its streams, lengths, labels or size do not fit.
    """
    check_id(record.id)
    what = f"video {record.id!r}"
    length = _common_length(record, manifest)
    example = tf.train.Example()
    feature = example.features.feature
    feature[ID].bytes_list.value.append(record.id.encode())
    feature[DTYPE].bytes_list.value.append(manifest.dtype.encode())
    for key, number in ((DURATION, record.duration), (RATE, record.rate)):
        if not (np.isfinite(number) and number > 0):
            raise UserError(f"{what}: {key} is {number}; it must be positive")
        feature[key].float_list.value.append(number)
    indices = [*record.labels, *(label for _, _, label in record.segments)]
    if any(not 0 <= index < len(manifest.classes) for index in indices):
        raise UserError(f"{what}: a label is outside the {len(manifest.classes)} classes")
    feature[LABEL_INDEX].int64_list.value.extend(record.labels)
    feature[LABEL_STRING].bytes_list.value.extend(
        manifest.classes[index].encode() for index in record.labels
    )
    feature[SEGMENT_START].float_list.value.extend(start for start, _, _ in record.segments)
    feature[SEGMENT_END].float_list.value.extend(end for _, end, _ in record.segments)
    feature[SEGMENT_LABEL].int64_list.value.extend(label for _, _, label in record.segments)
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    size = sum(length * spec.width * dtype.itemsize for spec in manifest.streams)
    if size > MAX_RECORD:
        raise UserError(f"{what}: its features take {size} bytes, over 2 GiB; cut the video")
    for spec in manifest.streams:
        data_key, dimensions_key = stream_keys(spec.name)
        values = np.ascontiguousarray(record.features[spec.name], dtype)
        feature[data_key].bytes_list.value.append(values.tobytes())
        feature[dimensions_key].int64_list.value.extend((length, spec.width))
    return example.SerializeToString()


def _common_length(record: VideoRecord, manifest: Manifest) -> int:
    """T, after the streams were held against the manifest."""
    what = f"video {record.id!r}"
    names = [spec.name for spec in manifest.streams]
    if set(record.features) != set(names):
        raise UserError(f"{what}: has streams {sorted(record.features)} instead of {names}")
    lengths = set()
    for spec in manifest.streams:
        shape = record.features[spec.name].shape
        if len(shape) != 2 or shape[1] != spec.width:
            raise UserError(
                f"{what}: {spec.name} has the shape {list(shape)} instead of [T, {spec.width}]"
            )
        lengths.add(shape[0])
    if len(lengths) != 1:
        raise UserError(f"{what}: its streams have {sorted(lengths)} units; make them equal")
    (length,) = lengths
    if not 0 < length <= MAX_UNITS:
        raise UserError(f"{what}: has {length} units; remove the video")
    return length


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
