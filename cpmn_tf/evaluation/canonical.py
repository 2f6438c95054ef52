"""Truth and detections of one split as columns in the canonical order.

The canonical order is detections by (class, −score, video, start, end) and instances by (class,
video, start, end), videos by their id. With it no result depends on the order of a file, even where
scores are tied; the official evaluators' results do. With ``order="file"`` instances of one class
and video, and detections of one class, score and video, stay in the order of their file.
"""

import dataclasses
from collections.abc import Collection

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Video
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.names import is_nothing
from cpmn_tf.formats.times import given_twice

ORDERS = ("sorted", "file")


@dataclasses.dataclass(frozen=True)
class Segments:
    """Segments by column.

    Attributes:
      video: [N] int32, index into the split's videos.
      label: [N] int32, index into the split's classes.
      start, end: [N] float64, seconds.
    """

    video: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def take(self, rows: np.ndarray) -> "Segments":
        """The segments of these rows; `take` is twice as fast as indexing."""
        columns = (self.video, self.label, self.start, self.end)
        return Segments(*(column.take(rows) for column in columns))


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
      late_instances, late_detections: those that end after their video's duration.
      repeated_instances: instances that another one of their class and video all but equals; each
        wants to be found.
      dropped_instances: the same, left out.
      ambiguous_intervals: intervals that only the ``thumos14`` protocol looks at.

    >>> from cpmn_tf import evaluate, load_annotations
    >>> truth = load_annotations("records/annotations.json").subset("testing")
    >>> found = Detections.from_rows(truth.videos, [])
    >>> evaluate(truth, found, protocol="thumos14").counts.videos_without_detections
    5
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
    late_instances: int
    late_detections: int
    repeated_instances: int
    dropped_instances: int
    ambiguous_intervals: int


@dataclasses.dataclass(frozen=True)
class CanonicalSplit:
    """One split's truth and the detections to be judged, both in the canonical order.

    Attributes:
      videos: ids in sorted order: the split's, and those of unlisted detections.
      listed: [V] bool, the video belongs to the split.
      duration: [V] float64, seconds; NaN where unknown.
      classes: the classes that have an instance.
      instances: M segments of truth.
      detections: N detections; their order is all that their scores matter for.
      ambiguous: intervals by video; their ``label`` means nothing.
      in_file_order: the order of the files decides where the canonical one takes start and end.
      counts: see :class:`Counts`.
      remarks: what the annotations say of themselves, and classes that may be none.
    """

    videos: tuple[str, ...]
    listed: np.ndarray
    duration: np.ndarray
    classes: tuple[str, ...]
    instances: Segments
    detections: Segments
    ambiguous: Segments
    in_file_order: bool
    counts: Counts
    remarks: tuple[str, ...]

    def instances_per_class(self) -> np.ndarray:
        """[C] number of instances, at least 1."""
        return np.bincount(self.instances.label, minlength=len(self.classes))

    @property
    def size(self) -> int:
        """Number of classes times number of videos."""
        return len(self.classes) * len(self.videos)

    def cells(self, segments: Segments) -> np.ndarray:
        """[N] integer in [0, size) that says class and video, ascending in that order."""
        cell: np.ndarray = segments.label.astype(np.int32 if self.size < 1 << 31 else np.int64)
        cell *= len(self.videos)
        cell += segments.video
        return cell

    def class_starts(self) -> np.ndarray:
        """[C] row of each class's first detection."""
        return np.searchsorted(self.detections.label, np.arange(len(self.classes), dtype=np.int32))


def canonical_order(
    segments: Segments, score: np.ndarray, *, in_file_order: bool = False
) -> np.ndarray:
    """[N] rows by (class, −score, video, start, end), or by (class, −score, video, row).

    NumPy sorts 16-bit integers by counting: passes over the score as float32 and the class take
    half the time of sorting each class's scores. Where they do not decide, the columns do.
    """
    with np.errstate(over="ignore"):
        bits = _ascending_bits(0 - score.astype(np.float32))  # 0 − 0 is +0, as −(−0)
    label = segments.label.view(np.uint32)
    order = np.argsort(bits.astype(np.uint16), kind="stable")
    for key, shift in ((bits, 16), (label, 0), (label, 16)):
        if shift and key is label and label.max(initial=0) < 1 << 16:
            break
        digit = (key >> np.uint32(shift)).astype(np.uint16)
        order = order.take(np.argsort(digit.take(order), kind="stable"))
    bits, label = bits.take(order), label.take(order)
    undecided = (bits[1:] == bits[:-1]) & (label[1:] == label[:-1])
    if undecided.any():
        member = np.append(undecided, False) | np.append(False, undecided)
        rows = order[member]
        some = segments.take(rows)
        keys = (some.video, -score[rows], some.label)  # sorting is stable: rows ascend
        order[member] = rows[np.lexsort(keys if in_file_order else (some.end, some.start, *keys))]
    return order


def _ascending_bits(values: np.ndarray) -> np.ndarray:
    """[N] uint32 in the order of the float32 values: bits flipped so that negatives come first."""
    bits = values.view(np.uint32)
    negative = values.view(np.int32) >> np.int32(31)  # all ones or all zeros
    return bits ^ (negative.view(np.uint32) | np.uint32(1 << 31))


