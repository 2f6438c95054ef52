"""What is worth knowing beside a figure: what was counted how, and whether times are seconds."""

import numpy as np

from cpmn_tf.evaluation.canonical import CanonicalSplit, Segments
from cpmn_tf.evaluation.results import many
from cpmn_tf.formats.times import SAME

# Frames are 10 and more times as many as seconds, and seconds are 10 times fractions of 10 s.
_FACTOR = 10.0
_SHARE = 0.1


def notes(split: CanonicalSplit) -> tuple[str, ...]:
    """A line for each; none if there is nothing to say."""
    counts = split.counts
    outside = f"in {many(counts.unlisted_videos, 'video')} outside the split, counted as false "
    outside += "positives (the official evaluators do so)"
    late = "ending after the duration of the video; are both in seconds?"
    unscored = "left out: the split has no instance of their class"
    twice = f"within {SAME:g} s of another of the class in the same video"
    remarks = [
        (counts.classes_without_detections, "class", "without detections, with an AP of 0"),
        (counts.unlisted_detections, "detection", outside),
        (counts.unscored_detections, "detection", unscored),
        (counts.zero_length_instances, "instance", "of zero length"),
        (counts.late_instances, "instance", late),
        (counts.late_detections, "detection", late),
        (counts.repeated_instances, "instance", f"{twice}; drop_duplicates leaves such out"),
        (counts.dropped_instances, "instance", f"{twice}; left out"),
    ]
    lines = [f"{many(number, noun)} {text}" for number, noun, text in remarks if number]
    lines += split.remarks
    if split.in_file_order:
        lines.append("instances, and detections of one score, are in the order of the files")
    doubt = _doubt_of_seconds(split)
    return (*lines, doubt) if doubt else tuple(lines)


def _doubt_of_seconds(split: CanonicalSplit) -> str | None:
    """A remark on instances and detections that are not at the same times."""
    found, truth, videos = split.detections, split.instances, len(split.videos)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _mean_end(truth, videos) / _mean_end(found, videos)
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    factor = float(np.median(ratios)) if len(ratios) else 1.0
    sides = ("instances", "detections", factor), ("detections", "instances", 1 / factor)
    for what, other, times in sides:
        if times >= _FACTOR:
            return (
                f"{what} end {times:.3g} times as late as the {other} of their videos, in the "
                "median: are both in seconds?"
            )
    if np.isfinite(split.duration).any() or not len(found):
        return None
    last = truth.end.max()
    late = int((found.start > last).sum())
    if late <= _SHARE * len(found):
        return None
    return (
        f"{late} of {len(found)} detections start after the last instance of all videos "
        f"({last:g} s): are their times seconds? The annotations hold no durations that would tell"
    )


def _mean_end(segments: Segments, videos: int) -> np.ndarray:
    """[V] seconds; NaN for a video without one."""
    total = np.bincount(segments.video, weights=segments.end, minlength=videos)
    return total / np.bincount(segments.video, minlength=videos)
