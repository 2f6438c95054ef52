"""Where features and annotations come from: one module per layout.

A layout is a module here and its name in :data:`SOURCES`. The module offers
``open_source(settings, problem) -> Source``, called with the :class:`SourceSettings` and with what
is to be done at a defect, and says which fields of the settings it has to be given (``REQUIRED``)
and which it may be given (``OPTIONAL``). A field that is neither is refused.
"""

import dataclasses
import importlib
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from cpmn_tf.errors import Problem, UserError, listed
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.formats.names import is_nothing, nfc
from tfrecords_tools.findings import raise_errors

SOURCES = ("bsn", "folders", "labels", "simulated", "thumos14", "watch", "wtalc", "youtube8m")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What a source is told. Not every layout has a use for every field.

    Attributes:
      features_dir: the features' folder, or an .npz or .h5 of all videos; of ``wtalc`` also the
        file of joint features.
      annotations: a file or folder of the layout's own kind.
      video_info: a CSV with a column ``video`` and any of ``subset``, ``fps``, ``duration``
        (seconds), for what the annotations leave out.
      unit_frames: frames per unit.
      fps: frames per second of videos whose annotations do not say.
      resampled_fps: frames per second that all videos were brought to before encoding, whatever
        their own are.
      split_at: columns of the first stream, ``rgb``, in files that hold both streams.
      csv_header: ``yes`` or ``no``, whether the first line of CSV features names their columns,
        where it is not plain.
      squeeze: drop axes of length 1 of arrays that have more than two axes.
      crops: ``mean`` averages arrays of three axes over the one that counts crops.
      skip_missing: leave out annotated videos without features instead of refusing them.
      drop_labels: labels whose annotations are dropped, such as ``Background``.
      seed: of what is composed or simulated.
      recipe: by which ``watch`` composes recordings, ``long`` or ``short``.
      difficulty: of simulated features, ``easier``, ``standard``, ``harder`` or ``sceneless``.
      classes_per_video: of simulated timelines, a number or a range such as ``3-5``.
    """

    features_dir: str | os.PathLike | None = None
    annotations: str | os.PathLike | None = None
    video_info: str | os.PathLike | None = None
    unit_frames: int | None = None
    fps: float | None = None
    resampled_fps: float | None = None
    split_at: int | None = None
    csv_header: str | None = None
    squeeze: bool = False
    crops: str | None = None
    skip_missing: bool = False
    drop_labels: Sequence[str] = ()
    seed: int = 0
    recipe: str = "long"
    difficulty: str = "standard"
    classes_per_video: str | None = None

    def __post_init__(self) -> None:
        """Checks the values; a :class:`UserError` names one that is not allowed."""
        labels = (self.drop_labels,) if isinstance(self.drop_labels, str) else self.drop_labels
        object.__setattr__(self, "drop_labels", tuple(labels))
        for name in ("unit_frames", "fps", "resampled_fps", "split_at"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise UserError(f"`{name}={value}` must be a positive number")
            if "fps" not in name and not isinstance(value, int):
                raise UserError(f"`{name}={value}` must be a whole number; round it")
        if self.csv_header not in (None, "yes", "no"):
            raise UserError(f"`csv_header={self.csv_header}` must be yes or no; give one of them")
        if self.crops not in (None, "mean"):
            raise UserError(f"`crops={self.crops}` must be mean; give that or leave it out")

    def given(self) -> set[str]:
        """The fields that are not at their defaults."""
        fields = dataclasses.fields(self)
        return {field.name for field in fields if getattr(self, field.name) != field.default}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceVideo:
    """One video's features: [T, G] float32 or float16 per stream, ``rate`` in units per second.

    T may differ by a unit or two between streams; the build trims and counts.
    """

    id: str
    rate: float
    features: Mapping[str, np.ndarray]


class Source(Protocol):
    """Something that has annotations, and features for each annotated video.

    Attributes:
      annotations: of all videos; their subsets become the splits.
      facts: plain values that the manifest keeps about the records' origin.
    """

    annotations: Annotations
    facts: Mapping[str, Any]

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """What :meth:`videos` met, for the notes; the counts of several parts add up."""

    @property
    def notes(self) -> list[str]:
        """Lines worth telling the user, complete once :meth:`videos` has run through."""

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
        """Yields the videos one by one, in the annotations' order; may be called again.

        Args:
          splits: the split of each video, held-out ones set apart. Whatever is fitted to data is
            fitted to the videos of ``training`` here.
          wanted: ids of ``splits`` that are yielded, and no other is read; None yields all.

        Raises:
          UserError: naming the file, the video and the fix.
        """


def open_source(name: str, settings: SourceSettings, problem: Problem = raise_errors) -> Source:
    """Opens the source of that name.

    Args:
      name: one of :data:`SOURCES`.
      settings: what it is told.
      problem: called at each defect; the source goes on with the next video if it returns.

    Raises:
      UserError: if a setting is missing or has no use, or a file cannot be read at all.
    """
    if name not in SOURCES:
        raise UserError(f"`source={name}` is none of {', '.join(SOURCES)}")
    layout = importlib.import_module(f"{__name__}.{name}")
    given = settings.given()
    for field in layout.REQUIRED:
        if field not in given:
            raise UserError(f"`{field}` is missing; `source={name}` needs it")
    for field in sorted(given - {*layout.REQUIRED, *layout.OPTIONAL, "drop_labels"}):
        raise UserError(f"`{field}` does not go with `source={name}`; leave it out")
    source: Source = layout.open_source(settings, problem)
    source.annotations = dropped(source.annotations, settings.drop_labels)
    for label in filter(is_nothing, source.annotations.classes):
        text = f"the label {label!r} stands for no action, and would be trained on as a class"
        problem("label", f"{text}; add `drop_labels={label}`")
    for note in source.annotations.notes:
        problem("note", note)
    return source


def dropped(annotations: Annotations, labels: Iterable[str]) -> Annotations:
    """The annotations without some labels; a note counts what was dropped.

    Raises:
      UserError: if a label is none of the classes.
    """
    classes = {nfc(name): name for name in annotations.classes}
    gone = set()
    for label in labels:
        if nfc(label) not in classes:
            known = listed(annotations.classes)
            raise UserError(f"`drop_labels={label}`: no such class; there are: {known}")
        gone.add(classes[nfc(label)])
    if not gone:
        return annotations
    videos, number = {}, 0
    for key, video in annotations.videos.items():
        videos[key] = dataclasses.replace(
            video,
            labels=tuple(label for label in video.labels if label not in gone),
            instances=tuple(item for item in video.instances if item.label not in gone),
            unsegmented=tuple(label for label in video.unsegmented if label not in gone),
        )
        number += len(video.instances) + len(video.bare_labels())
        number -= len(videos[key].instances) + len(videos[key].bare_labels())
    return Annotations(
        videos,
        tuple(name for name in annotations.classes if name not in gone),
        (*annotations.notes, f"annotations dropped, as `drop_labels` says: {number}"),
    )
