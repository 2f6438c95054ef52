"""Annotations in ActivityNet's JSON format: typed, validated, written back.

Imports no TensorFlow: evaluation and the record tools share it. Times are seconds.
"""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cpmn_tf.errors import Defect, Problem, UserError, raise_first, reported
from cpmn_tf.files import read_json, write_json
from cpmn_tf.formats.annotation_tables import read_annotation_table
from cpmn_tf.formats.names import (
    alike,
    check_keys,
    is_ambiguous,
    nfc,
    plain_id,
    plain_label,
)

# Records hold float32, up to 3e38; quotients of such numbers have to be finite too, and not 0.
LARGEST = 1e30

_ANNOTATIONS = (
    '{"database": {VIDEO: {"subset": NAME, "annotations": [{"label": CLASS, "segment": [START, '
    "END]}]}}}"
)


@dataclasses.dataclass(frozen=True, order=True)
class Instance:
    """One action instance; ``start`` and ``end`` in seconds.

    >>> Instance(3.2, 9.0, "Jump").label
    'Jump'
    """

    start: float
    end: float
    label: str


@dataclasses.dataclass(frozen=True)
class Video:
    """What is known of one video.

    ``labels`` are its classes in the order of first mention, with or without ``instances``;
    ``ambiguous`` holds intervals (start, end) in seconds that the THUMOS14 protocol leaves out;
    ``duration`` (seconds) and ``fps`` (frames per second) are None where the file does not say.
    ``unsegmented`` are the labels of annotations without a segment, as often as there are such.

    >>> Video("video_000", "training", labels=("Jump",)).instances
    ()
    """

    id: str
    subset: str
    labels: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    ambiguous: tuple[tuple[float, float], ...] = ()
    duration: float | None = None
    fps: float | None = None
    unsegmented: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def bare_labels(self) -> list[str]:
        """The labels of annotations without a segment."""
        known = {*self.unsegmented, *(item.label for item in self.instances)}
        return [*self.unsegmented, *(label for label in self.labels if label not in known)]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """A data set's videos by id, and its classes in their order; ``notes`` say what was taken how.

    >>> annotations = load_annotations("records/annotations.json")
    >>> len(annotations.subset("testing").videos), annotations.classes
    (5, ('Dive', 'Jump', 'Throw'))
    """

    videos: Mapping[str, Video]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def subset(self, name: str) -> "Annotations":
        """Only the videos of one subset, with the same classes.

        Raises:
          UserError: if no video belongs to it; the message lists those there are.
        """
        videos = {key: video for key, video in self.videos.items() if video.subset == name}
        if not videos:
            known = ", ".join(sorted({video.subset for video in self.videos.values()})) or "none"
            raise UserError(f"no video belongs to the subset {name!r}; there are: {known}")
        return dataclasses.replace(self, videos=videos)

    @functools.cached_property
    def _bare(self) -> list[tuple[str, str]]:
        """Video and label of each annotation without a segment."""
        videos = self.videos.items()
        return [(key, label) for key, video in videos for label in video.bare_labels()]

    def check_segments(self) -> None:
        """Looks for labels without a segment, which cannot be evaluated.

        Raises:
          UserError: naming the first video that has one, and how many there are.
        """
        bare = self._bare
        if bare:
            key, label = bare[0]
            others = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
            raise UserError(
                f"video {key!r}: an annotation of {label!r}{others} has no segment, and counted as "
                "nothing would raise the mAP; add the segment, or remove the annotation"
            )


def check_id(video_id: str) -> str:
    """Returns ``video_id`` if it is safe as a file's name: spaces, ``-``, Unicode all pass.

    Raises:
      Defect: if it is empty, ``.``, ``..`` or holds ``/``, ``\\``, NUL or half a surrogate pair.
    """
    if video_id in ("", ".", "..") or re.search(r"[/\\\0\ud800-\udfff]", video_id):
        raise Defect("id", f"video {video_id!r}: this id cannot name a file; rename the video")
    return video_id


def parse_number(value: Any, what: str, *, positive: bool = False) -> float:
    """A float within ±:data:`LARGEST`, above 0 if ``positive``, from a number or a numeric string.

    Raises:
      UserError: that begins with ``what``.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{what} is {value!r:.60}, not a number; fix it") from None
    if not abs(number) <= LARGEST:  # nor NaN
        raise UserError(f"{what} is {number}; it must be finite, at most {LARGEST:g}")
    if positive and number < 1 / LARGEST:
        raise UserError(f"{what} is {number}; it must be positive, at least {1 / LARGEST:g}")
    return number


def parse_segment(value: Any, what: str) -> tuple[float, float]:
    """(start, end) in seconds from a pair of numbers; equal ones pass.

    Raises:
      UserError: that begins with ``what``; of the kind ``reversed`` if it ends before it starts.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise UserError(f"{what} is {value!r:.60}; it must be [start, end] in seconds")
    start, end = (parse_number(item, what) for item in value)
    if end < start:
        text = f"{what} ends before it starts ({start} > {end}); swap or remove it"
        raise Defect("reversed", text)
    return start, end


