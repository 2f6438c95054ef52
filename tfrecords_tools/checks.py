"""What is checked of every video, and of all of them together, whatever they were read from."""

import hashlib
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from cpmn_tf.data.annotations import Video
from cpmn_tf.data.arrays import all_finite
from tfrecords_tools.building import TRIM, odd_length
from tfrecords_tools.findings import SHOWN, Findings

SAMPLE = 16  # units of a stream that its digest is taken of
MANY = 0.5  # of the videos whose durations are known; that many wrong ones are the settings' fault
TRAINING_NAMES = ("training", "train", "validation")


def training_split(splits: Mapping[str, int]) -> str | None:
    """The split that is trained on: `training`, `train`, `validation`, else the first there is."""
    for name in (*TRAINING_NAMES, *splits):
        if name in splits:
            return name
    return None


class Checker:
    """Looks at videos one by one, then at all of them; what is wrong goes to ``findings``."""

    def __init__(self, *, findings: Findings):
        """Makes the checker; nothing was seen yet.

        Args:
          findings: where defects go.
        """
        self._findings = findings
        self._widths: dict[str, tuple[int, str]] = {}
        self._digests: dict[bytes, tuple[str, str]] = {}
        self._odd: dict[str, tuple[float, str]] = {}
        self._timed = 0
        self.videos: dict[str, str] = {}
        self.units = 0

    def summary(self, training: str | None) -> dict[str, Any]:
        """What was looked at, as plain values; ``training`` is the split that is trained on."""
        return {
            "videos": len(self.videos),
            "units": self.units,
            "splits": dict(Counter(self.videos.values())),
            "training_split": training,
            "streams": {name: width for name, (width, _) in self._widths.items()},
        }

    def video(
        self, known: Video, split: str, rate: float, features: Mapping[str, np.ndarray]
    ) -> None:
        """Checks one video.

        Args:
          known: its annotations.
          split: its split.
          rate: units per second.
          features: [T, G] per stream.
        """
        self.videos[known.id] = split
        lengths = {name: len(values) for name, values in features.items()}
        self.units += min(lengths.values())
        self._lengths(known.id, lengths)
        constant = [self._stream(known.id, name, values) for name, values in features.items()]
        if not any(constant):
            self._copies(known.id, split, features)
        self._times(known, rate, min(lengths.values()))

    def _lengths(self, key: str, lengths: Mapping[str, int]) -> None:
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            apart = max(lengths.values()) - min(lengths.values())
            kind = "length" if apart > TRIM else "trimmed"
            self._findings.add(kind, f"video {key!r}: {listed} units", key)

    def _stream(self, key: str, name: str, values: np.ndarray) -> bool:
        """Checks one stream; returns whether its units are all the same."""
        width, first = self._widths.setdefault(name, (values.shape[1], key))
        if values.shape[1] != width:
            text = f"video {key!r}: {name} has {values.shape[1]} values per unit, {first!r} {width}"
            self._findings.add("width", text, key)
        if not all_finite(values):
            unit = int(np.argwhere(~np.isfinite(values))[0][0])
            text = f"video {key!r}: {name} holds NaN or infinite values, first in unit {unit}"
            self._findings.add("nan", text, key)
            return False
        if (values[0] == values[-1]).all() and (values == values[0]).all():
            if len(values) > 1 or not values.any():
                what = "all the same" if values.any() else "all zero"
                text = f"video {key!r}: {name}: {len(values)} units, {what}"
                self._findings.add("constant", text, key)
            return True
        zero = int((~values.any(axis=1)).sum())
        if zero:
            text = f"video {key!r}: {name}: {zero} of {len(values)} units are zero"
            self._findings.add("zero", text, key)
        return False

    def _copies(self, key: str, split: str, features: Mapping[str, np.ndarray]) -> None:
        """Compares the features' digest with that of all videos before."""
        digest = hashlib.blake2b(digest_size=16)
        for name, values in features.items():
            rows = np.linspace(0, len(values) - 1, min(SAMPLE, len(values))).astype(int)
            digest.update(f"{name} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values[rows]).tobytes())
        other, where = self._digests.setdefault(digest.digest(), (key, split))
        if other == key:
            return
        if where == split:
            text = f"videos {other!r} and {key!r} have the same features"
            self._findings.add("same", text, key)
        else:
            text = f"video {other!r} of {where!r} and {key!r} of {split!r} have the same features"
            self._findings.add("overlap", text, key)

    def _times(self, known: Video, rate: float, units: int) -> None:
        """Holds units against the duration, and segments against both."""
        spanned = units / rate
        duration = known.duration or spanned
        if known.duration is not None:
            self._timed += 1
            if odd_length(units, rate, known.duration):
                text = (
                    f"video {known.id!r}: {units} units at {rate:.4g} per second last "
                    f"{spanned:.1f} s, the video {known.duration:.1f} s"
                )
                self._odd[known.id] = spanned / known.duration, text
        slack = max(1 / rate, 0.1) if known.duration is not None else TRIM / rate
        for item in known.instances:
            if item.start < 0 or item.end > duration + slack:
                text = (
                    f"video {known.id!r}: {item.label!r} at {item.start:g} to {item.end:g} s, the "
                    f"video lasts {duration:.1f} s"
                )
                self._findings.add("outside", text, known.id)

    def finish(
        self, videos: Mapping[str, Video], classes: tuple[str, ...], training: str | None
    ) -> None:
        """Checks what only all videos together show.

        Args:
          videos: all annotated videos, ``subset`` being their split.
          classes: the data set's.
          training: the split that is trained on.
        """
        self._rates()
        trained, used = set(), set()
        for video in videos.values():
            used.update(video.labels)
            if video.subset == training:
                trained.update(video.labels)
                if not video.labels:
                    self._findings.add("unlabelled", f"video {video.id!r}", video.id)
        for name in classes:
            if name not in used:
                self._findings.add("unused", f"class {name!r}")
            elif name not in trained:
                text = f"class {name!r} has no video in the split {training!r}"
                self._findings.add("class", text)

    def _rates(self) -> None:
        """A few odd lengths are the videos' fault, many are the settings'."""
        many = len(self._odd) > MANY * self._timed
        if many and len(self._odd) > SHOWN:
            ratio = statistics.median(ratio for ratio, _ in self._odd.values())
            text = (
                f"units are {1 / ratio:.3g} times as long as --unit_frames and fps say, in the "
                "median of these videos"
            )
            self._findings.add("rate", text)
        for key, (_, text) in self._odd.items():
            self._findings.add("rate" if many else "few", text, key)
