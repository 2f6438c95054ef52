"""Average precision from the true positives alone, all classes at once."""

import dataclasses

import numpy as np

from cpmn_tf.evaluation.matching import Matching


@dataclasses.dataclass(frozen=True)
class Curve:
    """The true positives of one threshold, by class and falling score.

    Attributes:
      label: [K] class, ascending.
      hits: [K] true positives of the class up to and with this one.
      misses: [K] false positives of the class with a higher rank.
    """

    label: np.ndarray
    hits: np.ndarray
    misses: np.ndarray


def curve(matching: Matching, threshold: int, left_out: np.ndarray | None = None) -> Curve:
    """The precision-recall curve's corners at one threshold.

    Args:
      matching: the protocol's answer.
      threshold: index into the thresholds.
      left_out: [N] bool or None; these detections are taken away, found instances and all.
    """
    row = matching.hits[threshold].detection
    gone = matching.ignored
    if left_out is not None:
        gone = gone | left_out
        row = row[~left_out[row]]
    label = matching.split.detections.label.take(row)
    starts = matching.split.class_starts()
    first_hit = np.searchsorted(label, np.arange(len(starts), dtype=np.int32))
    hits = np.arange(1, len(row) + 1) - first_hit.take(label)
    if not gone.any():
        return Curve(label, hits, row + 1 - starts.take(label) - hits)
    # Ranked are what is not gone, and the true positives that would be but for being one.
    ranked = np.append(0, np.cumsum(~gone))
    excused = np.append(0, np.cumsum(gone[row]))
    rank = ranked[row] - ranked[starts[label]] + 1 + excused[:-1] - excused[first_hit[label]]
    return Curve(label, hits, rank - hits)


def best_from_here(label: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """[K] maximum of the precision from each row to the end of its class (the interpolation)."""
    best = precision.copy()
    reach = 1
    while reach < len(best):  # doubling: after each pass a row knows the next 2·reach rows
        same = label[reach:] == label[:-reach]
        if not same.any():
            break
        ahead = np.where(same, best[reach:], 0.0)
        best[:-reach] = np.maximum(best[:-reach], ahead)
        reach *= 2
    return best


def average_precision(
    corners: Curve, step: np.ndarray, classes: int, interpolated: bool
) -> np.ndarray:
    """AP of each class: Σ step · precision over its true positives.

    Args:
      corners: true positives by class; ``hits`` and ``misses`` may be weighted.
      step: [K] recall that each true positive adds.
      classes: C, number of classes.
      interpolated: use the best precision at this recall or above.

    Returns:
      [C] float64; 0 for a class without true positives.
    """
    precision = corners.hits / (corners.hits + corners.misses)
    if interpolated:
        precision = best_from_here(corners.label, precision)
    return np.bincount(corners.label, weights=step * precision, minlength=classes)


def plain_average_precision(matching: Matching, left_out: np.ndarray | None = None) -> np.ndarray:
    """[T, C] AP at every threshold and of every class.

    ``left_out``, [T, N] bool or None, takes detections away without matching anew.
    """
    classes, interpolated = len(matching.split.classes), matching.protocol.interpolated
    rows = []
    for threshold in range(len(matching.tiou)):
        corners = curve(matching, threshold, None if left_out is None else left_out[threshold])
        step = np.ones(len(corners.label))
        rows.append(average_precision(corners, step, classes, interpolated))
    return np.array(rows) / matching.split.instances_per_class()
