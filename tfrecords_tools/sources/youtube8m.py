"""YouTube-8M's frame-level features: TFRecords of SequenceExamples, a unit per second.

``train*.tfrecord``, ``validate*.tfrecord`` and ``test*.tfrecord``, in one folder or in folders of
those names. A record's context holds ``id`` (``video_id`` in the first release) and ``labels``, its
feature lists ``rgb`` (1024) and ``audio`` (128) a string of bytes per second; byte q stands for
q·4/255 − 2 + 4/512, as the data set's starter code has it.
"""

import os
import pathlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from cpmn_tf.data.records import check_frames
from cpmn_tf.errors import Defect, Problem, UserError, reported
from cpmn_tf.formats.annotations import Annotations, Video, check_id
from cpmn_tf.formats.tables import read_table
from tfrecords_tools.findings import Findings, raise_errors
from tfrecords_tools.sources import SourceSettings, SourceVideo

REQUIRED = ("features_dir",)
OPTIONAL = ("annotations",)
SUBSETS = ("train", "validate", "test")
STREAMS = ("rgb", "audio")
# What each byte stands for.
DEQUANTIZED = (np.arange(256) * (4 / 255) - 2 + 4 / 512).astype(np.float32)


class Youtube8mSource:
    """YouTube-8M's records; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(self, settings: SourceSettings, problem: Problem = raise_errors):
        """Reads ids and labels of all records (their features are read again later).

        Args:
          settings: ``features_dir`` is the folder of the records; ``annotations`` the data set's
            ``vocabulary.csv`` (columns ``Index`` and ``Name``), without which classes are named by
            their numbers.
          problem: called at each defect.

        Raises:
          UserError: naming the file and the fix.
        """
        self._problem = problem
        self._files = _files(pathlib.Path(str(settings.features_dir)))
        names = None if settings.annotations is None else _vocabulary(settings.annotations)
        videos: dict[str, Video] = {}
        used: dict[int, str] = {}
        for path, subset in self._files:
            for number, example in _examples(path, problem):
                with reported(problem, "unreadable"):
                    key, labels = _described(path, number, example, names)
                    if key in videos:
                        where = videos[key].subset
                        kind = "duplicate" if where == subset else "overlap"
                        text = f"{path}: video {key!r} is in {where!r} already; keep one of them"
                        raise Defect(kind, text)
                    videos[key] = Video(id=key, subset=subset, labels=tuple(labels.values()))
                    used |= labels
        classes = tuple(used[label] for label in sorted(used))
        self.annotations = Annotations(videos, classes)
        self.facts = {"source": "youtube8m"}
        self.counts = Counter[tuple[str, str]]()
        self.notes: list[str] = []

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted, so that only the keys of ``splits`` matter."""
        done = set()
        for path, _ in self._files:
            for _, example in _examples(path, Findings().add):  # told when it was opened
                key = _id(example)
                if key in (splits if wanted is None else wanted) and key not in done:
                    done.add(key)
                    with reported(self._problem, "unreadable", key):
                        features = _features(f"{path}: video {key!r}", example)
                        yield SourceVideo(id=key, rate=1.0, features=features)


def _files(root: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """(path, subset) of the records' files, sorted."""
    found = []
    for subset in SUBSETS:
        folders = [root / subset] if (root / subset).is_dir() else [root]
        for folder in folders:
            paths = folder.glob("[!.]*.tfrecord" if folder != root else f"{subset}*.tfrecord")
            found += [(path, subset) for path in sorted(paths)]
    if not found:
        raise UserError(
            f"{root}: holds no train*.tfrecord, validate*.tfrecord or test*.tfrecord; check "
            "`features_dir`"
        )
    return found


def _vocabulary(path: str | os.PathLike) -> dict[int, str]:
    names: dict[int, str] = {}
    for place, row in read_table(path, {"Index": ("index",), "Name": ("name",)}):
        if not re.fullmatch(r"\d{1,9}", row["Index"]):
            raise UserError(f"{place}: {row['Index']!r:.40} is not a class's number; fix it")
        number = int(row["Index"])
        text = row["Name"] or str(number)
        names[number] = f"{text} ({number})" if text in names.values() else text
    return names


def _examples(
    path: pathlib.Path, problem: Problem
) -> Iterator[tuple[int, tf.train.SequenceExample]]:
    """A file's records and their numbers."""
    with reported(problem, "unreadable"):
        check_frames([str(path)])
        try:
            for number, data in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
                try:
                    example = tf.train.SequenceExample.FromString(data)
                except DecodeError:
                    problem("unreadable", f"{path}: record {number} is no SequenceExample")
                else:
                    yield number, example
        except tf.errors.OpError:
            text = f"{path}: a record is damaged or cut short; copy the file anew"
            raise UserError(text) from None


def _id(example: tf.train.SequenceExample) -> str:
    for name in ("id", "video_id"):
        values = example.context.feature[name].bytes_list.value
        if len(values) == 1:
            return values[0].decode("utf-8", "replace")
    return ""


def _described(
    path: pathlib.Path,
    number: int,
    example: tf.train.SequenceExample,
    names: Mapping[int, str] | None,
) -> tuple[str, dict[int, str]]:
    """A record's id, and its classes' names by their numbers."""
    key = _id(example)
    if not key:
        raise UserError(f"{path}: record {number} has no id; copy the file anew")
    try:
        check_id(key)
    except UserError as error:
        raise Defect("id", f"{path}: {error}") from None
    labels = sorted(set(example.context.feature["labels"].int64_list.value))
    for label in labels:
        if label < 0 or (names is not None and label not in names):
            raise Defect("label", f"{path}: video {key!r}: label {label} is not in the vocabulary")
    return key, {label: str(label) if names is None else names[label] for label in labels}


def _features(what: str, example: tf.train.SequenceExample) -> dict[str, np.ndarray]:
    features = {}
    for stream in STREAMS:
        rows = [
            item.bytes_list.value for item in example.feature_lists.feature_list[stream].feature
        ]
        if not rows:
            continue
        sizes = {len(row[0]) if len(row) == 1 else 0 for row in rows}
        if len(sizes) != 1 or sizes == {0}:
            raise UserError(f"{what}: {stream} does not hold as many bytes every second")
        flat = np.frombuffer(b"".join(row[0] for row in rows), np.uint8)
        features[stream] = DEQUANTIZED[flat].reshape(len(rows), -1)
    if not features:
        raise UserError(f"{what}: has neither rgb nor audio; take frame-level records")
    return features


open_source = Youtube8mSource
