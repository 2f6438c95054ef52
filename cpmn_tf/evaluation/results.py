"""Results of an evaluation as tables and as JSON; both name the protocol, the files and counts."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cpmn_tf.evaluation.canonical import Counts


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How well detections find instances.

    Attributes:
      protocol: whose rules were used, `activitynet` or `thumos14`.
      tiou: thresholds.
      map: [T] mean over classes of the average precision, as a fraction, parallel to ``tiou``.
      average_map: mean of ``map``.
      per_class: AP [T] of each class that has an instance, in the data set's order.
      counts: what was compared with what.
      notes: what is worth knowing beside the figure, a line each.

    >>> from cpmn_tf import evaluate, load_annotations
    >>> from cpmn_tf.formats.detections import Detections
    >>> found = Detections.from_rows(["video_010"], [])
    >>> truth = load_annotations("records/annotations.json").subset("testing")
    >>> evaluate(truth, found, protocol="thumos14").average_map
    0.0
    """

    protocol: str
    tiou: tuple[float, ...]
    map: np.ndarray
    average_map: float
    per_class: dict[str, np.ndarray]
    counts: Counts
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = self.counts
        return "\n".join(
            [
                *table(map_rows([self])),
                f"{many(counts.videos, 'video')}, {many(counts.instances, 'instance')} of "
                f"{many(counts.classes, 'class')}; {many(counts.detections, 'detection')}",
                *map(note, self.notes),
            ]
        )


@dataclasses.dataclass(frozen=True)
class Sources:
    """Which files a result comes from; digests are SHA-256 in hexadecimal.

    ``detection_sha256`` is None for detections that were judged as they were found.
    """

    annotation_file: str
    annotation_sha256: str
    detection_file: str
    detection_sha256: str | None
    split: str


def to_json(result: Evaluation, sources: Sources) -> dict[str, Any]:
    """A result as plain values; mAP and AP are fractions, lists parallel to ``tiou``."""
    return {
        "protocol": result.protocol,
        "tiou": list(result.tiou),
        "map": result.map.tolist(),
        "average_map": result.average_map,
        "per_class": {name: row.tolist() for name, row in result.per_class.items()},
        **dataclasses.asdict(sources),
        **dataclasses.asdict(result.counts),
        "notes": list(result.notes),
    }


def tables(results: Sequence[Evaluation]) -> list[str]:
    """Lines: mAP and AP by class of one protocol's result, or of several side by side."""
    first, *others = results
    if others:
        rows = [["average AP [%]", *(result.protocol for result in results)]]
        for name in first.per_class:
            rows.append([name, *percents(result.per_class[name].mean() for result in results)])
    else:
        rows = [["AP [%] at tIoU", *map_rows(results)[0][1:]]]
        for name, row in first.per_class.items():
            rows.append([name, *percents([*row, row.mean()])])
    return [*table(map_rows(results)), "", *table(rows)]


def map_rows(results: Sequence[Evaluation]) -> list[list[str]]:
    """A header with the thresholds, and a row of mAP by protocol."""
    rows = [[result.protocol, *percents([*result.map, result.average_map])] for result in results]
    thresholds = (f"{value:g}" for value in results[0].tiou)
    return [["mAP [%] at tIoU", *thresholds, "average"], *rows]


def facts(result: Evaluation, sources: Sources) -> list[str]:
    """Lines that name the files and what they hold, and the notes."""
    counts, ambiguous = result.counts, result.counts.ambiguous_intervals
    return [
        f"annotations  {sources.annotation_file}",
        f"             SHA-256 {sources.annotation_sha256}",
        f"             {sources.split}: {many(counts.videos, 'video')}, "
        f"{many(counts.instances, 'instance')} of {many(counts.classes, 'class')}"
        + (f", {many(ambiguous, 'ambiguous interval')}" if ambiguous else ""),
        f"detections   {sources.detection_file}",
        *([f"             SHA-256 {sources.detection_sha256}"] if sources.detection_sha256 else []),
        f"             {many(counts.detections, 'detection')}; "
        f"{many(counts.videos_without_detections, 'video')} without detections",
        *map(note, result.notes),
    ]


def note(text: str) -> str:
    """A line beside the facts."""
    return f"note         {text}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines: the first column to the left, the others to the right."""
    rows = [[text if text.isprintable() else ascii(text)[1:-1] for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def percents(fractions: Iterable[float]) -> list[str]:
    """Percent with two decimals."""
    return [f"{100 * value:.2f}" for value in fractions]


def many(number: int, noun: str) -> str:
    """The number and the noun in singular or plural."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
