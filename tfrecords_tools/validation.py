"""Says everything that is wrong with a source, or with a data set of records."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from cpmn_tf.data import records
from cpmn_tf.data.index import Index, path_of
from cpmn_tf.data.manifest import Manifest, Shard
from cpmn_tf.errors import UserError, reported
from cpmn_tf.files import file_sha256, is_file
from cpmn_tf.formats.annotations import Annotations, Video
from tfrecords_tools.checks import Checker, check_names, training_split
from tfrecords_tools.findings import ERROR, WARNING, Findings
from tfrecords_tools.reading.databases import parse, read_database
from tfrecords_tools.sources import SourceSettings, open_source
from tfrecords_tools.writing import ANNOTATIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """What was read, and what is wrong with it; prints as a listing, worst first.

    Attributes:
      videos: number of videos.
      units: number of units of all videos.
      splits: number of videos of each split.
      training_split: the split that is trained on.
      streams: width of each stream, values per unit.
      errors: number of findings that would spoil training.
      warnings: number of other findings.
      findings: all of them.

    >>> print(validate_records(data_dir="records"))
    read: 15 videos (training 10, testing 5), ... units; streams: rgb 12, flow 8; ...
    """

    videos: int
    units: int
    splits: dict[str, int]
    training_split: str | None
    streams: dict[str, int]
    errors: int
    warnings: int
    findings: Findings

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, with every finding."""
        return {**vars(self), "findings": self.findings.to_json()}

    def __str__(self) -> str:
        splits = ", ".join(f"{name} {count}" for name, count in self.splits.items()) or "none"
        streams = ", ".join(f"{name} {width}" for name, width in self.streams.items()) or "none"
        lines = [
            f"read: {self.videos} videos ({splits}), {self.units} units; "
            f"streams: {streams}; training split: {self.training_split or 'none'}",
            self.findings.to_text(),
            f"{self.errors} errors, {self.warnings} warnings",
        ]
        return "\n".join(line for line in lines if line)


def validate_records(
    *,
    data_dir: str | os.PathLike | None = None,
    source: str | None = None,
    train_split: str | None = None,
    allow_empty_classes: bool = False,
    **settings: Any,
) -> Validation:
    """Reads a source, or a data set of records, once, and says everything that is wrong with it.

    Args:
      data_dir: the folder of records; None reads a source.
      source: the source's layout, one of :data:`tfrecords_tools.sources.SOURCES`; ``folders`` by
        default.
      train_split: the split that is trained on; by default ``training``, ``train`` or
        ``validation``, whichever there is, else one with ``train`` in its name, else the first.
      allow_empty_classes: whether classes without a labelled video in it are no error.
      **settings: fields of :class:`tfrecords_tools.sources.SourceSettings`, as for building.

    Raises:
      UserError: if both a folder of records and a source are given.
    """
    chosen = SourceSettings(**settings)
    checker = Checker()
    findings = checker.findings
    if data_dir is None:
        annotations = _check_source(source or "folders", chosen, checker)
        splits = list(dict.fromkeys(video.subset for video in annotations.videos.values()))
    else:
        for name in (*(["source"] if source else []), *sorted(chosen.given())):
            raise UserError(f"`{name}` does not go with `data_dir`; give one of them")
        annotations, splits = _check_records(data_dir, checker)
    training = train_split or training_split(splits)
    checker.finish(annotations, training, allow_empty_classes)
    return Validation(
        videos=len(checker.videos),
        units=checker.units,
        splits=dict(Counter(checker.videos.values())),
        training_split=training,
        streams={name: width for name, (width, _, _) in checker.first.items()},
        errors=findings.count(ERROR),
        warnings=findings.count(WARNING),
        findings=findings,
    )


def _check_source(name: str, settings: SourceSettings, checker: Checker) -> Annotations:
    """Checks a source; returns its annotations, as far as they can be read."""
    problem, annotations = checker.findings.add, Annotations({}, ())
    with reported(problem, "source"):
        source = open_source(name, settings, problem)
        annotations = source.annotations
        check_names(annotations, problem)
        for video in source.videos({key: v.subset for key, v in annotations.videos.items()}):
            checker.video(annotations.videos[video.id], video.rate, video.features)
    return annotations


