"""Temporal IoU, and the pairs of detections and instances that reach a least tIoU."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from cpmn_tf.evaluation.canonical import CanonicalSplit, Segments

# Pairs looked at together: their columns fit a processor's cache, and memory is bounded.
_PAIRS = 1 << 15

# A table over all classes and videos is used up to so many entries per row of input.
_TABLE = 8

# [P] tIoU of the segments (start, end) with (other start, other end), row by row.
Tiou = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Detections and instances of one video and class that overlap.

    Attributes:
      detection: [P] row of the split's detections, ascending.
      instance: [P] row of the split's instances, ascending within a detection.
      tiou: [P] float64.
    """

    detection: np.ndarray
    instance: np.ndarray
    tiou: np.ndarray

    def take(self, rows: np.ndarray) -> "Pairs":
        """The pairs of these rows."""
        return Pairs(self.detection.take(rows), self.instance.take(rows), self.tiou.take(rows))


def intersection_over_union(
    start: np.ndarray, end: np.ndarray, other_start: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """tIoU as ActivityNet computes it: I / (length + length − I), I clipped at 0.

    Two segments of zero length divide 0 by 0. ActivityNet's NaN then passes every threshold and is
    tried first, wherever the two lie; here it is ∞, which does the same.
    """
    shared = np.minimum(end, other_end) - np.maximum(start, other_start)
    np.maximum(shared, 0.0, out=shared)
    union = (other_end - other_start) + (end - start) - shared
    empty = union <= 0
    if not empty.any():  # twice as fast as dividing under a mask
        return np.divide(shared, union, out=shared)
    return np.divide(shared, union, out=np.full_like(shared, np.inf), where=~empty)


def intersection_over_hull(
    start: np.ndarray, end: np.ndarray, other_start: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """tIoU as the THUMOS14 toolkit computes it: I / (last end − first start), 0 unless I > 0.

    For overlapping segments the hull is the union, up to rounding. A zero-length segment overlaps
    nothing, not even itself.
    """
    shared = np.minimum(end, other_end) - np.maximum(start, other_start)
    hull = np.maximum(end, other_end) - np.minimum(start, other_start)
    return np.divide(shared, hull, out=np.zeros_like(shared), where=shared > 0)


def group_rows(
    keys: np.ndarray, sorted_keys: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each key the first row of ``sorted_keys`` that equals it, and how many do.

    Args:
      keys: [N] integers in [0, size).
      sorted_keys: [M] ascending integers in [0, size).
      size: number of possible keys.
    """
    starts = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
    counts = np.diff(starts, append=len(sorted_keys))
    if size > _TABLE * (len(keys) + len(sorted_keys)):
        first = np.searchsorted(sorted_keys, keys)
        return first, np.searchsorted(sorted_keys, keys, side="right") - first
    # The number of the key's group, or one past all; small types, for touching memory costs most.
    group = np.full(size, len(starts), np.min_scalar_type(len(starts)))
    group[sorted_keys[starts]] = np.arange(len(starts))
    group = group.take(keys)
    first, count = np.append(starts, 0).astype(np.int32), np.append(counts, 0).astype(np.int32)
    return first.take(group), count.take(group)


def expand(first: np.ndarray, count: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (n, row) for every row in [first[n], first[n] + count[n]), n ascending, in blocks."""
    rows = np.flatnonzero(count)
    totals = np.cumsum(count[rows])
    begin = 0
    while begin < len(rows):
        done = totals[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(totals, done + _PAIRS, side="right")))
        block, ends = rows[begin:stop], totals[begin:stop] - done
        member = np.zeros(ends[-1], np.intp)  # of which n of the block each pair is
        member[ends[:-1]] = 1
        np.cumsum(member, out=member)
        # Row number within the block plus what brings each n's first to its own first.
        shift = first.take(block) - (ends - count.take(block))
        yield block.take(member), np.arange(ends[-1]) + shift.take(member)
        begin = stop


def overlapping(split: CanonicalSplit, least: float, tiou: Tiou) -> Pairs:
    """All pairs of the same video and class whose tIoU is at least ``least``.

    Memory: a block of pairs, and the pairs found; an instance that reaches tIoU t shares at least
    t of the detection's length, so instances that do not overlap give at most 1/t per detection.
    """
    found, truth = split.detections, split.instances
    first, count = group_rows(split.cells(found), split.cells(truth), split.size)
    empty = np.zeros(0, np.intp)
    parts = [(empty, empty, np.zeros(0))]
    for detection, instance in expand(first, count):
        value = tiou(
            found.start.take(detection),
            found.end.take(detection),
            truth.start.take(instance),
            truth.end.take(instance),
        )
        keep = np.flatnonzero(value >= least)
        parts.append((detection.take(keep), instance.take(keep), value.take(keep)))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def touches(segments: Segments, intervals: Segments, videos: int) -> np.ndarray:
    """[N] bool: the segment shares more than a point with an interval of its video.

    Args:
      segments: N segments.
      intervals: sorted by video; their labels are not looked at.
      videos: number of videos.
    """
    result = np.zeros(len(segments), bool)
    first, count = group_rows(segments.video, intervals.video, videos)
    for row, interval in expand(first, count):
        shared = np.minimum(segments.end[row], intervals.end[interval]) > np.maximum(
            segments.start[row], intervals.start[interval]
        )
        result[row[shared]] = True
    return result