def mapping(value: Any, what: str, form: str = _ANNOTATIONS) -> dict[str, Any]:
    """``value``, if it is an object; else a :class:`UserError` that begins with ``what``."""
    if not isinstance(value, dict):
        raise UserError(f"{what} is not a JSON object; write {form}")
    return value


def listing(value: Any, what: str, form: str = _ANNOTATIONS) -> list:
    """``value``, if it is a list; else a :class:`UserError` that begins with ``what``."""
    if not isinstance(value, list):
        raise UserError(f"{what} is not a JSON list; write {form}")
    return value


def label_of(item: Mapping[str, Any], what: str) -> str:
    """The label of an annotation or a detection, as it is written.

    Raises:
      UserError: that begins with ``what``, if it has none.
    """
    label = item.get("label")
    if label is None:
        check_keys(item, ("label",), what)
    if label is None or label == "":
        raise UserError(f"{what} has no label; add it or remove the whole entry")
    if not isinstance(label, str):
        raise UserError(f"{what} has the label {label!r:.60}; write the class's name in quotes")
    return label


def _video(
    video_id: str,
    entry: Any,
    names: "_Names",
    what: str,
    problem: Problem,
    default_subset: str | None,
) -> Video:
    """One entry of ``database``. Duplicate instances are kept: protocols decide about them."""
    entry = mapping(entry, what)
    with reported(problem, "annotation", video_id):
        check_keys(entry, ("ambiguous", "subset", "annotations"), what)
    subset = entry.get("subset") or default_subset
    if not isinstance(subset, str) or not subset:
        raise UserError(f'{what}: "subset" is missing; name the split it belongs to')
    numbers = {}
    for name in ("duration", "fps"):
        if entry.get(name) is not None:
            with reported(problem, "annotation", video_id):
                numbers[name] = parse_number(entry[name], f"{what}: {name}", positive=True)
    labels: dict[str, None] = {}
    instances: list[Instance] = []
    ambiguous, unsegmented = [], []
    items: list = []
    with reported(problem, "annotation", video_id):
        items = listing(entry.get("annotations", []), f"{what}: annotations")
    for item in items:
        with reported(problem, "annotation", video_id):
            item = mapping(item, f"{what}: an annotation")
            written = label_of(item, f"{what}: an annotation")
            label = None if is_ambiguous(written) else names.label(written, what)
            if label is None:
                names.ambiguous += 1
            else:  # with a broken segment, the video shows the class all the same
                labels[label] = None
            segment = item.get("segment")
            if segment is None:
                check_keys(item, ("segment",), f"{what}: an annotation of {written!r}")
                unsegmented += [label] if label else []
                continue
            start, end = parse_segment(segment, f"{what}: the segment of {written!r}")
            if label is None:
                ambiguous.append((start, end))
            else:
                instances.append(Instance(start, end, label))
    items = []
    with reported(problem, "annotation", video_id):
        items = listing(entry.get("ambiguous", []), f"{what}: ambiguous")
    for item in items:
        with reported(problem, "annotation", video_id):
            ambiguous.append(parse_segment(item, f"{what}: an ambiguous interval"))
    return Video(
        video_id,
        subset,
        tuple(labels),
        tuple(instances),
        tuple(ambiguous),
        unsegmented=tuple(unsegmented),
        **numbers,
    )


