"""How far mAP may be trusted: bootstrap intervals over videos.

Videos of the split are drawn with replacement, as often as there are; matching within a video does
not depend on the others, so a video drawn twice counts twice and nothing is matched anew. A
detection's copies are neighbours in the ranking. Videos outside the split are kept.
"""

import dataclasses

import numpy as np

from cpmn_tf.evaluation.matching import Matching
from cpmn_tf.evaluation.precision import average_precision

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A percentile interval of 95 %, as fractions.

    Attributes:
      low, high: [T] bounds by threshold.
      average_low, average_high: bounds of the average over thresholds.
    """

    low: np.ndarray
    high: np.ndarray
    average_low: float
    average_high: float


def draws(videos: int, *, samples: int, seed: int) -> np.ndarray:
    """[samples, videos] int16: how often each sample holds each video of the split."""
    generator = np.random.default_rng(seed)
    weights = np.empty((samples, videos), np.int16)
    for row in weights:  # one at a time: the multinomial of all at once is eight times as large
        row[:] = np.bincount(generator.integers(0, videos, videos), minlength=videos)
    return weights


def bootstrap_map(matching: Matching, weights: np.ndarray) -> np.ndarray:
    """[samples, T] mAP of every sample; classes that a sample has no instance of are left out.

    Args:
      matching: true positives by the protocol.
      weights: [samples, videos of the split], the split's videos by their sorted ids.
    """
    split, hits = matching.split, _Hits.of(matching)
    result = np.empty((len(weights), hits.thresholds))
    weight = np.ones(len(split.videos))
    for sample, drawn in enumerate(weights):
        weight[split.listed] = drawn
        result[sample] = hits.mean_precision(matching, weight)
    return result


def interval(maps: np.ndarray) -> Interval:
    """The interval that holds the middle 95 % of the samples' [samples, T] mAPs."""
    bounds = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(maps, bounds, axis=0)
    average_low, average_high = np.quantile(maps.mean(axis=1), bounds)
    return Interval(low, high, float(average_low), float(average_high))


@dataclasses.dataclass(frozen=True)
class _Hits:
    """True positives of all thresholds in one list, so that a sample takes few array operations.

    Attributes:
      thresholds: T.
      classes: C.
      row: [K] detection.
      cell: [K] threshold · C + class, ascending.
      ignored: [K] bool: not among the ranked but for being a true positive.
    """

    thresholds: int
    classes: int
    row: np.ndarray
    cell: np.ndarray
    ignored: np.ndarray

    @classmethod
    def of(cls, matching: Matching) -> "_Hits":
        row = np.concatenate(matching.detection)
        threshold = np.repeat(np.arange(len(matching.detection)), [*map(len, matching.detection)])
        classes = len(matching.split.classes)
        cell = threshold * classes + matching.split.detections.label[row]
        return cls(len(matching.detection), classes, row, cell, matching.ignored[row])

    def mean_precision(self, matching: Matching, weight: np.ndarray) -> np.ndarray:
        """[T] mAP where video v counts weight[v] times."""
        split, classes, cells = matching.split, self.classes, self.thresholds * self.classes
        each = weight[split.detections.video]
        ranked = np.append(0.0, np.cumsum(np.where(matching.ignored, 0.0, each)))
        step = each[self.row]
        begins = np.searchsorted(self.cell, np.arange(cells))
        hits = _running(step, begins, self.cell)
        excused = _running(np.where(self.ignored, step, 0.0), begins, self.cell)
        class_begin = split.class_starts()[self.cell % classes]
        among = ranked[self.row + 1] - ranked[class_begin] + excused
        if matching.protocol.interpolated:
            # A hit drawn 0 times before any other detection would divide 0 by 0; it weighs nothing.
            misses = np.where(among > 0, among - hits, 1.0)
            precision = average_precision(
                self.cell, hits, misses, step, classes=cells, interpolated=True
            )
        else:
            sums = _copies_precision(among, among - hits, step)
            precision = np.bincount(self.cell, sums, minlength=cells)
        precision = precision.reshape(self.thresholds, classes)
        total = np.bincount(
            split.instances.label, weights=weight[split.instances.video], minlength=classes
        )
        return (precision[:, total > 0] / total[total > 0]).mean(axis=1)


def _copies_precision(rank: np.ndarray, misses: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """[K] sum of the precision at each hit's copies, the last of which is at ``rank``.

    At rank r the precision is 1 − misses / r, so the sum is copies − misses · Σ 1/r over the
    copies' ranks: a difference of harmonic numbers.
    """
    last = rank.astype(np.intp)
    ranks = np.arange(1, last.max(initial=0) + 1)
    harmonic = np.append(0.0, np.cumsum(1.0 / ranks))
    return copies - misses * (harmonic[last] - harmonic[last - copies.astype(np.intp)])


def _running(values: np.ndarray, begins: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Cumulative sums that begin anew in every cell."""
    sums = np.append(0.0, np.cumsum(values))
    return sums[1:] - sums[begins[cell]]
