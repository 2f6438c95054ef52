"""The record schema: the one place where keys and types are written; and the writer.

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

The parser is :mod:`cpmn_tf.data.records`; the data set as a whole is described by
:class:`cpmn_tf.data.manifest.Manifest`, which holds the schema's version.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import check_id
from cpmn_tf.formats.arrays import all_finite

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
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(record.features[spec.name], dtype)
        if not all_finite(values):
            raise UserError(
                f"{what}: {spec.name} holds NaN or infinite values in {manifest.dtype}; mend them"
            )
        feature[data_key].bytes_list.value.append(values.tobytes())
        feature[dimensions_key].int64_list.value.extend((length, spec.width))
    # Maps have no order of their own: without this, each process would write other bytes.
    return example.SerializeToString(deterministic=True)


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
