"""Why detections are false positives: DETAD's kinds, and what each costs.

Alwassel et al., "Diagnosing Error in Temporal Action Detectors", ECCV 2018, section 4. A false
positive at threshold α is judged by the instance of its video, of any class, that it overlaps best:

| best tIoU | instance of its class | of another class |
| --- | --- | --- |
| reaches α | double detection | wrong label |
| from 0.1 to α | localization | confusion |
| below 0.1 | background | background |

Where instances of both overlap equally well (THUMOS14 annotates each CliffDiving as Diving too),
its own class counts.
"""

import dataclasses

import numpy as np

from cpmn_tf.evaluation.matching import Matching
from cpmn_tf.evaluation.overlap import expand, group_rows
from cpmn_tf.evaluation.precision import plain_average_precision

KINDS = (
    "true positive",
    "double detection",
    "localization",
    "wrong label",
    "confusion",
    "background",
)
GROUPS = 10  # the profile looks at the top-10·G detections of a class with G instances
_EXCUSED = -1  # near an ambiguous interval: counts neither way
_LEAST = 0.1  # tIoU below which a detection is background


@dataclasses.dataclass(frozen=True)
class ErrorProfile:
    """What the detections are, and what average mAP would gain without each kind of error.

    Attributes:
      shares: [10, K] row g: of each class's detections ranked from g·G to (g + 1)·G, G being its
        number of instances, the share of each of KINDS, averaged over the thresholds that count
        such detections; NaN where none does.
      detections: [10] number of detections behind each row, averaged over thresholds.
      gains: for each kind of error what average mAP gains, as a fraction, if its false positives
        vanish.
    """

    shares: np.ndarray
    detections: np.ndarray
    gains: dict[str, float]


def kinds_of(matching: Matching) -> np.ndarray:
    """[T, N] int8 index into KINDS, or −1 for detections that the protocol leaves out."""
    own, other = _best_overlaps(matching)
    best, of_class = np.maximum(own, other), own >= other
    near = np.where(of_class, KINDS.index("localization"), KINDS.index("confusion"))
    near[best < _LEAST] = KINDS.index("background")
    full = np.where(of_class, KINDS.index("double detection"), KINDS.index("wrong label"))
    rows = np.empty((len(matching.tiou), len(best)), np.int8)
    for row, threshold, hits in zip(rows, matching.tiou, matching.hits, strict=True):
        row[:] = np.where(matching.protocol.reaches(best, threshold), full, near)
        row[matching.ignored] = _EXCUSED
        row[hits.detection] = 0
    return rows


def error_profile(matching: Matching) -> ErrorProfile:
    """Sorts the detections into kinds and takes each kind away in turn."""
    kinds = kinds_of(matching)
    whole = plain_average_precision(matching).mean()
    gains = {}
    for number, name in enumerate(KINDS[1:], start=1):
        without = plain_average_precision(matching, left_out=kinds == number)
        gains[name] = float(without.mean() - whole)
    counts = np.array([_counts(matching, row) for row in kinds], float)
    total = counts.sum(axis=2, keepdims=True)
    # Near an ambiguous interval a detection counts where it is a true positive: at some thresholds.
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0).sum(axis=0)
    filled = (total > 0).sum(axis=0)
    mean = np.divide(shares, filled, out=np.full_like(shares, np.nan), where=filled > 0)
    return ErrorProfile(mean, counts.sum(axis=2).mean(axis=0), gains)


def _counts(matching: Matching, kind: np.ndarray) -> np.ndarray:
    """[10, K] detections of each kind at one threshold, by rank in units of G."""
    counted = kind != _EXCUSED
    label, total = matching.split.detections.label[counted], matching.split.instances_per_class()
    starts = np.searchsorted(label, np.arange(len(total), dtype=np.int32))
    rank = np.arange(len(label)) - starts[label]
    group = rank // total[label]
    top = group < GROUPS
    cell = group[top] * len(KINDS) + kind[counted][top]
    return np.bincount(cell, minlength=GROUPS * len(KINDS)).reshape(GROUPS, len(KINDS))


def _best_overlaps(matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """[N] best tIoU with an instance of the detection's own class, and with one of another."""
    split, found = matching.split, matching.split.detections
    truth = split.instances.take(np.argsort(split.instances.video, kind="stable"))
    own, other = np.zeros(len(found)), np.zeros(len(found))
    first, count = group_rows(found.video, truth.video, len(split.videos))
    for row, instance in expand(first, count):
        value = matching.protocol.overlap(
            found.start[row], found.end[row], truth.start[instance], truth.end[instance]
        )
        same = found.label[row] == truth.label[instance]
        np.maximum.at(own, row[same], value[same])
        np.maximum.at(other, row[~same], value[~same])
    return own, other