class _Names:
    """The labels of one file, each as it was spelled first, and how many were ambiguous ones.

    Args:
      classes: what the file lists as classes, None if it does not.
    """

    def __init__(self, classes: tuple[str, ...] | None):
        self._listed = classes
        self._spelling = {nfc(name): name for name in classes or ()}
        self.ambiguous = 0

    def label(self, written: str, what: str) -> str:
        """The class that a label means.

        Raises:
          UserError: that begins with ``what``, if it means none.
        """
        if re.search("[\ud800-\udfff]", written):
            text = f"{what}: the label {written!r} holds half a surrogate pair; rename the class"
            raise UserError(text)
        key = nfc(written)
        if key in self._spelling:
            return self._spelling[key]
        if self._listed is None:
            return self._spelling.setdefault(key, written)
        for text in alike([*self._listed, written], plain_label):
            raise Defect("label", f"{what}: the labels {text}")
        text = f'its label {written!r} is not among "classes"; add it there or fix the label'
        raise Defect("label", f"{what}: {text}")

    def classes(self) -> tuple[str, ...]:
        """The classes in their order."""
        return tuple(sorted(self._spelling.values())) if self._listed is None else self._listed

    def notes(self) -> Iterator[str]:
        """What was taken how, and what is doubtful."""
        if self.ambiguous:
            yield f"labelled 'Ambiguous', so ambiguous intervals and no instances: {self.ambiguous}"
        for separator in ",;":
            joined = [name for name in self._spelling if separator in name]
            parts = [{part.strip() for part in name.split(separator)} for name in joined]
            every = joined and len(joined) == len(self._spelling)
            if every or any(part <= self._spelling.keys() for part in parts):
                yield (
                    f"is the label {joined[0]!r} one class? Several labels of a video are written "
                    "label|label in a CSV, and as annotations of their own in JSON"
                )


def _classes(value: Any, what: str) -> tuple[str, ...]:
    classes = tuple(listing(value, what))
    if not all(isinstance(name, str) and name for name in classes):
        raise UserError(f"{what} must hold non-empty strings")
    if len(set(map(nfc, classes))) != len(classes):
        raise UserError(f"{what} names a class twice; keep one of them")
    return tuple(name for name in classes if not is_ambiguous(name))


def check_database(value: Any, source: str | os.PathLike) -> dict[str, Any]:
    """The ``database`` of decoded annotations.

    Raises:
      UserError: naming ``source``, if there is none.
    """
    return mapping(
        mapping(value, f"{source}: the file").get("database"), f'{source}: its "database"'
    )


def parse_annotations(
    value: Any, source: str | os.PathLike = "annotations", *, problem: Problem = raise_first
) -> Annotations:
    """Annotations from decoded JSON; classes are the ``classes`` list or the sorted labels.

    Args:
      value: as :func:`load_annotations` describes it.
      source: what it was read from, for messages.
      problem: called at each defect. Where it returns, parsing goes on without the broken number,
        interval, annotation or video.

    Raises:
      UserError: if there is no ``database``.
    """
    database = check_database(value, source)
    classes = None
    if value.get("classes") is not None:
        with reported(problem, "annotation"):
            classes = _classes(value["classes"], f'{source}: "classes"')
    names = _Names(classes)
    videos = {}
    for key, entry in database.items():
        with reported(problem, "annotation", key):
            what = f"{source}: video {key!r}"
            videos[key] = _video(key, entry, names, what, problem, value.get("default_subset"))
    for text in alike(database, plain_id):
        problem("duplicate", f"{source}: the ids {text}")
    for text in alike(names.classes(), plain_label):
        problem("label", f"{source}: the labels {text}")
    for text in alike(sorted({video.subset for video in videos.values()}), plain_label):
        problem("annotation", f"{source}: the subsets {text}")
    return Annotations(videos, names.classes(), tuple(names.notes()))


def load_annotations(path: str | os.PathLike, *, problem: Problem = raise_first) -> Annotations:
    """Reads ActivityNet-style annotations, or a CSV of them.

    ``{"database": {ID: {"subset", "duration"?, "fps"?, "annotations": [{"segment"?: [s, e],
    "label"}], "ambiguous"?: [[s, e]]}}, "classes"?: [...]}``; numbers may be strings. A `.csv`
    is ``annotation_tables.read_annotation_table``'s. ``problem`` is that of
    :func:`parse_annotations`.

    Raises:
      UserError: naming the file, the video and the fix.
    """
    if pathlib.Path(path).suffix.lower() == ".csv":
        return parse_annotations(read_annotation_table(path, problem), path, problem=problem)
    return parse_annotations(read_json(path, problem=problem), path, problem=problem)


def database_entry(video: Video) -> dict[str, Any]:
    """A video's entry of ``database``, as :func:`parse_annotations` takes it."""
    items: list[dict[str, Any]] = [
        {"segment": [item.start, item.end], "label": item.label} for item in video.instances
    ]
    items += [{"label": label} for label in video.bare_labels()]
    more = {
        "duration": video.duration,
        "fps": video.fps,
        "ambiguous": [list(interval) for interval in video.ambiguous],
    }
    known = {key: value for key, value in more.items() if value}
    return {"subset": video.subset, "annotations": items, **known}


def save_annotations(path: str | os.PathLike, annotations: Annotations) -> None:
    """Writes annotations so that :func:`load_annotations` gives them back."""
    database = {key: database_entry(video) for key, video in annotations.videos.items()}
    write_json(path, {"classes": list(annotations.classes), "database": database})
