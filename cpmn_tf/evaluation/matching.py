"""What a protocol is, what it answers, and one-to-one assignment in turn."""

import dataclasses
from collections.abc import Callable

import numpy as np

from cpmn_tf.evaluation.canonical import CanonicalSplit
from cpmn_tf.evaluation.overlap import Pairs, Tiou, overlapping, touches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules of an evaluation.

    Attributes:
      name: what commands and results call it.
      overlap: tIoU of segments, row by row.
      reaches: (tIoU [P], threshold) to [P] bool: whether it is enough for a true positive.
      detections_choose: detections take instances in turn, else instances take detections.
      order: (split, pairs) to the pairs in the order of turns and, in each, of preference.
      excuses: detections near an ambiguous interval are ignored where they are no true positives.
      interpolated: AP takes the best precision at a recall or above.

    >>> from cpmn_tf.evaluation import PROTOCOLS
    >>> PROTOCOLS["thumos14"].interpolated
    False
    """

    name: str
    overlap: Tiou
    reaches: Callable[[np.ndarray, float], np.ndarray]
    detections_choose: bool
    order: Callable[[CanonicalSplit, Pairs], Pairs]
    excuses: bool
    interpolated: bool

    def match(self, split: CanonicalSplit, tiou: tuple[float, ...]) -> "Matching":
        """The true positives at every threshold, and the detections that ambiguity excuses."""
        pairs = self.order(split, overlapping(split, min(tiou), self.overlap))
        hits = []
        for threshold in tiou:
            reach = pairs.take(np.flatnonzero(self.reaches(pairs.tiou, threshold)))
            if self.detections_choose:
                hits.append(reach.take(assign_in_turn(reach.detection, reach.instance)))
            else:
                reach = reach.take(assign_in_turn(reach.instance, reach.detection))
                hits.append(reach.take(np.argsort(reach.detection)))
        ignored = np.zeros(len(split.detections), bool)
        if self.excuses:
            ignored = touches(split.detections, split.ambiguous, len(split.videos))
        return Matching(protocol=self, split=split, tiou=tiou, hits=tuple(hits), ignored=ignored)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matching:
    """Which detection found which instance, at every threshold.

    Attributes:
      protocol: by whose rules.
      split: truth and detections.
      tiou: the T thresholds.
      hits: for each threshold the true positives, detections ascending.
      ignored: [N] bool: not counted as a false positive where it is no true positive.
    """

    protocol: Protocol
    split: CanonicalSplit
    tiou: tuple[float, ...]
    hits: tuple[Pairs, ...]
    ignored: np.ndarray


def by_preference(chooser: np.ndarray, tiou: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """[P] rows sorted by (chooser, −tIoU, tie); cheap where rows ascend by chooser already."""
    order = np.arange(len(chooser))
    if (chooser[1:] < chooser[:-1]).any():
        return np.lexsort((tie, -tiou, chooser))
    same = np.zeros(len(chooser) + 1, bool)
    same[1:-1] = chooser[1:] == chooser[:-1]
    rows = np.flatnonzero(same[1:] | same[:-1])  # choosers with one choice are in order
    order[rows] = rows[np.lexsort((tie[rows], -tiou[rows], chooser[rows]))]
    return order


def assign_in_turn(chooser: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Choosers, in turn, each take the best of their choices that is still free.

    A chooser that finds none free takes nothing. Both protocols are this, with detections
    (ActivityNet) or instances (THUMOS14) as choosers.

    Going through the choosers in turn is what everybody offering at once comes to, where each
    choice keeps the offer of the earliest chooser and sends the others on to their next choice: all
    choices agree on who comes first, so the stable assignment is unique, and it is the one in turn.
    Each pair is offered at most once, so the work is linear in the pairs.

    Args:
      chooser: [P] ascending: whose turn it is. A chooser's rows are in its order of preference.
      chosen: [P] what would be taken; integers from 0.

    Returns:
      [K] rows of the pairs that were assigned, ascending.
    """
    pairs = len(chooser)
    if not pairs:
        return np.zeros(0, np.intp)
    goes_on = np.append(chooser[1:] == chooser[:-1], False)
    offers = np.flatnonzero(np.append(True, ~goes_on[:-1]))
    holder = np.full(int(chosen.max()) + 1, pairs, np.intp)
    while len(offers):
        wanted = chosen[offers]
        before = holder[wanted]
        np.minimum.at(holder, wanted, offers)  # rows ascend with the turn: the earliest stays
        wins = holder[wanted] == offers
        displaced = before[wins]
        refused = np.concatenate([offers[~wins], displaced[displaced < pairs]])
        offers = refused[goes_on[refused]] + 1
    return np.sort(holder[holder < pairs])
