"""A data set's manifest: what its records hold, and in which shards.

``manifest.json`` is in the data set's folder, beside the shards. It is read before any record,
and believed only after every name, number and size in it was checked.
"""

import dataclasses
import hashlib
import keyword
import math
import os
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from cpmn_tf.data.schema import DTYPES, SCHEMA_VERSION, VIDEO
from cpmn_tf.errors import UserError
from cpmn_tf.files import is_file, is_remote, read_own_json, write_json

FILE = "manifest.json"
# Names that are taken beside the streams' under feature/.
RESERVED_STREAMS = [field.key[8:] for field in VIDEO if field.key.startswith("feature/")]
# What the exported graph calls its other arguments, and itself.
GRAPH_ARGUMENTS = ("lengths", "rates", "durations", "class_scores", "self")
MAX_WIDTH = 1 << 20

_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")
_SHARD = re.compile(r"[A-Za-z0-9_]+-\d{5}-of-\d{5}\.tfrecord")


def check_stream_name(name: str) -> None:
    """Checks that a stream may be called so.

    Raises:
      UserError: if it is reserved, or holds other than letters, digits, ``_``, ``-``, ``.``.
    """
    if name in RESERVED_STREAMS:
        raise UserError(f"stream {name!r}: this name is reserved; rename the stream")
    if not _STREAM.fullmatch(name):
        raise UserError(
            f"stream {name!r}: a stream is named by up to 64 letters, digits, _, - and ., the "
            "first a letter or digit; rename it"
        )
    if keyword.iskeyword(name) or graph_argument(name) in GRAPH_ARGUMENTS:
        raise UserError(f"stream {name!r}: a model's graph cannot call it so; rename the stream")


def check_stream_names(names: Collection[str]) -> None:
    """Checks that streams may be called so, beside one another.

    Raises:
      UserError: naming the stream, or the two that a model's graph would call the same, or if there
        is none.
    """
    if not names or len({*names}) != len(names):
        raise UserError("its streams are none, or one is named twice; make it anew")
    known: dict[str, str] = {}
    for name in names:
        check_stream_name(name)
        other = known.setdefault(graph_argument(name), name)
        if other != name:
            raise UserError(
                f"streams {other!r} and {name!r}: a model's graph would call both "
                f"{graph_argument(name)!r}; rename one"
            )


def graph_argument(stream: str) -> str:
    """A stream's name as TensorFlow cleans it for a graph's arguments, which know no case."""
    cleaned = re.sub(r"[^a-z0-9]", "_", stream.lower())
    return cleaned if cleaned[:1].isalpha() else f"arg_{cleaned}"


def check_split(name: str) -> None:
    """Checks that a split may be called so: it becomes part of its shards' names.

    Raises:
      UserError: if it holds other than letters, digits and ``_``, or is ``all``.
    """
    if not _SPLIT.fullmatch(name) or name == "all":
        raise UserError(
            f"subset {name!r}: a split is named by up to 64 letters, digits and _ (not 'all', "
            "which TFDS reserves); rename the subset in the annotations"
        )


def check_classes(classes: tuple[str, ...]) -> None:
    """Checks that classes are usable: at least one, distinct, one printable line each.

    Raises:
      UserError: naming the class. TFDS keeps class names one a line and strips them.
    """
    if not classes:
        raise UserError("there is no class; annotate at least one video with a label")
    for name in classes:
        if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
            raise UserError(
                f"class {name!r}: a class name is one printable line without blanks around it; "
                "rename the class"
            )
    if len(set(classes)) != len(classes):
        raise UserError("a class is named twice; keep one of them")


@dataclasses.dataclass(frozen=True)
class StreamSpec:
    """A named feature stream; ``width`` is G, its values per unit."""

    name: str
    width: int

    def __post_init__(self) -> None:
        """Checks name and width; a :class:`UserError` names the stream."""
        check_stream_name(self.name)
        if type(self.width) is not int or not 0 < self.width <= MAX_WIDTH:
            raise UserError(f"stream {self.name!r}: width {self.width!r} is not in 1..{MAX_WIDTH}")


def check_there(path: str) -> None:
    """Checks that there is such a shard.

    Raises:
      UserError: naming it.
    """
    if not is_file(path):
        raise UserError(f"{path}: this shard is missing; copy or build the records anew")


