"""The record schema: the one place where keys, types and the version are written.

A record is a serialized ``tf.train.Example``, one per video; its fields are the tables
:data:`VIDEO`, :data:`SEGMENTS` and :func:`stream_fields` (key names follow MediaSequence). The
writer and the parsers (:mod:`cpmn_tf.data.records`) and what TFDS is told
(:mod:`tfrecords_tools.writing`) are derived from them.
"""

import dataclasses

SCHEMA_VERSION = 1  # raise it with any change of a field
DTYPES = ("float16", "float32")  # of features on disk
MAX_RECORD = (1 << 31) - (1 << 16)  # protocol buffers end at 2 GiB
MAX_UNITS = (1 << 31) - 1  # lengths travel as int32


@dataclasses.dataclass(frozen=True)
class Field:
    """One key of a record.

    Attributes:
      key: its name; TFDS takes a ``/`` in it for a level of nesting.
      dtype: ``string``, ``float32`` or ``int64``.
      shape: () for one value, (n,) for n, (None,) for any number.
      classes: whether its numbers are indices of classes.
      units: whether it holds a stream's [T, G] values, raw, little-endian, row by row.
    """

    key: str
    dtype: str
    shape: tuple[int | None, ...] = ()
    classes: bool = False
    units: bool = False


ID = Field("example/id", "string")
DURATION = Field("clip/duration", "float32")  # seconds
LABEL_INDEX = Field("clip/label/index", "int64", (None,), classes=True)  # the video's classes
LABEL_STRING = Field("clip/label/string", "string", (None,))  # their names, for other readers
SEGMENT_START = Field("segment/start/seconds", "float32", (None,))  # of the instances
SEGMENT_END = Field("segment/end/seconds", "float32", (None,))
SEGMENT_LABEL = Field("segment/label/index", "int64", (None,), classes=True)
DTYPE = Field("feature/dtype", "string")  # of all streams, one of DTYPES
RATE = Field("feature/rate", "float32")  # units per second

VIDEO = (ID, DURATION, LABEL_INDEX, LABEL_STRING, DTYPE, RATE)
SEGMENTS = (SEGMENT_START, SEGMENT_END, SEGMENT_LABEL)


def stream_fields(name: str) -> tuple[Field, Field]:
    """A stream's values, and its dimensions T and G."""
    values = Field(f"feature/{name}/bytes", "string", units=True)
    return values, Field(f"feature/{name}/dimensions", "int64", (2,))
