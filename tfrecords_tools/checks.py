"""What is checked of every video, and of all of them together, whatever they were read from.

Building makes the first of these checks itself, those that a data set cannot be written without.
"""

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from cpmn_tf.data.manifest import StreamSpec, check_classes, check_split, check_stream_names
from cpmn_tf.data.records import check_size
from cpmn_tf.errors import Problem, reported
from cpmn_tf.formats.annotations import Annotations, Video, check_id
from cpmn_tf.formats.arrays import all_finite
from cpmn_tf.formats.times import SAME, check_times, given_twice, instances_of
from tfrecords_tools.findings import Findings

TRIM = 2  # units by which a video's streams may differ in length
SAMPLE = 16  # units of a stream that its digest is taken of
MANY = 0.5  # of the videos whose durations are known; that many wrong ones are the settings' fault
# The same of videos without durations, whose segments leave the units' span. 1 % of THUMOS14's do,
# 47 % if units are taken for a tenth too short, 67 % at 30 instead of 25 frames per second.
MANY_OUTSIDE = 0.25
SOME_OUTSIDE = 3  # videos at least
TRAINING_NAMES = ("training", "train", "validation")  # the first that there is is trained on


def check_names(annotations: Annotations, problem: Problem) -> None:
    """Tells ``problem`` of classes, subsets and ids that records cannot have, or of no video."""
    if not annotations.videos:
        text = "the source has no video; check the annotations and the features"
        problem("source", text)
    with reported(problem, "annotation"):
        check_classes(annotations.classes)
    for name in sorted({video.subset for video in annotations.videos.values()}):
        with reported(problem, "annotation"):
            check_split(name)
    for key in annotations.videos:
        with reported(problem, "id", key):
            check_id(key)


def check_segments(annotations: Annotations, lengths: Collection[float], problem: Problem) -> None:
    """Tells ``problem`` of splits whose times cannot be seconds, and of instances given twice.

    Args:
      annotations: of all videos.
      lengths: seconds that videos last, as far as they are known.
      problem: called at each defect.
    """
    videos = annotations.videos.values()
    durations = {video.id: video.duration for video in videos}
    for split in sorted({video.subset for video in videos}):
        some = instances_of(annotations.subset(split))
        with reported(problem, "seconds"):
            check_times(f"split {split!r}", "instance", some, durations, "video", [*lengths])
    found = instances_of(annotations)
    rows, twice = given_twice(found.video, found.label, found.start, found.end)
    counts = np.bincount(found.video[rows[twice]], minlength=len(found.videos))
    for key, count in zip(found.videos, counts.tolist(), strict=True):
        if count:
            text = (
                f"video {key!r}: {count} of {len(annotations.videos[key].instances)} instances "
                f"within {SAME:g} s of another of their class; remove them"
            )
            problem("twice", text, key)


# Of each stream of the first video: its width, its units, and the video's id.
First = dict[str, tuple[int, int, str]]


def check_streams(
    key: str, features: Mapping[str, np.ndarray], first: First, problem: Problem
) -> None:
    """Tells ``problem`` of streams that records cannot have, or that differ between videos.

    Args:
      key: the video's id.
      features: [T, G] per stream.
      first: empty before the first video, which fills it.
      problem: called at each defect.
    """
    if not first:
        first |= {name: (values.shape[1], len(values), key) for name, values in features.items()}
        with reported(problem, "streams"):
            check_stream_names(first)
            for name, (width, _, _) in first.items():
                StreamSpec(name, width)
    other = next(iter(first.values()))[2]
    if features.keys() != first.keys():
        text = (
            f"video {key!r}: has {' and '.join(features)}, {other!r} {' and '.join(first)}; give "
            "every video the same streams, or remove it"
        )
        problem("streams", text, key)
    for name in [name for name in features if name in first]:
        height, width = features[name].shape
        if width != first[name][0]:
            hint = "encode all videos with one model"
            if height in first[name][:2]:
                hint = f"is it [G, T] instead of [T, G]? then transpose it, else {hint}"
            text = (
                f"video {key!r}: {name} has {width} values per unit, {other!r} {first[name][0]}; "
                f"{hint}"
            )
            problem("width", text, key)


def training_split(splits: Collection[str]) -> str | None:
    """The split that is trained on by default: one called so, else the first."""
    named = (name for name in splits if "train" in name)
    return next((name for name in (*TRAINING_NAMES, *named, *splits) if name in splits), None)


