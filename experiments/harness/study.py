"""What a table or figure is: plain data, which :mod:`experiments.run` trains, judges and writes."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from cpmn_tf.config import Config

PROTOCOLS = ("activitynet", "thumos14")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of a table or line of a figure.

    Attributes:
      name: as it is shown.
      settings: ``section.field=value`` on top of the preset and ``--set``.
      to: names of the rows that its differences are to, where they are not the study's.
      base: what ``settings`` are on top of instead; its splits are still the preset's.
      train: what makes the model's folder; called as, and by default,
        :func:`experiments.harness.bank.train_once`.
    """

    name: str
    settings: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    base: Config | None = None
    train: Callable[..., pathlib.Path] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """Rows that a paper printed, to be shown beside ours.

    Attributes:
      data: what they were measured on.
      preset: of these data.
      tiou: thresholds shown.
      rows: supervision, method, and mAP in % by tIoU (None where the paper prints none), with the
        average last where the table has one.
    """

    data: str
    preset: str
    tiou: tuple[float, ...]
    rows: Sequence[tuple[str, str, tuple[float | None, ...]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A table or figure: variants of the method, each trained over seeds and judged.

    Its module's name is that of the files it writes.

    Attributes:
      title: in words.
      paper: what the paper reports.
      variants: the rows; one with the settings of an earlier one is left out.
      reference: number of the row that differences are to; None: to the row above.
      published: rows of the paper beside which the first variant is shown.
    """

    title: str
    paper: str
    variants: Sequence[Variant]
    reference: int | None = None
    published: Published | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """One variant of one seed; fractions.

    Attributes:
      variant: its name.
      seed: of the training.
      tiou: thresholds.
      map: by protocol, mAP at each tIoU.
      top_class: share of the videos whose best-scored detection has one of the video's labels.
      detections: their number.
      videos_without_detections: videos of the split that no detection is in.
      model: name of the model's folder in the bank.
      minutes: of the processor that its modules took to be trained.
      key: of what it depends on; empty in tables of before there were keys.
    """

    variant: str
    seed: int
    tiou: list[float]
    map: dict[str, list[float]]
    top_class: float
    detections: int
    videos_without_detections: int
    model: str
    minutes: float = 0.0
    key: str = ""

    def average(self, protocol: str) -> float:
        """Mean of the mAP over tIoU."""
        return sum(self.map[protocol]) / len(self.tiou)
