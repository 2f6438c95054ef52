"""Truth and detections of one split as columns in the canonical order.

The canonical order is detections by (class, −score, video, start, end) and instances by (class,
video, start, end), videos by their id. With it no result depends on the order of a file, even where
scores are tied; the official evaluators' results do.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from cpmn_tf.data.annotations import Annotations, Detections, Video
from cpmn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Segments:
    """Segments by column.

    Attributes:
      video: [N] int32, index into the problem's videos.
      label: [N] int32, index into the problem's classes.
      start, end: [N] float64, seconds.
    """

    video: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, rows: np.ndarray) -> "Segments":
        return Segments(self.video[rows], self.label[rows], self.start[rows], self.end[rows])


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was compared with what; part of every result.

    Attributes:
      videos: videos of the split.
      instances: their instances.
      classes: classes with an instance, those that the mean is taken over.
      detections: detections evaluated, those in unlisted videos included.
      videos_without_detections: videos of the split that no detection names.
      classes_without_detections: of ``classes``; each has an AP of 0.
      unlisted_videos, unlisted_detections: outside the split; false positives in both protocols,
        as in the official evaluators.
      unscored_detections: of classes without an instance in the split; left out.
      zero_length_instances: instances that end where they start.
      ambiguous_intervals: intervals that only the ``thumos14`` protocol looks at.
    """

    videos: int
    instances: int
    classes: int
    detections: int
    videos_without_detections: int
    classes_without_detections: int
    unlisted_videos: int
    unlisted_detections: int
    unscored_detections: int
    zero_length_instances: int
    ambiguous_intervals: int


@dataclasses.dataclass(frozen=True)
class Problem:
    """One split's truth and the detections to be judged, both in the canonical order.

    Attributes:
      videos: ids in sorted order: the split's, and those of unlisted detections.
      listed: [V] bool, the video belongs to the split.
      duration: [V] float64, seconds; NaN where unknown.
      classes: the classes that have an instance.
      instances: M segments of truth.
      detections: N detections.
      score: [N] float64.
      ambiguous: intervals by video; their ``label`` means nothing.
      counts: see :class:`Counts`.
    """

    videos: tuple[str, ...]
    listed: np.ndarray
    duration: np.ndarray
    classes: tuple[str, ...]
    instances: Segments
    detections: Segments
    score: np.ndarray
    ambiguous: Segments
    counts: Counts

    def instances_per_class(self) -> np.ndarray:
        """[C] number of instances, at least 1."""
        return np.bincount(self.instances.label, minlength=len(self.classes))

    def class_starts(self) -> np.ndarray:
        """[C] row of each class's first detection."""
        return np.searchsorted(self.detections.label, np.arange(len(self.classes), dtype=np.int32))


def canonical_order(segments: Segments, score: np.ndarray) -> np.ndarray:
    """[N] rows by (class, −score, video, start, end)."""
    order = np.argsort(-score)
    ranked = score[order]
    tied = ranked[1:] == ranked[:-1]
    if tied.any():  # only the tied rows pay for the full comparison
        member = np.append(tied, False) | np.append(False, tied)
        rows = order[member]
        keys = (segments.end[rows], segments.start[rows], segments.video[rows], -score[rows])
        order[member] = rows[np.lexsort(keys)]
    label = segments.label[order]
    if len(label) and label.max() < 2**15:
        label = label.astype(np.int16)  # NumPy sorts these by radix
    return order[np.argsort(label, kind="stable")]


