"""How far mAP may be trusted: bootstrap intervals over videos.

Videos of the split are drawn with replacement, as often as there are; matching within a video does
not depend on the others, so a video drawn twice counts twice and nothing is matched anew. A
detection's copies are neighbours in the ranking. Videos outside the split are kept.

A draw that holds no instance has no mAP, the mean over no class; it is drawn again, so that the
interval is that of all draws on which mAP is defined. At most 37 % of the draws are such.
"""

import dataclasses

import numpy as np

from cpmn_tf.evaluation.matching import Matching
from cpmn_tf.evaluation.precision import Curve, average_precision

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


def draws(holds: np.ndarray, *, samples: int, seed: int) -> tuple[np.ndarray, int]:
    """How often each sample holds each video of the split.

    Args:
      holds: [videos] bool, the video has an instance; one at least does.
      samples: number of samples.
      seed: of the draws.

    Returns:
      [samples, videos] int16, and the number of draws without an instance, drawn again.
    """
    generator, videos, empty = np.random.default_rng(seed), len(holds), 0
    weights = np.empty((samples, videos), np.int16)
    for row in weights:  # one at a time: the multinomial of all at once is eight times as large
        while True:
            row[:] = np.bincount(generator.integers(0, videos, videos), minlength=videos)
            if row[holds].any():
                break
            empty += 1
    return weights, empty


def bootstrap_map(matching: Matching, weights: np.ndarray) -> np.ndarray:
    """[samples, T] mAP of every sample; classes that a sample has no instance of are left out.

    Args:
      matching: true positives by the protocol.
      weights: [samples, videos of the split], the split's videos by their sorted ids.
    """
    split, classes = matching.split, len(matching.split.classes)
    found = [hits.detection for hits in matching.hits]
    row = np.concatenate(found)  # [K] true positives of all thresholds
    threshold = np.repeat(np.arange(len(found)), [*map(len, found)])
    cell = threshold * classes + split.detections.label[row]  # [K] ascending
    result = np.empty((len(weights), len(matching.tiou)))
    weight = np.ones(len(split.videos))
    for sample, drawn in enumerate(weights):
        weight[split.listed] = drawn
        precision = _precision(matching, row, cell, weight)
        total = np.bincount(split.instances.label, weight[split.instances.video], classes)
        result[sample] = (precision[:, total > 0] / total[total > 0]).mean(axis=1)
    return result


def interval(maps: np.ndarray) -> Interval:
    """The interval that holds the middle 95 % of the samples' [samples, T] mAPs."""
    bounds = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(maps, bounds, axis=0)
    average_low, average_high = np.quantile(maps.mean(axis=1), bounds)
    return Interval(low, high, float(average_low), float(average_high))


def _precision(
    matching: Matching, row: np.ndarray, cell: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """[T, C] sum of the precision at the true positives where video v counts weight[v] times.

    ``row`` holds their detections, ``cell`` T and C as one ascending number.
    """
    split, classes = matching.split, len(matching.split.classes)
    cells = classes * len(matching.tiou)
    each = weight[split.detections.video]
    ranked = np.append(0.0, np.cumsum(np.where(matching.ignored, 0.0, each)))
    step = each[row]
    begins = np.searchsorted(cell, np.arange(cells))
    hits = _running(step, begins, cell)
    # Ranked although ignored: those that are true positives.
    excused = _running(np.where(matching.ignored[row], step, 0.0), begins, cell)
    among = ranked[row + 1] - ranked[split.class_starts()[cell % classes]] + excused
    if matching.protocol.interpolated:
        # A hit drawn 0 times before any other detection would divide 0 by 0; it weighs nothing.
        corners = Curve(cell, hits, np.where(among > 0, among - hits, 1.0))
        precision = average_precision(corners, step, cells, True)
    else:
        precision = np.bincount(cell, _copies_precision(among, among - hits, step), cells)
    return precision.reshape(-1, classes)


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