@dataclasses.dataclass(frozen=True, slots=True)  # 10 TB have 80,000 of them
class Shard:
    """One file of a split: how many videos, units (of all its videos) and bytes it holds."""

    file: str
    videos: int
    units: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Checks the counts, and the name, which also keeps the path inside the folder."""
        if not _SHARD.fullmatch(self.file):
            raise UserError(f"shard {self.file!r} is not named SPLIT-00000-of-00001.tfrecord")
        for count in (self.videos, self.units, self.bytes):
            if type(count) is not int or not 0 <= count < 1 << 63:
                raise UserError(f"shard {self.file!r}: {count!r} is not a count")
        if not isinstance(self.sha256, str):
            raise UserError(f"shard {self.file!r}: its digest {self.sha256!r:.60} is no text")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a data set's folder holds.

    Attributes:
      streams: the feature streams, in order.
      dtype: ``float16`` or ``float32``, of every stream.
      rate: units per second common to all videos, or None where videos differ.
      classes: class names; labels are indices into them.
      splits: shards by split.
      source: how the records came to be, as free plain values (source, seed, recipe).
      schema_version: version of the record schema.
      folder: where the shards are: a path that `tf.io.gfile` opens.

    >>> manifest = Manifest.load("records")
    >>> manifest.rate, manifest.num_videos("training")
    (10.0, 10)
    """

    streams: tuple[StreamSpec, ...]
    dtype: str
    rate: float | None
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    folder: str = dataclasses.field(default=".", compare=False)

    def __post_init__(self) -> None:
        """Checks the values; a :class:`UserError` names the one that is wrong."""
        if self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise UserError(f"rate {self.rate!r} is not a positive number of units per second")
        if not isinstance(self.source, Mapping):
            raise UserError('its "source" is not an object; build the records anew')
        check_stream_names([spec.name for spec in self.streams])
        check_classes(self.classes)
        for split in self.splits:
            check_split(split)

    @classmethod
    def load(cls, data_dir: str | os.PathLike) -> "Manifest":
        """Reads and checks the manifest of the data set in ``data_dir``.

        Raises:
          UserError: if there is none, it is broken, or of another schema version.
        """
        folder = os.fspath(data_dir)
        path = os.path.join(folder, FILE)
        if not is_file(path):
            raise UserError(f"{path}: there is no such file; give a folder of cpmn-build-records")
        value = read_own_json(path)
        try:
            version = value["schema_version"]
            if version != SCHEMA_VERSION:
                raise UserError(
                    f"its records have schema version {version!r}, this program reads "
                    f"{SCHEMA_VERSION}; build the records anew"
                )
            value["streams"] = tuple(StreamSpec(**item) for item in value["streams"])
            value["classes"] = tuple(value["classes"])
            value["splits"] = {
                split: tuple(Shard(**item) for item in shards)
                for split, shards in value["splits"].items()
            }
            return cls(folder=folder, **value)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: is damaged ({type(error).__name__}: {error}); build the records anew"
            ) from None

    @property
    def simulated(self) -> bool:
        """Whether no camera saw what the features show; whatever is made of them has to say so."""
        return self.source.get("source") == "simulated"

    def save(self, data_dir: str | os.PathLike) -> None:
        """Writes ``manifest.json`` into ``data_dir``."""
        value = dataclasses.asdict(self)
        del value["folder"]
        write_json(pathlib.Path(data_dir) / FILE, {key: value[key] for key in sorted(value)})

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name.

        Raises:
          UserError: if there is none; lists those there are.
        """
        for spec in self.streams:
            if spec.name == name:
                return spec
        known = ", ".join(spec.name for spec in self.streams)
        raise UserError(f"{self.folder}: has no stream {name!r}; there are: {known}")

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split.

        Raises:
          UserError: if there is no such split; lists those there are.
        """
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise UserError(f"{self.folder}: has no split {split!r}; there are: {known}")
        return self.splits[split]

    def shard_paths(self, split: str) -> list[str]:
        """Paths of a split's shards, each there and of the size it was written with.

        On another file system, where each look would be a request, that is seen when it is read.

        Raises:
          UserError: naming the shard that is missing, cut short, or has grown.
        """
        paths = []
        for shard in self.shards(split):
            path = os.path.join(self.folder, shard.file)
            paths.append(path)
            if is_remote(path):
                continue
            check_there(path)
            size = os.path.getsize(path)
            if size != shard.bytes:
                raise UserError(
                    f"{path}: has {size} bytes instead of {shard.bytes}; copy or build it anew"
                )
        return paths

    def num_videos(self, split: str) -> int:
        """Number of videos in a split."""
        return sum(shard.videos for shard in self.shards(split))

    def fingerprint(self, split: str) -> str:
        """Hexadecimal digest of a split's content: the same records, the same fingerprint."""
        digests = "\n".join(shard.sha256 for shard in self.shards(split))
        return hashlib.sha256(digests.encode()).hexdigest()
