"""`analyze`: everything about why a detector errs and how sure its mAP is, as typed results."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from cpmn_tf.analysis.bootstrap import Interval, bootstrap_map, draws, interval
from cpmn_tf.analysis.error_kinds import ErrorProfile, error_profile
from cpmn_tf.analysis.sensitivity import BOUNDS, Sensitivity, sensitivities
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation.matching import Protocol
from cpmn_tf.evaluation.protocols import DEFAULT_TIOU, matched, summarize
from cpmn_tf.evaluation.results import Evaluation
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.formats.detections import Detections


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The same truth, another run.

    Attributes:
      baseline: the other run's mAP.
      interval: its interval.
      difference: [T] mAP less the baseline's.
      average_difference: the same for the average mAP.
      difference_interval: of the difference; both runs are drawn on the same videos.

    >>> from cpmn_tf import load_annotations
    >>> truth = load_annotations("records/annotations.json").subset("testing")
    >>> found = Detections.from_rows(truth.videos, [("video_010", "Jump", 1.0, 2.0, 0.5)])
    >>> analysis = analyze(truth, found, protocol="thumos14", baseline=found, samples=10)
    >>> analysis.comparison.average_difference
    0.0
    """

    baseline: Evaluation
    interval: Interval
    difference: np.ndarray
    average_difference: float
    difference_interval: Interval


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Why a detector errs.

    Attributes:
      evaluation: mAP, AP and counts.
      samples: number of bootstrap samples.
      redrawn: draws without an instance, which have no mAP and were drawn again.
      interval: 95 % interval of mAP over videos.
      errors: kinds of false positives and what each costs.
      map_n, missed: normalised average mAP and share of misses over all instances.
      sensitivities: the same by characteristic of the instances.
      comparison: with a baseline, if one was given.

    >>> from cpmn_tf import load_annotations
    >>> truth = load_annotations("records/annotations.json").subset("testing")
    >>> found = Detections.from_rows(truth.videos, [("video_010", "Jump", 1.0, 2.0, 0.5)])
    >>> analyze(truth, found, protocol="activitynet", samples=10).errors.gains["confusion"]
    0.0
    """

    evaluation: Evaluation
    samples: int
    redrawn: int
    interval: Interval
    errors: ErrorProfile
    map_n: float
    missed: float
    sensitivities: tuple[Sensitivity, ...]
    comparison: Comparison | None = None


def analyze(
    annotations: Annotations,
    detections: Detections,
    *,
    protocol: str | Protocol,
    tiou: Iterable[float] = DEFAULT_TIOU,
    baseline: Detections | None = None,
    bounds: str | None = None,
    samples: int = 1000,
    seed: int = 0,
    order: str = "sorted",
    drop_duplicates: bool = False,
) -> Analysis:
    """Analyses detections by one protocol.

    Args:
      annotations, detections, protocol, tiou: as :func:`cpmn_tf.evaluate`.
      baseline: detections of another run on the same videos, to be compared with.
      bounds: bins of the instances, `thumos14` or `activitynet13`; None cuts into fifths.
      samples: number of bootstrap samples, at least 2.
      seed: of the samples.
      order, drop_duplicates: as :func:`cpmn_tf.evaluate`.

    Raises:
      UserError: if an argument is out of range or there is nothing to find.
    """
    if samples < 2:
        raise UserError(f"{samples} bootstrap samples give no interval; take at least 2")
    if bounds is not None and bounds not in BOUNDS:
        raise UserError(f"the bins {bounds!r} are not one of {', '.join(BOUNDS)}")
    options: dict[str, Any] = {"order": order, "drop_duplicates": drop_duplicates}
    matching = matched(annotations, detections, protocol, tiou, **options)
    split = matching.split
    holds = np.bincount(split.instances.video, minlength=len(split.videos))[split.listed] > 0
    weights, redrawn = draws(holds, samples=samples, seed=seed)
    evaluation, drawn = summarize(matching), bootstrap_map(matching, weights)
    map_n, missed, characteristics = sensitivities(matching, bounds=bounds)
    comparison = None
    if baseline is not None:
        other = matched(annotations, baseline, protocol, matching.tiou, **options)
        judged, other_drawn = summarize(other), bootstrap_map(other, weights)
        comparison = Comparison(
            baseline=judged,
            interval=interval(other_drawn),
            difference=evaluation.map - judged.map,
            average_difference=evaluation.average_map - judged.average_map,
            difference_interval=interval(drawn - other_drawn),
        )
    return Analysis(
        evaluation=evaluation,
        samples=samples,
        redrawn=redrawn,
        interval=interval(drawn),
        errors=error_profile(matching),
        map_n=map_n,
        missed=missed,
        sensitivities=characteristics,
        comparison=comparison,
    )