def check_labels(
    annotations: Annotations,
    splits: Mapping[str, str],
    training: str | None,
    allow_empty_classes: bool,
    problem: Problem,
) -> None:
    """Tells ``problem`` of classes that cannot be learned, and of annotations without segments.

    Args:
      annotations: of all videos.
      splits: the split of each.
      training: the split that is trained on.
      allow_empty_classes: whether classes without a labelled training video are no error.
      problem: called for each.
    """
    trained: set[str] = set()
    bare, total = Counter[str](), Counter[str]()
    for key, video in annotations.videos.items():
        split, without = splits[key], len(video.unsegmented)
        trained.update(video.labels if split == training else ())
        bare[split] += without
        total[split] += without + len(video.instances)
    kind = "empty" if allow_empty_classes else "class"
    what = f"no labelled video in the split {training!r}, which is trained on"
    fix = "label one, choose other splits, or add `allow_empty_classes=True`"
    for name in annotations.classes if trained else ():
        if name not in trained:
            problem(kind, f"class {name!r} has {what}; {fix}")
    if not trained:
        problem(kind, f"there is {what}; {fix}")
    if total.total() > bare.total():  # labels alone are enough where nothing is evaluated
        for split, number in (+bare).items():
            text = f"{number} of {total[split]} annotations of the split {split!r} have no segment"
            problem("unsegmented", f"{text}; enough to train on, not to be evaluated")


def common_units(key: str, features: Mapping[str, np.ndarray], problem: Problem) -> int:
    """The units that all streams of a video have; tells ``problem`` if some have more."""
    lengths = {name: len(values) for name, values in features.items()}
    shortest, longest = min(lengths.values()), max(lengths.values())
    listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if shortest == 0:
        text = f"video {key!r}: has no unit ({listed}); encode it anew or remove it"
        problem("unreadable", text, key)
    elif longest - shortest > TRIM:
        text = f"video {key!r}: its streams' units differ by more than {TRIM} ({listed})"
        problem("length", f"{text}; encode it anew", key)
    elif longest > shortest:
        problem("trimmed", f"video {key!r}: {listed} units", key)
    return shortest


def odd_length(units: int, rate: float, duration: float) -> bool:
    """Whether units and duration (seconds) disagree by more than 10 % and two units."""
    return abs(units / rate - duration) > max(2.0 / rate, 0.1 * duration)


