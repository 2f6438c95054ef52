"""The `thumos14` protocol: the official THUMOS14 toolkit (TH14evaldet), rule for rule.

- In each video, instances in turn take the best-overlapping detection of their class that is still
  free, whatever its score; tIoU > threshold makes it a true positive. Of equal overlaps the higher
  score is taken.
- AP is not interpolated: the sum of the precision at each true positive, divided by the number of
  instances.
- Detections that share any time with an ambiguous interval and are no true positives are dropped:
  they count neither way.
- Instances given twice stay two, each to be found by a detection of its own.
- A segment of zero length overlaps nothing.
"""

import numpy as np

from cpmn_tf.evaluation.canonical import CanonicalSplit
from cpmn_tf.evaluation.matching import Matching, assign_in_turn, by_preference
from cpmn_tf.evaluation.overlap import intersection_over_hull, overlapping, touches

INTERPOLATED = False

overlap = intersection_over_hull


def reaches(tiou: np.ndarray, threshold: float) -> np.ndarray:
    """Whether a tIoU is enough for a true positive."""
    return tiou > threshold


def match(problem: CanonicalSplit, tiou: tuple[float, ...]) -> Matching:
    """True positives at every threshold, and the detections that ambiguity excuses."""
    pairs = overlapping(problem, min(tiou), overlap)
    # Rows of detections stand by score, so the row is also what decides between equal overlaps.
    pairs = pairs.take(by_preference(pairs.instance, pairs.tiou, pairs.detection))
    hits = []
    for threshold in tiou:
        reach = pairs.take(np.flatnonzero(reaches(pairs.tiou, threshold)))
        reach = reach.take(assign_in_turn(reach.instance, reach.detection))
        hits.append(reach.take(np.argsort(reach.detection)))
    return Matching(
        tuple(pair.detection for pair in hits),
        tuple(pair.instance for pair in hits),
        touches(problem.detections, problem.ambiguous, len(problem.videos)),
    )
