"""Writes a data set's folder: shards and their index, manifest, annotations, TFDS metadata."""

import concurrent.futures
import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cpmn_tf.data.index import Entry, Index
from cpmn_tf.data.manifest import Manifest, Shard
from cpmn_tf.data.records import VideoRecord, encode
from cpmn_tf.data.schema import SEGMENTS, VIDEO, stream_fields
from cpmn_tf.files import file_sha256
from cpmn_tf.formats.annotations import Annotations, Video, save_annotations

ANNOTATIONS = "annotations.json"
SHARD_BYTES = 128 << 20  # a shard by size is closed when it reaches this


@dataclasses.dataclass
class _OpenShard:
    path: pathlib.Path
    writer: tf.io.TFRecordWriter
    entries: list[Entry] = dataclasses.field(default_factory=list)
    bytes: int = 0


class SplitWriter:
    """Writes one split's records to shards whose number is known only at the end.

    ``shards`` of them are filled in turn (fewer if there are fewer videos); None starts a new one
    whenever ``SHARD_BYTES`` are reached.
    """

    def __init__(self, *, folder: pathlib.Path, split: str, shards: int | None):
        self._folder, self._split, self._number = folder, split, shards
        self._shards: list[_OpenShard] = []
        self._count = 0

    def write(self, serialized: bytes, entry: Entry) -> None:
        """Appends one record."""
        shard = self._next()
        shard.writer.write(serialized)
        shard.entries.append(entry)
        shard.bytes += len(serialized)
        self._count += 1

    def _next(self) -> _OpenShard:
        if self._number is not None and self._count >= self._number:
            return self._shards[self._count % self._number]
        if self._number is None and self._shards:
            if self._shards[-1].bytes < SHARD_BYTES:
                return self._shards[-1]
            self._shards[-1].writer.close()
        path = self._folder / f"{self._split}-{len(self._shards):05d}.part"
        self._shards.append(_OpenShard(path, tf.io.TFRecordWriter(str(path))))
        return self._shards[-1]

    def close(self) -> None:
        """Closes all files; may be called twice."""
        for shard in self._shards:
            shard.writer.close()

    def finish(self) -> tuple[tuple[Shard, ...], Index]:
        """Closes the shards and gives them their final names; returns them and their index."""
        self.close()
        total = len(self._shards)
        paths = [
            shard.path.rename(self._folder / f"{self._split}-{index:05d}-of-{total:05d}.tfrecord")
            for index, shard in enumerate(self._shards)
        ]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            digests = pool.map(file_sha256, paths)
            shards = tuple(
                Shard(
                    path.name,
                    len(shard.entries),
                    sum(entry.units for entry in shard.entries),
                    path.stat().st_size,
                    digest,
                )
                for path, shard, digest in zip(paths, self._shards, digests, strict=True)
            )
        return shards, Index.of([entry for shard in self._shards for entry in shard.entries])


def write_shards(
    folder: pathlib.Path,
    manifest: Manifest,
    records: Iterable[tuple[str, VideoRecord]],
    *,
    shards: int | None = None,
) -> Manifest:
    """Writes (split, record) pairs as they come, one record in memory at a time.

    Args:
      folder: an existing folder; partial shards in it stay there if this fails.
      manifest: without splits.
      records: what to write.
      shards: number of shards per split; None decides by size.

    Returns:
      The manifest with the splits' shards; their index is beside them.
    """

    def encoded() -> Iterator[tuple[str, bytes, Entry]]:
        for split, record in records:
            units, serialized = len(next(iter(record.features.values()))), encode(record, manifest)
            yield split, serialized, Entry(record.id, units, record.labels, len(serialized))

    return write_serialized(folder, manifest, encoded(), shards=shards)


def write_serialized(
    folder: pathlib.Path,
    manifest: Manifest,
    records: Iterable[tuple[str, bytes, Entry]],
    *,
    shards: int | None = None,
) -> Manifest:
    """Does :func:`write_shards` with (split, record, its entry) of records that are encoded."""
    writers: dict[str, SplitWriter] = {}
    with contextlib.ExitStack() as stack:
        for split, record, entry in records:
            if split not in writers:
                writers[split] = SplitWriter(folder=folder, split=split, shards=shards)
                stack.callback(writers[split].close)
            writers[split].write(record, entry)
        found = {split: writer.finish() for split, writer in writers.items()}
    splits = {split: shards for split, (shards, _) in found.items()}
    manifest = dataclasses.replace(manifest, splits=splits, folder=str(folder))
    for split, (_, index) in found.items():
        index.save(manifest, split)
    return manifest


def write_metadata(folder: pathlib.Path, manifest: Manifest, videos: Mapping[str, Video]) -> None:
    """Writes what is beside the shards.

    Args:
      folder: of the shards.
      manifest: as :func:`write_shards` returned it.
      videos: every video that was written, ``subset`` being its split.
    """
    manifest.save(folder)
    save_annotations(folder / ANNOTATIONS, Annotations(videos, manifest.classes))
    # Lets ``tfds.builder_from_directory`` open the folder without this package.
    import tensorflow_datasets as tfds  # seconds to import, and only needed here

    template = "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard.videos for shard in shards],
            num_bytes=sum(shard.bytes for shard in shards),
            filename_template=tfds.core.ShardedFileTemplate(
                template=template,
                dataset_name="cpmn",
                data_dir=folder,
                split=split,
                filetype_suffix="tfrecord",
            ),
        )
        for split, shards in manifest.splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=_tfds_features(tfds.features, manifest),
        split_infos=splits,
        version="1.0.0",
        filename_template=template,
        description="Untrimmed videos' unit-level features with video-level labels; see "
        "manifest.json and annotations.json.",
        check_data=False,
    )


def _tfds_features(features: Any, manifest: Manifest) -> Any:
    """The record schema in TFDS's words: a ``/`` in a key is a level of nesting."""
    nested: dict = {}
    streams = [(field, spec) for spec in manifest.streams for field in stream_fields(spec.name)]
    for field, spec in [*((field, None) for field in (*VIDEO, *SEGMENTS)), *streams]:
        if spec is not None and field.units:
            shape = (None, spec.width)
            dtype = np.dtype(manifest.dtype)
            item = features.Tensor(shape=shape, dtype=dtype, encoding="bytes")
        elif field.classes:
            item = features.ClassLabel(names=list(manifest.classes))
        elif field.dtype == "string":
            item = features.Text()
        elif field.shape in ((), (None,)):
            item = features.Scalar(np.dtype(field.dtype))
        else:
            item = features.Tensor(shape=field.shape, dtype=np.dtype(field.dtype))
        *levels, last = field.key.split("/")
        level = nested
        for name in levels:
            level = level.setdefault(name, {})
        level[last] = features.Sequence(item) if field.shape == (None,) else item
    return features.FeaturesDict(nested)
