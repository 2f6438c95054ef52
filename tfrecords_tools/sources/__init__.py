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
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from cpmn_tf.errors import Problem, UserError
from cpmn_tf.formats.annotations import Annotations
from tfrecords_tools.findings import raise_errors

SOURCES = ("bsn", "folders", "labels", "simulated", "thumos14", "watch", "wtalc", "youtube8m")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What a source is told. Not every layout has a use for every field.

    Attributes:
      features_dir: the features' folder; of ``wtalc`` also the file of joint features.
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
    seed: int = 0
    recipe: str = "long"
    difficulty: str = "standard"
    classes_per_video: str | None = None

    def __post_init__(self) -> None:
        """Checks the values; a :class:`UserError` names one that is not allowed."""
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
    def notes(self) -> list[str]:
        """Lines worth telling the user, complete once :meth:`videos` has run through."""

    def videos(self, splits: Mapping[str, str]) -> Iterator[SourceVideo]:
        """Yields the videos one by one, in the annotations' order; may be called again.

        Args:
          splits: the split of each video, held-out ones set apart. Whatever is fitted to data is
            fitted to the videos of ``training`` here.

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
    for field in sorted(given - {*layout.REQUIRED, *layout.OPTIONAL}):
        raise UserError(f"`{field}` does not go with `source={name}`; leave it out")
    return layout.open_source(settings, problem)
