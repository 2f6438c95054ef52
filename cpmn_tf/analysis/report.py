"""An analysis as tables and as JSON."""

from typing import Any

import numpy as np

from cpmn_tf.analysis.bootstrap import Interval
from cpmn_tf.analysis.diagnosis import Analysis
from cpmn_tf.analysis.error_kinds import KINDS
from cpmn_tf.analysis.sensitivity import MISSED, TITLES
from cpmn_tf.evaluation.results import many, map_rows, percents, table


def analysis_text(analysis: Analysis) -> list[str]:
    """The analysis as tables, line by line."""
    result, errors = analysis.evaluation, analysis.errors
    rows = [*map_rows([result]), *_interval_rows(analysis.interval)]
    if analysis.comparison is not None:
        other = analysis.comparison
        rows += [
            ["baseline", *map_rows([other.baseline])[1][1:]],
            *_interval_rows(other.interval),
            ["difference", *percents([*other.difference, other.average_difference])],
            *_interval_rows(other.difference_interval),
        ]
    redrawn = []
    if analysis.redrawn:
        redrawn = [
            f"{many(analysis.redrawn, 'bootstrap draw')} held no instance, so no mAP, and "
            f"{'was' if analysis.redrawn == 1 else 'were'} drawn again for the "
            f"{analysis.samples} samples"
        ]
    kinds = [["kind of detection", "gain [points]", "% of 1G", *(f"{n}G" for n in range(2, 11))]]
    for kind, shares in zip(KINDS, errors.shares.T, strict=True):
        gain = f"+{100 * errors.gains[kind]:.2f}" if kind in errors.gains else ""
        kinds.append([kind, gain, *map(_share, shares)])
    groups = [["instances", "number", "normalised mAP [%]", "missed [%]"]]
    everything = percents([analysis.map_n, analysis.missed])
    groups.append(["all", str(result.counts.instances), *everything])
    for item in analysis.sensitivities:
        groups.append([TITLES[item.name], "", "", ""])
        for name, number, *values in zip(
            item.bins, item.instances, item.map_n, item.missed, strict=True
        ):
            groups.append([f"  {name}", str(number), *(_share(value, 2) for value in values)])
    return [
        *table(rows),
        *redrawn,
        "",
        *table(kinds),
        "gain: of average mAP, if the kind vanished; nG: detections ranked from (n-1)G to nG in "
        "their class, G being its number of instances",
        "",
        *table(groups),
        "normalised: average mAP on the group alone, as if all groups were equally large; "
        f"missed: {MISSED}",
    ]


def _interval_rows(bounds: Interval) -> list[list[str]]:
    return [
        ["  95 % from", *percents([*bounds.low, bounds.average_low])],
        ["  to", *percents([*bounds.high, bounds.average_high])],
    ]


def _share(value: float, digits: int = 0) -> str:
    return "–" if value != value else f"{100 * value:.{digits}f}"


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """The analysis beside the evaluation's own entries, as plain values; NaN becomes null."""
    result: dict[str, Any] = {
        "bootstrap": {
            "samples": analysis.samples,
            "redrawn": analysis.redrawn,
            **_interval_json(analysis.interval),
        },
        "errors": {
            "kinds": list(KINDS),
            "shares_by_rank": _listed(analysis.errors.shares),
            "detections_by_rank": _listed(analysis.errors.detections),
            "average_map_gains": analysis.errors.gains,
        },
        "normalized_average_map": analysis.map_n,
        "missed": analysis.missed,
        "sensitivity": {
            item.name: {
                "title": TITLES[item.name],
                "bins": list(item.bins),
                "instances": list(item.instances),
                "normalized_average_map": _listed(item.map_n),
                "missed": _listed(item.missed),
            }
            for item in analysis.sensitivities
        },
    }
    if analysis.comparison is not None:
        other = analysis.comparison
        result["baseline"] = {
            "map": other.baseline.map.tolist(),
            "average_map": other.baseline.average_map,
            **_interval_json(other.interval),
            "difference": other.difference.tolist(),
            "average_difference": other.average_difference,
            "difference_interval": _interval_json(other.difference_interval),
        }
    return result


def _interval_json(bounds: Interval) -> dict[str, Any]:
    return {
        "map_low": bounds.low.tolist(),
        "map_high": bounds.high.tolist(),
        "average_map_low": bounds.average_low,
        "average_map_high": bounds.average_high,
    }


def _listed(values: np.ndarray) -> list:
    if values.ndim > 1:
        return [_listed(row) for row in values]
    return [None if np.isnan(value) else float(value) for value in values]