def prepare(annotations: Annotations, detections: Detections, subset: str | None = None) -> Problem:
    """Brings truth and detections into the canonical order.

    Args:
      annotations: the truth.
      detections: what is to be judged; scores of any scale.
      subset: the split; None takes every video of ``annotations``.

    Raises:
      UserError: if the split has no instances, or a score or time is not finite.
    """
    if subset is not None:
        annotations = annotations.subset(subset)
    split = annotations.videos
    used = np.bincount(detections.video, minlength=len(detections.videos)) > 0
    named = {name for name, has in zip(detections.videos, used.tolist(), strict=True) if has}
    videos = tuple(sorted(named.union(split)))
    index = {name: position for position, name in enumerate(videos)}
    instances, classes = _instances(split.values(), index, annotations.classes, subset)
    order = np.lexsort((instances.end, instances.start, instances.video, instances.label))
    found, score, unscored = _detections(detections, index, classes)
    listed = np.array([name in split for name in videos], bool)
    ambiguous = _ambiguous(split.values(), index)
    per_class = np.bincount(found.label, minlength=len(classes))
    counts = Counts(
        videos=len(split),
        instances=len(instances),
        classes=len(classes),
        detections=len(found),
        videos_without_detections=len(split) - len(named.intersection(split)),
        classes_without_detections=int((per_class == 0).sum()),
        unlisted_videos=int((~listed).sum()),
        unlisted_detections=int((~listed[found.video]).sum()),
        unscored_detections=unscored,
        zero_length_instances=int((instances.start == instances.end).sum()),
        ambiguous_intervals=len(ambiguous),
    )
    durations = [split[name].duration if name in split else None for name in videos]
    return Problem(
        videos=videos,
        listed=listed,
        duration=np.array([np.nan if item is None else item for item in durations]),
        classes=classes,
        instances=instances[order],
        detections=found,
        score=score,
        ambiguous=ambiguous,
        counts=counts,
    )


def _instances(
    videos: Iterable[Video], index: dict[str, int], order: tuple[str, ...], subset: str | None
) -> tuple[Segments, tuple[str, ...]]:
    """The split's instances in no order, and its classes in the data set's order."""
    rows = [
        (index[video.id], item.label, item.start, item.end)
        for video in videos
        for item in video.instances
    ]
    if not rows:
        where = "the annotations" if subset is None else f"the subset {subset!r}"
        raise UserError(f"{where} hold no instance with a segment, so there is nothing to find")
    video, names, start, end = zip(*rows, strict=True)
    with_instances = set(names)
    classes = tuple(name for name in order if name in with_instances)
    position = {name: number for number, name in enumerate(classes)}
    label = np.array([position[name] for name in names], np.int32)
    segments = Segments(np.array(video, np.int32), label, np.array(start), np.array(end))
    return segments, classes


def _detections(
    detections: Detections, index: dict[str, int], classes: tuple[str, ...]
) -> tuple[Segments, np.ndarray, int]:
    """Detections of the classes in canonical order, their scores, and how many were left out."""
    for name in ("start", "end", "score"):
        if not np.isfinite(getattr(detections, name)).all():
            raise UserError(f"a detection's {name} is not a finite number; mend the detections")
    position = {name: number for number, name in enumerate(classes)}
    to_class = np.array([position.get(name, -1) for name in detections.classes], np.int32)
    # Videos without detections are not in the index; no row refers to them.
    to_video = np.array([index.get(name, -1) for name in detections.videos], np.int32)
    label = to_class[detections.label] if len(detections) else np.zeros(0, np.int32)
    video = to_video[detections.video] if len(detections) else np.zeros(0, np.int32)
    segments = Segments(video, label, detections.start, detections.end)
    score = detections.score
    keep = label >= 0
    unscored = int((~keep).sum())
    if unscored:
        segments, score = segments[keep], score[keep]
    order = canonical_order(segments, score)
    return segments[order], score[order], unscored


def _ambiguous(videos: Iterable[Video], index: dict[str, int]) -> Segments:
    rows = [(index[video.id], start, end) for video in videos for start, end in video.ambiguous]
    table = np.array(sorted(rows), np.float64).reshape(-1, 3)
    video = table[:, 0].astype(np.int32)
    return Segments(video, np.zeros_like(video), table[:, 1], table[:, 2])
