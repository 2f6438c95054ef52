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
from cpmn_tf.evaluation.matching import Protocol, by_preference
from cpmn_tf.evaluation.overlap import Pairs, intersection_over_hull


def _order(_: CanonicalSplit, pairs: Pairs) -> Pairs:
    """By instance; detections are in the order of their scores, so the row decides ties."""
    return pairs.take(by_preference(pairs.instance, pairs.tiou, pairs.detection))


THUMOS14 = Protocol(
    name="thumos14",
    overlap=intersection_over_hull,
    reaches=np.greater,
    detections_choose=False,
    order=_order,
    excuses=True,
    interpolated=False,
)
