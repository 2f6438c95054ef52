"""The index of a split: what is known of every record without reading it.

``SPLIT.index.npz`` is left beside the shards by the writer, so that a million records are opened
without reading one. It holds NumPy arrays, which nothing pickled is among.
"""

import dataclasses
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from cpmn_tf.data import records, schema
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.files import is_file, opened, replaced

# What TFRecord puts around a record: its length and two checksums.
FRAME = 16

_TYPES = {"names": "u1", "ends": "i8", "units": "i4", "labels": "i4", "label_ends": "i8"}
_TYPES |= {"sizes": "i8"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What an index holds of one record: ``labels`` are indices of classes, ``size`` is bytes."""

    id: str
    units: int
    labels: Sequence[int]
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """The records of a split, in the order of its shards.

    Attributes:
      names: [bytes] uint8, all ids in UTF-8, one after another.
      ends: [records] int64, where each id ends among ``names``.
      units: [records] int32.
      labels: [labels] int32, all records' classes, one after another.
      label_ends: [records] int64, where each record's classes end among ``labels``.
      sizes: [records] int64, bytes of each record without its frame.
    """

    names: np.ndarray
    ends: np.ndarray
    units: np.ndarray
    labels: np.ndarray
    label_ends: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Index":
        """The index of records in the order of the shards."""
        names = [entry.id.encode() for entry in entries]
        columns = {
            "names": np.frombuffer(b"".join(names), np.uint8),
            "ends": np.cumsum([len(name) for name in names]),
            "units": [entry.units for entry in entries],
            "labels": [label for entry in entries for label in entry.labels],
            "label_ends": np.cumsum([len(entry.labels) for entry in entries]),
            "sizes": [entry.size for entry in entries],
        }
        return cls(**{name: np.asarray(columns[name], kind) for name, kind in _TYPES.items()})

    @classmethod
    def open(cls, manifest: Manifest, split: str) -> "Index":
        """The index beside the shards; of older records that have none, each is read instead.

        Raises:
          UserError: naming the index or the shard that is broken, or a video that is there twice.
        """
        path = path_of(manifest, split)
        manifest.shards(split)  # that there is such a split
        if is_file(path):
            index = _load(path, manifest, split)
        else:
            index = cls.of(list(_scan(manifest, split)))
        if not len(index.units):
            raise UserError(f"{manifest.folder}: the split {split!r} holds no video; add some")
        # By hashes: a million strings would take as much memory as all the rest.
        names = map(bytes.decode, index.ids_as_bytes())
        try:
            hashes = np.fromiter(map(hash, names), np.int64, len(index.units))
        except UnicodeDecodeError:
            raise _broken(path, "holds an id that is no text") from None
        hashes.sort()
        if (hashes[1:] == hashes[:-1]).any():
            ((name, _),) = Counter(index.ids_as_bytes()).most_common(1)
            raise UserError(
                f"{manifest.folder}: video {name.decode()!r} is in {split!r} twice; build the "
                "records anew"
            )
        return index

    def save(self, manifest: Manifest, split: str) -> None:
        """Writes the index beside the shards of a manifest."""
        with replaced(path_of(manifest, split)) as temporary, open(temporary, "wb") as file:
            np.savez(file, shards=manifest.fingerprint(split), **dataclasses.asdict(self))

    def ids_as_bytes(self) -> Iterator[bytes]:
        """The ids in UTF-8, one after another."""
        names, begin = self.names.tobytes(), 0
        for end in self.ends.tolist():
            yield names[begin:end]
            begin = end

    def labels_of(self, numbers: Iterable[int]) -> Iterator[list[int]]:
        """The classes of records, as indices."""
        begins = np.concatenate([[0], self.label_ends[:-1]])
        for number in numbers:
            yield self.labels[begins[number] : self.label_ends[number]].tolist()


def path_of(manifest: Manifest, split: str) -> str:
    """Where the index of a split is."""
    return os.path.join(manifest.folder, f"{split}.index.npz")


def _load(path: str, manifest: Manifest, split: str) -> Index:
    """Reads an index and holds it against what the manifest says of the shards."""
    try:
        with opened(path) as file:
            arrays = dict(np.load(io.BytesIO(file.read()), allow_pickle=False))
    except (ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile) as error:
        raise _broken(path, f"is damaged ({type(error).__name__})") from None
    if str(arrays.pop("shards", "")) != manifest.fingerprint(split):
        raise _broken(path, "is of other shards")
    if {name: array.dtype for name, array in arrays.items()} != _TYPES:
        raise _broken(path, "does not hold an index's arrays")
    index, shards = Index(**arrays), manifest.shards(split)
    counts = [shard.videos for shard in shards]
    ends = np.cumsum(counts)
    fits = all(array.ndim == 1 for array in arrays.values())
    fits = fits and all(
        len(column) == sum(counts)
        for column in (index.ends, index.units, index.label_ends, index.sizes)
    )
    for column, limits in ((index.names, index.ends), (index.labels, index.label_ends)):
        steps = np.diff(limits, prepend=0) if fits else np.array([-1])
        fits = fits and steps.min(initial=0) >= 0 and steps.sum() == len(column)
    if fits:
        begins = ends - counts
        units, sizes = (
            [int(column[begin:end].sum()) for begin, end in zip(begins, ends, strict=True)]
            for column in (index.units.astype(np.int64), index.sizes + FRAME)
        )
        fits = [shard.units for shard in shards] == units
        fits = fits and [shard.bytes for shard in shards] == sizes
        fits = fits and index.units.min(initial=1) > 0 and index.sizes.min(initial=1) > 0
        fits = fits and index.units.max(initial=1) <= schema.MAX_UNITS
        fits = fits and index.labels.min(initial=0) >= 0
        fits = fits and index.labels.max(initial=0) < len(manifest.classes)
    if not fits:
        raise _broken(path, "does not fit the manifest")
    return index


def _broken(path: str, what: str) -> UserError:
    return UserError(f"{path}: {what}; copy it anew, or remove it to have the records read instead")


def _scan(manifest: Manifest, split: str) -> Iterator[Entry]:
    """What the index would hold; every record is parsed once."""
    _, dimensions = schema.stream_fields(manifest.streams[0].name)
    spec = records.parsers([schema.ID, dimensions])
    spec[schema.LABEL_INDEX.key] = tf.io.RaggedFeature(tf.int64)
    paths, count = manifest.shard_paths(split), 0
    records.check_frames(paths)
    dataset = tf.data.TFRecordDataset(paths).batch(64)
    dataset = dataset.map(
        tf.autograph.experimental.do_not_convert(
            lambda batch: (tf.io.parse_example(batch, spec), tf.strings.length(batch))
        )
    )
    for parsed, sizes in records.readable(dataset, manifest, split):
        for name, units, labels, size in zip(
            parsed[schema.ID.key].numpy().tolist(),
            parsed[dimensions.key].numpy()[:, 0].tolist(),
            parsed[schema.LABEL_INDEX.key].to_list(),
            sizes.numpy().tolist(),
            strict=True,
        ):
            key = name.decode(errors="replace")
            known = all(0 <= label < len(manifest.classes) for label in labels)
            if key.encode() != name or not 0 < units <= schema.MAX_UNITS or not known:
                error = ValueError(f"the id, units or classes of {key!r} cannot be")
                raise records.explain_read_error(error, manifest, split)
            yield Entry(key, units, labels, size)
            count += 1
    if count != manifest.num_videos(split):
        raise records.explain_read_error(ValueError(f"{count} videos"), manifest, split)
