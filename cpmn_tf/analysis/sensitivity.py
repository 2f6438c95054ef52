"""How average mAP and misses depend on the instances: length, coverage, number per video.

After DETAD (Alwassel et al., ECCV 2018, sections 5 and 6). Groups of instances differ in size, and
AP rises with the number of instances, so AP is normalised here: precision is taken as if every
class had the average number of instances N, mAP_N (Hoiem et al., ECCV 2012).
"""

import dataclasses
import itertools

import numpy as np

from cpmn_tf.evaluation.canonical import CanonicalSplit
from cpmn_tf.evaluation.matching import Matching
from cpmn_tf.evaluation.precision import average_precision, curve

# A hit so deep in the ranking that normalised precision is no higher is no use: it is a miss.
LEAST_PRECISION = 0.05
NORMALIZED = "normalised: as if all groups were equally large"
MISSED = f"no detection finds them before precision falls to {100 * LEAST_PRECISION:.0f} %"

_INF = np.inf
# DETAD's bounds: a bin holds what is above its lower bound, up to and with its upper one.
BOUNDS = {
    "thumos14": {
        "length": (0, 3, 6, 12, 18, _INF),
        "coverage": (0, 0.02, 0.04, 0.06, 0.08, 1),
        "instances": (0, 1, 40, 80, _INF),
    },
    "activitynet13": {
        "length": (0, 30, 60, 120, 180, _INF),
        "coverage": (0, 0.2, 0.4, 0.6, 0.8, 1),
        "instances": (0, 1, 4, 8, _INF),
    },
}
TITLES = {
    "length": "length [s]",
    "coverage": "share of the video's duration [%]",
    "instances": "instances of the class in the video",
}


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """One characteristic of the instances.

    Attributes:
      name: `length`, `coverage` or `instances`.
      bins: a text per bin, such as `3–6`.
      instances: number of instances in each bin.
      map_n: normalised average mAP on each bin's instances alone, as a fraction; NaN if empty.
      missed: share of each bin's instances that no detection of use finds, averaged over
        thresholds; NaN if empty.
    """

    name: str
    bins: tuple[str, ...]
    instances: tuple[int, ...]
    map_n: np.ndarray
    missed: np.ndarray


def sensitivities(
    matching: Matching, *, bounds: str | None = None
) -> tuple[float, float, tuple[Sensitivity, ...]]:
    """Normalised mAP and misses over all instances and by each characteristic.

    Args:
      matching: true positives by the protocol.
      bounds: `thumos14` or `activitynet13` for DETAD's bins; None cuts into fifths.

    Coverage is left out where no duration is known.
    """
    found = _found(matching)
    everything = np.ones((1, len(matching.split.instances)), bool)
    (map_n,), (missed,) = _judged(matching, found, everything)
    result = []
    for name, values in _characteristics(matching.split).items():
        known = np.isfinite(values)
        if not known.any():
            continue
        edges = BOUNDS[bounds][name] if bounds else _fifths(values[known])
        place = np.searchsorted(np.asarray(edges[1:-1], float), values)
        members = (place == np.arange(len(edges) - 1)[:, np.newaxis]) & known
        judged = _judged(matching, found, members)
        result.append(
            Sensitivity(
                name=name,
                bins=tuple(_bin_name(name, *ends) for ends in itertools.pairwise(edges)),
                instances=tuple(members.sum(axis=1).tolist()),
                map_n=judged[0],
                missed=judged[1],
            )
        )
    return float(map_n), float(missed), tuple(result)


def _judged(
    matching: Matching, found: np.ndarray, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[B] normalised mAP and share of misses of B groups of instances; NaN for an empty one."""
    map_n, missed = np.full((2, len(members)), np.nan)
    for number in np.flatnonzero(members.any(axis=1)):
        map_n[number] = _normalized(matching, members[number])
        missed[number] = (~found[:, members[number]]).mean()
    return map_n, missed


def _characteristics(split: CanonicalSplit) -> dict[str, np.ndarray]:
    """[M] values of the instances by characteristic; NaN where unknown or impossible."""
    truth = split.instances
    length = truth.end - truth.start
    coverage = length / split.duration[truth.video]
    coverage[coverage > 1] = np.nan  # the annotated duration is wrong
    _, inverse, counts = np.unique(split.cells(truth), return_inverse=True, return_counts=True)
    return {"length": length, "coverage": coverage, "instances": counts[inverse].astype(float)}


def _found(matching: Matching) -> np.ndarray:
    """[T, M] bool: a detection found the instance before precision sank too low."""
    result = np.zeros((len(matching.hits), len(matching.split.instances)), bool)
    total = matching.split.instances_per_class()
    for threshold, row in enumerate(result):
        corners = curve(matching, threshold)
        hits = corners.hits * (total.mean() / total)[corners.label]
        useful = hits > LEAST_PRECISION * (hits + corners.misses)
        row[matching.hits[threshold].instance[useful]] = True
    return result


def _normalized(matching: Matching, member: np.ndarray) -> float:
    """Normalised average mAP on the member instances; detections of the others are taken away."""
    label, number = matching.split.instances.label, len(matching.split.classes)
    total = np.bincount(label[member], minlength=number)
    classes = total > 0
    typical = len(label) / number
    weight = 1.0 / np.maximum(total, 1)
    values = []
    for threshold, hits in enumerate(matching.hits):
        others = np.zeros(len(matching.ignored), bool)
        others[hits.detection[~member[hits.instance]]] = True
        corners = curve(matching, threshold, others)
        step = weight[corners.label]
        corners = dataclasses.replace(corners, hits=corners.hits * step * typical)
        precision = average_precision(corners, step, number, matching.protocol.interpolated)
        values.append(precision[classes].mean())
    return float(np.mean(values))


def _fifths(values: np.ndarray) -> tuple[float, ...]:
    """Bounds of bins with about a fifth of the values each, or fewer bins where values repeat."""
    inner = [float(f"{value:.2g}") for value in np.quantile(values, (0.2, 0.4, 0.6, 0.8))]
    inner = sorted({value for value in inner if value < values.max()})
    filled = np.unique(np.searchsorted(inner, values))  # a bound above an empty bin says nothing
    return (0.0, *(inner[place] for place in filled[:-1]), _INF)


def _bin_name(name: str, low: float, high: float) -> str:
    if name == "instances":  # whole numbers: 2–4 and not 1–4
        first, last = f"{np.floor(low) + 1:g}", f"{np.floor(high):g}"
        return f"≥ {first}" if high == _INF else first if first == last else f"{first}–{last}"
    scale = 100 if name == "coverage" else 1
    first, last = f"{low * scale:.4g}", f"{high * scale:.4g}"
    if high == _INF:
        return f"> {first}"
    return f"≤ {last}" if low == 0 else f"{first}–{last}"