class Checker:
    """Looks at videos one by one, then at all of them; what is wrong goes to ``findings``."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.first: First = {}
        self._digests: dict[bytes, tuple[str, str]] = {}
        # By video: how many times as long as they are said to be its units are; and what to tell.
        self._odd: dict[str, tuple[float, str]] = {}
        self._beyond: dict[str, tuple[float, str]] = {}
        self._timed = self._untimed = 0
        self._lengths: list[float] = []  # seconds, by the units where nothing else says
        self.videos: dict[str, str] = {}
        self.units = 0

    def video(self, known: Video, rate: float, features: Mapping[str, np.ndarray]) -> None:
        """Checks one video.

        Args:
          known: its annotations; ``subset`` is its split.
          rate: units per second.
          features: [T, G] per stream.
        """
        self.videos[known.id] = known.subset
        check_streams(known.id, features, self.first, self.findings.add)
        units = common_units(known.id, features, self.findings.add)
        self.units += units
        if not units:
            return
        widths = [values.shape[1] for values in features.values()]
        with reported(self.findings.add, "length", known.id):
            check_size(f"video {known.id!r}", units, widths, "float16")  # at least
        varying = {
            name: values
            for name, values in features.items()
            if not self._stream(known.id, name, values)
        }
        self._copies(known.id, known.subset, varying, sum(widths))
        self._times(known, rate, units)

    def _stream(self, key: str, name: str, values: np.ndarray) -> bool:
        """Checks one stream; returns whether its units are all the same."""
        if not all_finite(values):
            unit = int(np.argwhere(~np.isfinite(values))[0][0])
            text = f"video {key!r}: {name} holds NaN or infinite values, first in unit {unit}"
            self.findings.add("nan", text, key)
            return False
        one = values.shape[1] == 1  # a mask or time stamps, in which 1 and 0 mean something
        if (values[0] == values[-1]).all() and (values == values[0]).all():
            if (len(values) > 1 and not one) or not values.any():
                what = "all the same" if values.any() else "all zero"
                text = f"video {key!r}: {name}: {len(values)} units, {what}"
                self.findings.add("constant", text, key)
            return True
        zero = int((~values.any(axis=1)).sum())
        if zero and not one:
            text = f"video {key!r}: {name}: {zero} of {len(values)} units are zero"
            self.findings.add("zero", text, key)
        return False

    def _copies(self, key: str, split: str, features: Mapping[str, np.ndarray], total: int) -> None:
        """Compares each stream's digest with those of all videos before; one copy is told.

        Time stamps, masks and positions are the same in videos of one length, whatever is in them.
        They are small beside features. So equal streams make a copy if they are at least half of a
        video's ``total`` values per unit: rgb alone does, whose flow was computed anew.
        """
        equal: Counter[tuple[str, str]] = Counter()
        for name, values in features.items():
            rows = np.linspace(0, len(values) - 1, min(SAMPLE, len(values))).astype(int)
            digest = hashlib.blake2b(f"{name} {values.shape}".encode(), digest_size=16)
            digest.update(np.ascontiguousarray(values[rows]).tobytes())
            found = self._digests.setdefault(digest.digest(), (key, split))
            equal[found] += values.shape[1] if found[0] != key else 0
        copied = next((found for found, width in equal.items() if 2 * width >= total), None)
        if copied is None:
            return
        other, where = copied
        if where == split:
            text = f"videos {other!r} and {key!r} have the same features"
            self.findings.add("same", text, key)
        else:
            text = f"video {other!r} of {where!r} and {key!r} of {split!r} have the same features"
            self.findings.add("overlap", text, key)

    def _times(self, known: Video, rate: float, units: int) -> None:
        """Holds units against the duration, and segments against both."""
        name, spanned = f"video {known.id!r}", units / rate
        duration = known.duration or spanned
        self._lengths.append(duration)
        if known.duration is not None:
            self._timed += 1
            if odd_length(units, rate, known.duration):
                text = (
                    f"{name}: {units} units at {rate:.4g} per second last "
                    f"{spanned:.1f} s, the video {known.duration:.1f} s"
                )
                self._odd[known.id] = known.duration / spanned, text
        slack = max(1 / rate, 0.1) if known.duration is not None else TRIM / rate
        for item in known.instances:
            if item.start < 0 or item.end > duration + slack:
                text = (
                    f"{name}: {item.label!r} at {item.start:g} to {item.end:g} s, the "
                    f"video lasts {duration:.1f} s"
                )
                self.findings.add("outside", text, known.id)
        # Records without a duration are given that of their units, which tells nothing either.
        if known.instances and math.isclose(duration, spanned, rel_tol=1e-5):
            self._untimed += 1
            end = max(item.end for item in known.instances)
            if end > spanned + TRIM / rate:
                text = f"{name}: {units} units last {spanned:.1f} s, segments {end:.1f} s"
                self._beyond[known.id] = end / spanned, text

    def finish(
        self, annotations: Annotations, training: str | None, allow_empty_classes: bool = False
    ) -> None:
        """Checks what only all videos together show.

        Args:
          annotations: of all videos, ``subset`` being their split.
          training: the split that is trained on.
          allow_empty_classes: whether classes without a labelled training video are no error.
        """
        self._rates()
        check_segments(annotations, self._lengths, self.findings.add)
        if not annotations.videos:  # what is wrong with them all was said
            return
        videos = annotations.videos.values()
        for video in videos:
            if video.subset == training and not video.labels:
                self.findings.add("unlabelled", f"video {video.id!r}", video.id)
        splits = {video.id: video.subset for video in videos}
        check_labels(annotations, splits, training, allow_empty_classes, self.findings.add)

    def _rates(self) -> None:
        """A few odd lengths are the videos' fault, many are the settings'."""
        if len(self._odd) > MANY * self._timed:
            self._settings(self._odd, "")
        else:
            for key, (_, text) in self._odd.items():
                self.findings.add("few", text, key)
        if len(self._beyond) >= max(SOME_OUTSIDE, MANY_OUTSIDE * self._untimed):
            self._settings(self._beyond, "at least ")

    def _settings(self, videos: Mapping[str, tuple[float, str]], least: str) -> None:
        """Says by which factor the settings are off, before the first of the videos."""
        factor = statistics.median(factor for factor, _ in videos.values())
        lead = (
            f"units are {least}{factor:.3g} times as long as `unit_frames` and `fps` say, in the "
            "median of these videos; "
        )
        for key, (_, text) in videos.items():
            self.findings.add("rate", lead + text, key)
            lead = ""
