"""Results as JSON and as text; both name the protocol, the files and what they hold."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from cpmn_tf.analysis.bootstrap import Interval
from cpmn_tf.analysis.diagnosis import Analysis
from cpmn_tf.analysis.sensitivity import LEAST_PRECISION
from cpmn_tf.evaluation.canonical import Counts
from cpmn_tf.evaluation.protocols import Evaluation


@dataclasses.dataclass(frozen=True)
class Sources:
    """Which files a result comes from; digests are SHA-256 in hexadecimal."""

    annotation_file: str
    annotation_sha256: str
    detection_file: str
    detection_sha256: str
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
    }


def to_text(results: Sequence[Evaluation], sources: Sources) -> str:
    """Tables of one protocol's result, or of several side by side."""
    first = results[0]
    lines = [*facts(first.counts, sources), ""]
    header = ["mAP [%] at tIoU", *(f"{value:g}" for value in first.tiou), "average"]
    rows = [
        [result.protocol, *_percents(result.map), _percent(result.average_map)]
        for result in results
    ]
    lines += [*table([header, *rows]), ""]
    if len(results) == 1:
        header = ["AP [%] at tIoU", *header[1:]]
        rows = [
            [name, *_percents(row), _percent(row.mean())] for name, row in first.per_class.items()
        ]
    else:
        header = ["average AP [%]", *(result.protocol for result in results)]
        rows = [
            [name, *(_percent(result.per_class[name].mean()) for result in results)]
            for name in first.per_class
        ]
    return "\n".join([*lines, *table([header, *rows])])


def facts(counts: Counts, sources: Sources) -> list[str]:
    """Lines that name the files and what they hold."""
    ambiguous = counts.ambiguous_intervals
    lines = [
        f"annotations  {sources.annotation_file}",
        f"             SHA-256 {sources.annotation_sha256}",
        f"             {sources.split}: {many(counts.videos, 'video')}, "
        f"{many(counts.instances, 'instance')} of {many(counts.classes, 'class')}"
        + (f", {many(ambiguous, 'ambiguous interval')}" if ambiguous else ""),
        f"detections   {sources.detection_file}",
        f"             SHA-256 {sources.detection_sha256}",
        f"             {many(counts.detections, 'detection')}; "
        f"{many(counts.videos_without_detections, 'video')} without detections",
    ]
    remarks = {
        f"{many(counts.classes_without_detections, 'class')} without detections, with an AP of 0": (
            counts.classes_without_detections
        ),
        f"{many(counts.unlisted_detections, 'detection')} in "
        f"{many(counts.unlisted_videos, 'video')} outside the split, "
        "counted as false positives (the official evaluators do so)": counts.unlisted_detections,
        f"{many(counts.unscored_detections, 'detection')} left out: the split has no instance of "
        "their class": counts.unscored_detections,
        f"{many(counts.zero_length_instances, 'instance')} of zero length": (
            counts.zero_length_instances
        ),
    }
    lines += [note(text) for text, number in remarks.items() if number]
    return lines


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


def analysis_text(analysis: Analysis) -> list[str]:
    """The analysis as tables, line by line."""
    result, errors = analysis.evaluation, analysis.errors
    header = ["mAP [%] at tIoU", *(f"{value:g}" for value in result.tiou), "average"]
    rows = [header, *_map_rows(result, analysis.interval)]
    if analysis.comparison is not None:
        other = analysis.comparison
        rows += _map_rows(other.baseline, other.interval, "baseline")
        gap = other.difference_interval
        rows += [
            ["difference", *_percents([*other.difference, other.average_difference])],
            ["  95 % from", *_percents([*gap.low, gap.average_low])],
            ["  to", *_percents([*gap.high, gap.average_high])],
        ]
    kinds = [
        ["kind of detection", "gain [points]", "% of 1G", *(f"{row}G" for row in range(2, 11))],
        *(
            [
                kind,
                f"+{_percent(errors.gains[kind])}" if kind in errors.gains else "",
                *(_share(errors.shares[row, place]) for row in range(10)),
            ]
            for place, kind in enumerate(errors.kinds)
        ),
    ]
    lines = [*table(rows), "", *table(kinds)]
    lines += [
        "gain: of average mAP, if the kind vanished; nG: detections ranked from (n-1)G to nG in "
        "their class, G being its number of instances",
        "",
    ]
    groups = [["instances", "number", "normalised mAP [%]", "missed [%]"]]
    overall = analysis.overall
    groups.append(
        ["all", str(result.counts.instances), _percent(overall.map_n), _percent(overall.missed)]
    )
    for item in analysis.sensitivities:
        groups.append([item.title, "", "", ""])
        for name, number, value, missed in zip(
            item.bins, item.instances, item.map_n, item.missed, strict=True
        ):
            groups.append([f"  {name}", str(number), _share(value, 2), _share(missed, 2)])
    return [
        *lines,
        *table(groups),
        "normalised: average mAP on the group alone, as if all groups were equally large; missed: "
        f"no detection finds them before precision falls to {100 * LEAST_PRECISION:.0f} %",
    ]


def _map_rows(result: Evaluation, bounds: Interval, name: str | None = None) -> list[list[str]]:
    return [
        [name or result.protocol, *_percents([*result.map, result.average_map])],
        ["  95 % from", *_percents([*bounds.low, bounds.average_low])],
        ["  to", *_percents([*bounds.high, bounds.average_high])],
    ]


def _share(value: float, digits: int = 0) -> str:
    return "–" if value != value else f"{100 * value:.{digits}f}"


def _percents(values) -> list[str]:
    return [_percent(value) for value in values]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def many(number: int, noun: str) -> str:
    """The number and the noun in singular or plural."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
