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
from cpmn_tf.evaluation.matching import Matching, Protocol, assign_in_turn, by_preference
from cpmn_tf.evaluation.overlap import intersection_over_hull, overlapping, touches


def _match(split: CanonicalSplit, tiou: tuple[float, ...]) -> Matching:
    """True positives at every threshold, and the detections that ambiguity excuses."""
    pairs = overlapping(split, min(tiou), intersection_over_hull)
    # Detections are in the order of their scores, so the row decides between equal overlaps.
    pairs = pairs.take(by_preference(pairs.instance, pairs.tiou, pairs.detection))
    hits = []
    for threshold in tiou:
        reach = pairs.take(np.flatnonzero(pairs.tiou > threshold))
        reach = reach.take(assign_in_turn(reach.instance, reach.detection))
        hits.append(reach.take(np.argsort(reach.detection)))
    return Matching(
        protocol=THUMOS14,
        split=split,
        tiou=tiou,
        detection=tuple(pair.detection for pair in hits),
        instance=tuple(pair.instance for pair in hits),
        ignored=touches(split.detections, split.ambiguous, len(split.videos)),
    )


THUMOS14 = Protocol(
    name="thumos14",
    overlap=intersection_over_hull,
    reaches=np.greater,
    interpolated=False,
    match=_match,
)
