"""The `activitynet` protocol: ActivityNet's detection evaluation, rule for rule.

- Detections, by falling score, each take the best-overlapping instance of their video and class
  that is still free; tIoU ≥ threshold makes a true positive.
- AP is interpolated: precision at a recall is the best precision at that recall or above.
- Ambiguous intervals are ignored: detections in them are false positives like any other.
- Instances given twice stay two, each to be found.
- Segments of zero length match each other (see `overlap.intersection_over_union`).
- Of instances that overlap equally well, the one that ActivityNet's reversed quicksort puts first
  is tried first: the later, where a video has up to 16 instances of the class (see `_order`).
"""

import dataclasses

import numpy as np

from cpmn_tf.evaluation.canonical import CanonicalSplit
from cpmn_tf.evaluation.matching import Protocol, by_preference
from cpmn_tf.evaluation.overlap import Pairs, group_rows, intersection_over_union

# Up to so many elements NumPy's quicksort is an insertion sort, which keeps the order of equals.
_INSERTION_SORTED = 16


def _order(split: CanonicalSplit, pairs: Pairs) -> Pairs:
    """By detection, equally overlapping instances in the order of ActivityNet's `argsort()[::-1]`.

    A long detection around instances of one length meets such ties in earnest: on STPN's THUMOS14
    detections always taking the later gives 52.10 where ActivityNet prints 52.12, the earlier
    52.17. NumPy's quicksort of doubles now differs by processor; that of long doubles is still the
    plain one that the published figures come from, so it is asked.
    """
    pairs = pairs.take(by_preference(pairs.detection, pairs.tiou, -pairs.instance))
    tied = (pairs.tiou[1:] == pairs.tiou[:-1]) & (pairs.detection[1:] == pairs.detection[:-1])
    detections = np.unique(pairs.detection[1:][tied])
    if not len(detections):
        return pairs
    truth, found = split.instances, split.detections
    first, count = group_rows(split.cells(found.take(detections)), split.cells(truth), split.size)
    instance = pairs.instance.copy()
    many = count > _INSERTION_SORTED
    for detection, begin, size in zip(
        detections[many].tolist(), first[many].tolist(), count[many].tolist(), strict=True
    ):
        group = slice(begin, begin + size)
        tiou = intersection_over_union(
            found.start[detection], found.end[detection], truth.start[group], truth.end[group]
        )
        ranked = begin + np.argsort(tiou.astype(np.longdouble), kind="quicksort")[::-1]
        low, high = np.searchsorted(pairs.detection, [detection, detection + 1])
        instance[low:high] = ranked[: high - low]
    return dataclasses.replace(pairs, instance=instance)


ACTIVITYNET = Protocol(
    name="activitynet",
    overlap=intersection_over_union,
    reaches=np.greater_equal,
    detections_choose=True,
    order=_order,
    excuses=False,
    interpolated=True,
)
