"""Checks a data set of records: its files, its records, and annotations.json against them."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from cpmn_tf.data import records
from cpmn_tf.data.manifest import Manifest, Shard
from cpmn_tf.errors import UserError
from cpmn_tf.files import file_sha256
from cpmn_tf.formats.annotations import Video
from tfrecords_tools.checks import Checker, training_split
from tfrecords_tools.findings import Findings
from tfrecords_tools.reading.databases import parse, read_database
from tfrecords_tools.writing import ANNOTATIONS


def check_shards(
    data_dir: str | os.PathLike, findings: Findings, training: str | None
) -> dict[str, Any]:
    """Reads every shard once and checks it; returns what the data set holds, as plain values."""
    checker = Checker(findings=findings)
    manifest = None
    videos: dict[str, Video] = {}
    with findings.catching("source"):
        manifest = Manifest.load(data_dir)
    if manifest is None:
        return checker.summary(training)
    with findings.catching("source"):
        path = manifest.folder / ANNOTATIONS
        videos = dict(parse(path, read_database(path, findings.add), findings.add).videos)
    training = training or training_split(dict.fromkeys(manifest.splits, 0))
    for split, shards in manifest.splits.items():
        for shard in shards:
            with findings.catching("unreadable"):
                for record in _records(manifest, split, shard):
                    _check(manifest, split, record, videos, checker, findings)
    _check_files(manifest, findings)
    for key in (key for key in videos if key not in checker.videos):
        text = f"{manifest.folder}: video {key!r} of {ANNOTATIONS} has no record"
        findings.add("missing", text, key)
    checker.finish(videos, manifest.classes, training)
    return checker.summary(training)


def _records(manifest: Manifest, split: str, shard: Shard) -> Iterator[dict[str, Any]]:
    """Parsed records of one shard, after its size, framing and digest were checked."""
    alone = dataclasses.replace(manifest, splits={split: (shard,)})
    (path,) = alone.shard_paths(split)
    changed = file_sha256(path) != shard.sha256
    dataset = tf.data.TFRecordDataset(path)
    try:
        yield from dataset.map(
            lambda serialized: records.parse_with_segments(serialized, alone)
        ).as_numpy_iterator()
    except records.READ_ERRORS as error:
        raise records.explain_read_error(error, alone, split) from None
    if changed:  # after the records, since a broken one is the better message
        raise UserError(f"{path}: its SHA-256 is not the manifest's; copy or build it anew")


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
    names = manifest.classes
    labels = {names[index] for index in record["labels"].nonzero()[0]}
    if labels != set(known.labels) or known.subset != split:
        text = (
            f"{manifest.folder}: video {known.id!r}: its record says {split!r} and "
            f"{sorted(labels)}, {ANNOTATIONS} {known.subset!r} and {sorted(known.labels)}"
        )
        findings.add("annotation", text, known.id)


def _check_files(manifest: Manifest, findings: Findings) -> None:
    listed = {shard.file for shards in manifest.splits.values() for shard in shards}
    for name in sorted(os.listdir(manifest.folder)):
        if name.endswith((".tfrecord", ".part")) and name not in listed:
            text = f"{manifest.folder / name}: the manifest does not list this file"
            findings.add("surplus", text)
