"""What times tell: whether they can be seconds, contradict others, or are of an instance twice.

Truth and detections are asked the same. Imports no TensorFlow.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.formats.detections import Detections

# Both ends of an instance within so many seconds are those of another: the same one, written with
# other digits. No two of THUMOS14's are that close.
SAME = 0.01

# A segment is far outside where it ends after FACTOR times the duration and SLACK seconds. Single
# ones are left alone: annotated durations are sometimes wrong (video_test_0000270 of THUMOS14 is
# 176 s long by its header and annotated up to 714 s).
_FACTOR = 1.5
_SLACK = 2.0
_SHARE = 0.1
_FEWEST = 10  # so many segments before times all within [0, 1] count as fractions


def instances_of(annotations: Annotations) -> Detections:
    """All instances as if they were detections, of score 0."""
    rows = (
        (video.id, item.label, item.start, item.end, 0.0)
        for video in annotations.videos.values()
        for item in video.instances
    )
    return Detections.from_rows(annotations.videos, rows)


def check_seconds(
    annotations: Annotations,
    detections: Detections,
    *,
    truth: str | os.PathLike,
    found: str | os.PathLike,
) -> None:
    """Refuses instances and detections whose times cannot be seconds; the files are for messages.

    What ends too late only durations tell; fractions of the duration, also the other's times.

    Raises:
      UserError: naming the file, and by which factor its times are off.
    """
    durations = {name: video.duration for name, video in annotations.videos.items()}
    instances = instances_of(annotations)
    check_times(truth, "instance", instances, durations, "detection", detections.end)
    check_times(found, "detection", detections, durations, "instance", instances.end)


def check_times(
    source: str | os.PathLike,
    what: str,
    times: Detections,
    durations: Mapping[str, float | None],
    other: str,
    other_end: Sequence[float] | np.ndarray,
) -> None:
    """Refuses times that cannot be seconds.

    Args:
      source: the file, for messages.
      what: what the times are of, in the singular.
      times: whose times.
      durations: of the videos, seconds, where known.
      other, other_end: what should end at about the same times, and its ends.

    Raises:
      UserError: if over a tenth of them end far after their videos do (frames or milliseconds), or
        if all end within 1 although the others do not (fractions of the duration).
    """
    end = times.end
    middle = float(np.median(other_end)) if len(other_end) else 0.0
    if len(end) >= _FEWEST and end.max() <= 1 and middle > 2:
        raise UserError(
            f"{source}: all {len(end)} {what}s end within 1 s, the median {other} at {middle:g} s; "
            "times must be seconds: multiply fractions by the duration"
        )
    known = np.array([durations.get(name) for name in times.videos], np.float64)
    duration = known[times.video]  # NaN where it is not known
    outside = end > _FACTOR * duration + _SLACK
    timed = np.isfinite(duration).sum()
    if outside.sum() > _SHARE * timed:
        last = np.zeros(len(known))
        np.maximum.at(last, times.video[outside], end[outside])
        factors = last / known
        worst = np.nanargmax(factors)
        raise UserError(
            f"{source}: {outside.sum()} of {timed} {what}s end far after their videos, the last of "
            f"a video at {np.median(factors[last > 0]):.3g} times its duration in the median "
            f"(video {times.videos[worst]!r} lasts {known[worst]:g} s, one ends at "
            f"{last[worst]:g}); times must be seconds: divide frames by the video's fps, "
            "milliseconds by 1000"
        )


def durations_differ(first: float, second: float) -> bool:
    """Whether durations, seconds, differ by more than rounding: half a second and a hundredth."""
    return abs(first - second) > max(0.5, 0.01 * max(first, second))


def rates_differ(first: float, second: float) -> bool:
    """Whether frames per second differ by more than rounding: half a frame and two hundredths.

    ActivityNet's nominal fps are whole numbers: 14 for 14.46 and 25 for 24.53 frames per second.
    """
    return abs(first - second) > max(0.5, 0.02 * max(first, second))


def given_twice(
    video: np.ndarray, label: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which instances another one of their class and video all but equals: see :func:`repeated`.

    Args:
      video, label: [N] integers.
      start, end: [N] seconds.

    Returns:
      [N] rows by (label, video, start, end), and [N] bool for each of these.
    """
    rows = np.lexsort((end, start, video, label))
    group = label.astype(np.int64) * (int(video.max(initial=0)) + 1) + video
    return rows, repeated(group[rows], start[rows], end[rows])


def repeated(group: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """[N] bool: an earlier row of the group has its start and its end within ``SAME`` seconds.

    Args:
      group: [N] integers, such as a number for each video and class.
      start, end: [N] seconds. Rows ascend by (group, start, end).
    """
    twice = np.zeros(len(group), bool)
    for shift in range(1, len(group)):
        near = (group[shift:] == group[:-shift]) & (start[shift:] - start[:-shift] <= SAME)
        if not near.any():
            break
        twice[shift:] |= near & (np.abs(end[shift:] - end[:-shift]) <= SAME)
    return twice