def _check_records(data_dir: str | os.PathLike, checker: Checker) -> tuple[Annotations, list[str]]:
    """Checks a data set's files and records; returns its annotations and splits."""
    problem, videos = checker.findings.add, dict[str, Video]()
    try:
        manifest = Manifest.load(data_dir)
    except UserError as error:
        problem("source", str(error))
        return Annotations({}, ()), []
    with reported(problem, "source"):
        path = os.path.join(manifest.folder, ANNOTATIONS)
        videos |= parse(path, read_database(path, problem), problem).videos
    listed = set()
    for split, shards in manifest.splits.items():
        entries: list[tuple[str, int, list[int]]] = []
        for shard in shards:
            path = os.path.join(manifest.folder, shard.file)
            listed.add(shard.file)
            with reported(problem, "unreadable"):
                for record in shard_records(manifest, split, shard):
                    _check_record(manifest, split, record, videos, checker)
                    labels = record["labels"].nonzero()[0].tolist()
                    entries.append((record["id"].decode(), int(record["length"]), labels))
                if file_sha256(path) != shard.sha256:
                    raise UserError(
                        f"{path}: its SHA-256 is not the manifest's; copy or build it anew"
                    )
        path = path_of(manifest, split)
        if len(entries) == manifest.num_videos(split) and is_file(path):  # else it is said above
            with reported(problem, "unreadable"):
                index = Index.open(manifest, split)
                names = (name.decode() for name in index.ids_as_bytes())
                classes = (sorted(row) for row in index.labels_of(range(len(entries))))
                if entries != list(zip(names, index.units.tolist(), classes, strict=True)):
                    raise UserError(f"{path}: is not of these records; copy or build them anew")
    for name in sorted(tf.io.gfile.listdir(manifest.folder)):
        if name.endswith((".tfrecord", ".part")) and name not in listed:
            path = os.path.join(manifest.folder, name)
            problem("surplus", f"{path}: the manifest does not list this file")
    for key in (key for key in videos if key not in checker.videos):
        text = f"{manifest.folder}: video {key!r} of {ANNOTATIONS} has no record"
        problem("missing", text, key)
    return Annotations(videos, manifest.classes), list(manifest.splits)


def shard_records(manifest: Manifest, split: str, shard: Shard) -> Iterator[dict[str, Any]]:
    """Parsed records of one shard, instances included, as NumPy values.

    Raises:
      UserError: naming the shard, and the record if one is broken.
    """
    alone = dataclasses.replace(manifest, splits={split: (shard,)})
    paths = alone.shard_paths(split)
    records.check_frames(paths)
    dataset = tf.data.TFRecordDataset(paths)
    parsed = dataset.map(lambda serialized: records.parse_with_segments(serialized, alone))
    yield from records.readable(parsed.as_numpy_iterator(), alone, split)


def _check_record(
    manifest: Manifest,
    split: str,
    record: dict[str, Any],
    videos: Mapping[str, Video],
    checker: Checker,
) -> None:
    """Checks one record, which must hold the annotations' labels and instances."""
    key, names = record["id"].decode(errors="replace"), manifest.classes
    problem = checker.findings.add
    if key in checker.videos:
        where = checker.videos[key]
        kind = "duplicate" if where == split else "overlap"
        text = f"{manifest.folder}: video {key!r} has a record in {where!r} and one in {split!r}"
        problem(kind, text, key)
        return
    known = videos.get(key)
    labels = sorted(names[index] for index in record["labels"].nonzero()[0])
    instances = [names[index] for index in record["segment_labels"]]
    if known is None:
        text = f"{manifest.folder}: video {key!r} has a record, but is not in {ANNOTATIONS}"
        problem("annotation", text, key)
        known = Video(id=key, subset=split)
    elif (split, labels, instances) != (
        known.subset,
        sorted(set(known.labels)),
        [item.label for item in known.instances],
    ):
        text = (
            f"{manifest.folder}: video {key!r}: its record says {split!r}, {labels} and "
            f"{len(instances)} instances, {ANNOTATIONS} {known.subset!r}, {sorted(known.labels)} "
            f"and {len(known.instances)}; build the records anew"
        )
        problem("annotation", text, key)
    known = dataclasses.replace(known, subset=split, duration=float(record["duration"]))
    checker.video(known, float(record["rate"]), record["features"])
