"""Says everything that is wrong with a source, or with a data set of records."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from cpmn_tf.data import records
from cpmn_tf.data.manifest import Manifest, Shard
from cpmn_tf.errors import UserError, reported
from cpmn_tf.files import file_sha256
from cpmn_tf.formats.annotations import Video
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
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "findings": self.findings.to_json()}

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
    **settings: Any,
) -> Validation:
    """Reads a source, or a data set of records, once, and says everything that is wrong with it.

    Args:
      data_dir: the folder of records; None reads a source.
      source: the source's layout, one of :data:`tfrecords_tools.sources.SOURCES`; ``folders`` by
        default.
      train_split: the split that is trained on; by default ``training``, ``train`` or
        ``validation``, whichever there is.
      **settings: fields of :class:`tfrecords_tools.sources.SourceSettings`, as for building.

    Raises:
      UserError: if both a folder of records and a source are given.
    """
    chosen = SourceSettings(**settings)
    findings = Findings()
    checker = Checker(findings=findings)
    if data_dir is None:
        training = _check_source(source or "folders", chosen, checker, findings, train_split)
    else:
        for name in (*(["source"] if source else []), *sorted(chosen.given())):
            raise UserError(f"`{name}` does not go with `data_dir`; give one of them")
        training = _check_records(data_dir, checker, findings, train_split)
    return Validation(
        videos=len(checker.videos),
        units=checker.units,
        splits=dict(Counter(checker.videos.values())),
        training_split=training,
        streams=checker.widths,
        errors=findings.count(ERROR),
        warnings=findings.count(WARNING),
        findings=findings,
    )


def _check_source(
    name: str,
    settings: SourceSettings,
    checker: Checker,
    findings: Findings,
    training: str | None,
) -> str | None:
    """Checks a source; returns the split that is trained on."""
    try:
        source = open_source(name, settings, findings.add)
    except UserError as error:
        findings.add(getattr(error, "kind", "source"), str(error))
        return training
    videos = source.annotations.videos
    splits = {key: video.subset for key, video in videos.items()}
    check_names(source.annotations, findings.add)
    with reported(findings.add, "source"):
        for video in source.videos(splits):
            known = videos[video.id]
            checker.video(known, known.subset, video.rate, video.features)
    training = training or training_split(dict.fromkeys(splits.values(), 0))
    checker.finish(videos, source.annotations.classes, training)
    return training


def _check_records(
    data_dir: str | os.PathLike, checker: Checker, findings: Findings, training: str | None
) -> str | None:
    """Checks a data set's files and records; returns the split that is trained on."""
    try:
        manifest = Manifest.load(data_dir)
    except UserError as error:
        findings.add("source", str(error))
        return training
    videos: dict[str, Video] = {}
    with reported(findings.add, "source"):
        path = manifest.folder / ANNOTATIONS
        videos = dict(parse(path, read_database(path, findings.add), findings.add).videos)
    for split, shards in manifest.splits.items():
        for shard in shards:
            with reported(findings.add, "unreadable"):
                for record in shard_records(manifest, split, shard):
                    _check(manifest, split, record, videos, checker, findings)
                path = manifest.folder / shard.file
                if file_sha256(path) != shard.sha256:
                    raise UserError(
                        f"{path}: its SHA-256 is not the manifest's; copy or build it anew"
                    )
    _check_files(manifest, findings)
    for key in (key for key in videos if key not in checker.videos):
        text = f"{manifest.folder}: video {key!r} of {ANNOTATIONS} has no record"
        findings.add("missing", text, key)
    training = training or training_split(dict.fromkeys(manifest.splits, 0))
    checker.finish(videos, manifest.classes, training)
    return training


def shard_records(manifest: Manifest, split: str, shard: Shard) -> Iterator[dict[str, Any]]:
    """Parsed records of one shard, instances included, as NumPy values.

    Raises:
      UserError: naming the shard, and the record if one is broken.
    """
    alone = dataclasses.replace(manifest, splits={split: (shard,)})
    dataset = tf.data.TFRecordDataset(alone.shard_paths(split))
    try:
        yield from dataset.map(
            lambda serialized: records.parse_with_segments(serialized, alone)
        ).as_numpy_iterator()
    except records.READ_ERRORS as error:
        raise records.explain_read_error(error, alone, split) from None


def _check(
    manifest: Manifest,
    split: str,
    record: dict[str, Any],
    videos: dict[str, Video],
    checker: Checker,
    findings: Findings,
) -> None:
    key = record["id"].decode()
    if key in checker.videos:
        where = checker.videos[key]
        kind = "duplicate" if where == split else "overlap"
        text = f"{manifest.folder}: video {key!r} has a record in {where!r} and one in {split!r}"
        findings.add(kind, text, key)
        return
    known = videos.get(key)
    if known is None:
        text = f"{manifest.folder}: video {key!r} has a record, but is not in {ANNOTATIONS}"
        findings.add("annotation", text, key)
        known = Video(id=key, subset=split)
    else:
        _compare(manifest, split, record, known, findings)
    known = dataclasses.replace(known, duration=float(record["duration"]))
    checker.video(known, split, float(record["rate"]), record["features"])


def _compare(
    manifest: Manifest, split: str, record: dict[str, Any], known: Video, findings: Findings
) -> None:
    """The record must hold the annotations' labels and instances."""
    names = manifest.classes
    labels = sorted(names[index] for index in record["labels"].nonzero()[0])
    instances = [names[index] for index in record["segment_labels"]]
    stored = split, labels, instances
    if stored != (known.subset, sorted(set(known.labels)), [i.label for i in known.instances]):
        text = (
            f"{manifest.folder}: video {known.id!r}: its record says {split!r}, {labels} and "
            f"{len(instances)} instances, {ANNOTATIONS} {known.subset!r}, {sorted(known.labels)} "
            f"and {len(known.instances)}; build the records anew"
        )
        findings.add("annotation", text, known.id)


def _check_files(manifest: Manifest, findings: Findings) -> None:
    listed = {shard.file for shards in manifest.splits.values() for shard in shards}
    for name in sorted(os.listdir(manifest.folder)):
        if name.endswith((".tfrecord", ".part")) and name not in listed:
            text = f"{manifest.folder / name}: the manifest does not list this file"
            findings.add("surplus", text)