def prepare(
    annotations: Annotations,
    detections: Detections,
    *,
    order: str = "sorted",
    drop_duplicates: bool = False,
) -> CanonicalSplit:
    """Brings truth and detections into the canonical order.

    Args:
      annotations: the truth of the split.
      detections: what is to be judged; scores of any scale.
      order: ``sorted`` or ``file``; see the module.
      drop_duplicates: leave out instances that another one all but equals.

    Raises:
      UserError: if the split has no instances, or one without a segment, a score or time is not
        finite, or names differ by blanks alone.
    """
    if order not in ORDERS:
        raise UserError(f"`order={order}` is none of {', '.join(ORDERS)}; take one of them")
    in_file_order, split = order == "file", annotations.videos
    detections = detections.spelled_as(annotations)
    used = np.bincount(detections.video, minlength=len(detections.videos)) > 0
    named = {name for name, has in zip(detections.videos, used.tolist(), strict=True) if has}
    videos = tuple(sorted([*split, *named.difference(split)]))  # fast where most are in order
    index = {name: position for position, name in enumerate(videos)}
    numbers = np.array([index[name] for name in split], np.int32)
    instances, classes = _instances(annotations, numbers)
    rows, twice = _instance_rows(instances, in_file_order, drop_duplicates)
    instances = instances.take(rows)
    found = _detections(detections, index, classes, in_file_order)
    listed, duration = np.zeros(len(videos), bool), np.full(len(videos), np.nan)
    listed[numbers] = True
    known = [video.duration for video in split.values()]
    duration[numbers] = np.array(known, np.float64)  # None becomes NaN
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
        unlisted_detections=len(found) - int(np.count_nonzero(listed.take(found.video))),
        unscored_detections=len(detections) - len(found),
        zero_length_instances=int((instances.start == instances.end).sum()),
        late_instances=_late(instances, duration),
        late_detections=_late(found, duration),
        repeated_instances=0 if drop_duplicates else twice,
        dropped_instances=twice if drop_duplicates else 0,
        ambiguous_intervals=len(ambiguous),
    )
    return CanonicalSplit(
        videos=videos,
        listed=listed,
        duration=duration,
        classes=classes,
        instances=instances,
        detections=found,
        ambiguous=ambiguous,
        in_file_order=in_file_order,
        counts=counts,
        remarks=(
            *annotations.notes,
            *(
                f"{name!r} counts as a class; if it stands for no action, remove its annotations"
                for name in annotations.classes
                if is_nothing(name)
            ),
        ),
    )


def _instances(annotations: Annotations, numbers: np.ndarray) -> tuple[Segments, tuple[str, ...]]:
    """The videos' instances in the order of the file, and the classes that have one."""
    videos = annotations.videos.values()
    items = [item for video in videos for item in video.instances]
    if not items:
        raise UserError("these videos hold no instance with a segment, so there is nothing to find")
    annotations.check_segments()
    names = [item.label for item in items]
    with_instances = set(names)
    classes = tuple(name for name in annotations.classes if name in with_instances)
    position = {name: number for number, name in enumerate(classes)}
    segments = Segments(
        np.repeat(numbers, [len(video.instances) for video in videos]),
        np.array([position[name] for name in names], np.int32),
        np.array([item.start for item in items], np.float64),
        np.array([item.end for item in items], np.float64),
    )
    return segments, classes


def _instance_rows(
    instances: Segments, in_file_order: bool, drop_duplicates: bool
) -> tuple[np.ndarray, int]:
    """The rows of the instances in their order, and how many another one all but equals."""
    label, video = instances.label, instances.video
    rows, twice = given_twice(video, label, instances.start, instances.end)
    if drop_duplicates:
        rows = rows[~twice]
    if in_file_order:
        rows.sort()
        rows = rows[np.lexsort((video[rows], label[rows]))]
    return rows, int(twice.sum())


def _late(segments: Segments, duration: np.ndarray) -> int:
    """How many end after their video; a hundredth and a tenth of a second are rounding."""
    return int((segments.end > (1.01 * duration + 0.1).take(segments.video)).sum())


def _detections(
    detections: Detections,
    index: dict[str, int],
    classes: tuple[str, ...],
    in_file_order: bool,
) -> Segments:
    """Detections of the classes in their order."""
    for name in ("start", "end", "score"):
        if not np.isfinite(getattr(detections, name)).all():
            raise UserError(f"a detection's {name} is not a finite number; write a finite one")
    position = {name: number for number, name in enumerate(classes)}
    to_class = np.array([position.get(name, -1) for name in detections.classes], np.int32)
    # Videos without detections are not in the index; no row refers to them.
    to_video = np.array([index.get(name, -1) for name in detections.videos], np.int32)
    label, video = to_class.take(detections.label), to_video.take(detections.video)
    segments = Segments(video, label, detections.start, detections.end)
    score = detections.score
    if (label < 0).any():
        keep = np.flatnonzero(label >= 0)
        segments, score = segments.take(keep), score.take(keep)
    return segments.take(canonical_order(segments, score, in_file_order=in_file_order))


def _ambiguous(videos: Collection[Video], index: dict[str, int]) -> Segments:
    rows = [(index[video.id], *interval) for video in videos for interval in video.ambiguous]
    table = np.array(sorted(rows), np.float64).reshape(-1, 3)
    video = table[:, 0].astype(np.int32)
    return Segments(video, np.zeros_like(video), table[:, 1], table[:, 2])
