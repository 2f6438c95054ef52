"""What a picture of one recording shows, as plain arrays, and collecting it from a model."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cpmn_tf.errors import UserError

if TYPE_CHECKING:
    from cpmn_tf.models import CPMN


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StreamCurves:
    """One class in one stream; each [T] float32 over the grid's units.

    Attributes:
      original: M(A), raw; min-max-normalised where ``cascade.combine`` is.
      mining: the same of the mining stages; None where there are none.
      cascaded: M(Cas).
      attention: H in [0, 1]; None where attention is off.
      phi: what proposals are cut from: Φ, or M(Cas) where attention is off.

    >>> phi = np.array([0.1, 0.5, 0.2])
    >>> curves = StreamCurves(original=phi, mining=None, cascaded=phi, attention=None, phi=phi)
    >>> float(curves.cuts([0.5])[0])
    0.25
    """

    original: np.ndarray
    mining: np.ndarray | None
    cascaded: np.ndarray
    attention: np.ndarray | None
    phi: np.ndarray

    def cuts(self, thresholds: Sequence[float], min_max: bool = False) -> list[np.float32]:
        """Where each θ cuts Φ: at θ·max Φ, or by ``min_max`` from its minimum on.

        None where nothing is proposed: max Φ is not positive, or by ``min_max`` Φ is constant.
        """
        low, peak = self.phi.min() if min_max else np.float32(0), self.phi.max()
        return [low + np.float32(theta) * (peak - low) for theta in thresholds if peak > low]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassCurves:
    """One class of the recording.

    Attributes:
      name: the class.
      score: by which classes were selected; in [0, 1] unless it is a logit.
      p_class: class score after erasing; None if the class was not selected (missed).
      labelled: whether it is among the video's labels; None if they are not known.
      truth: [N, 2] start and end in seconds; None if no instance of the video is known.
      curves: by stream; empty if the class was not selected.
      detections: [D, 3] start and end in seconds, p_conf; best first.

    >>> missed = {"p_class": None, "curves": {}, "detections": np.zeros((0, 3))}
    >>> ClassCurves(name="Jump", score=0.1, labelled=True, truth=None, **missed).labelled
    True
    """

    name: str
    score: float
    p_class: float | None
    labelled: bool | None
    truth: np.ndarray | None
    curves: dict[str, StreamCurves]
    detections: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RecordingCurves:
    """What is drawn of one recording.

    Attributes:
      id: the video's id.
      duration: seconds.
      streams: their names.
      edges: [T + 1] seconds; unit j of the grid covers [edges[j], edges[j + 1]).
      thresholds: θ_TCAS, shares of the maximum of Φ, or
      min_max: of the way from its minimum to its maximum.
      classes: those predicted, the most probable first, then those missed.
      combined: what M(Cas) is of the stages' T-CASs, ``maximum`` or ``mean``.
      fused: how Φ comes about, such as ``sigmoid(M)·H``.
      min_seconds: length below which proposals were dropped.
      simulated: whether the features are; the picture then says so.

    >>> recording = RecordingCurves(
    ...     id="a", duration=2.0, streams=(), edges=np.arange(3), thresholds=(0.2,), classes=()
    ... )
    >>> recording.detections.shape
    (0, 3)
    """

    id: str
    duration: float
    streams: tuple[str, ...]
    edges: np.ndarray
    thresholds: tuple[float, ...]
    classes: tuple[ClassCurves, ...]
    min_max: bool = False
    combined: str = "maximum"
    fused: str = "sigmoid(M)·H"
    min_seconds: float = 0.0
    simulated: bool = False

    @property
    def truth(self) -> np.ndarray:
        """[N, 2] start and end in seconds of the instances of all classes."""
        known = [item.truth for item in self.classes if item.truth is not None]
        return np.concatenate(known) if known else np.zeros((0, 2))

    @property
    def detections(self) -> np.ndarray:
        """[D, 3] start and end in seconds, p_conf, of all classes."""
        return np.concatenate([np.zeros((0, 3)), *(item.detections for item in self.classes)])

    @property
    def predicted(self) -> tuple[ClassCurves, ...]:
        """Classes that were selected."""
        return tuple(item for item in self.classes if item.p_class is not None)

    @property
    def missed(self) -> tuple[ClassCurves, ...]:
        """Classes of the truth or the labels that were not selected."""
        return tuple(item for item in self.classes if item.p_class is None)


def collect_curves(
    model: "CPMN",
    batch: dict[str, Any],
    classes: Sequence[str],
    class_scores: np.ndarray | None = None,
    simulated: bool = False,
) -> RecordingCurves:
    """Runs a model over one video and collects what a picture shows.

    Args:
      model: of one or more streams.
      batch: one video of ``cpmn_tf.inference.batches``; without ``segments`` the truth counts
        as unknown, and so it does where a video has labels but no segment at all. Without
        ``labels``, as of ``cpmn_tf.inference.video_batch``, these are unknown, too.
      classes: names of the model's classes.
      class_scores: [classes] external class probabilities of the video, as in ``CPMN.call``.
      simulated: whether the features are.

    Raises:
      UserError: if the video is faulty.
    """
    # Loads TensorFlow, which drawing does not need.
    from cpmn_tf.localization.status import OVERFLOW, explain

    scores = None if class_scores is None else np.asarray(class_scores, np.float32)[np.newaxis]
    trace = model.trace(batch["features"], batch["length"], batch["rate"], scores)
    found = model.detect(trace, batch["duration"])
    name, status = np.asarray(batch["id"])[0].decode(), int(found.status[0])
    if status not in (0, OVERFLOW):  # curves that are no numbers are drawn as such
        raise UserError(explain(name, status))
    trace = type(trace)(*(np.asarray(value) for value in trace))
    known = "labels" in batch
    labelled = np.asarray(batch["labels"])[0] > 0 if known else np.zeros(len(classes), bool)
    truth = _truth_of(batch, labelled)
    marks = np.asarray(found.labels)[0]  # -1 in padding
    detections = np.column_stack([np.asarray(found.segments)[0], np.asarray(found.scores)[0]])

    def class_curves(index: int, row: int | None) -> ClassCurves:
        return ClassCurves(
            name=classes[index],
            score=float(trace.class_scores[0, index]),
            p_class=None if row is None else float(trace.p_class[row]),
            labelled=bool(labelled[index]) if known else None,
            truth=None if truth is None else truth[0][truth[1] == index],
            curves={} if row is None else _curves(model, trace, row),
            detections=detections[marks == index],
        )

    section = model.config.localization
    predicted = trace.rows[:, 1]
    best_first = np.argsort(-trace.p_class, kind="stable")
    there = np.concatenate([np.flatnonzero(labelled), () if truth is None else truth[1]])
    missed = np.setdiff1d(there.astype(int), predicted)
    missed = missed[np.argsort(-trace.class_scores[0, missed], kind="stable")]
    return RecordingCurves(
        id=name,
        duration=float(batch["duration"][0]),
        streams=tuple(model.branches),
        edges=np.arange(int(trace.lengths[0]) + 1) * np.float64(trace.unit_seconds[0]),
        thresholds=tuple(section.thresholds),
        min_max=section.threshold_range == "min_max",
        combined="mean" if model.config.cascade.combine == "mean" else "maximum",
        fused="M·H" if section.fusion == "raw" else "sigmoid(M)·H",
        min_seconds=section.min_seconds,
        simulated=simulated,
        classes=tuple(class_curves(int(predicted[row]), int(row)) for row in best_first)
        + tuple(class_curves(int(index), None) for index in missed),
    )


def _truth_of(batch: dict[str, Any], labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Segments [N, 2] in seconds and their classes [N]; None where they are not known."""
    if "segments" not in batch:
        return None
    labels = np.asarray(batch["segment_labels"])[0]
    if not (labels >= 0).any() and labelled.any():
        return None
    return np.asarray(batch["segments"])[0][labels >= 0], labels[labels >= 0]


def _curves(model: "CPMN", trace: Any, row: int) -> dict[str, StreamCurves]:
    """The curves of one row of a trace, by stream."""
    section = model.config
    mines = section.localization.mining and section.cascade.stages > 1
    scale = _min_max if section.cascade.combine == "normalized" else np.asarray
    return {
        name: StreamCurves(
            original=scale(trace.original[row, index]),
            mining=scale(trace.mining[row, index]) if mines else None,
            cascaded=trace.cascaded[row, index],
            attention=trace.attention[row, index] if section.localization.attention else None,
            phi=trace.phi[row, index],
        )
        for index, name in enumerate(model.branches)
    }


def _min_max(curve: np.ndarray) -> np.ndarray:
    low, high = curve.min(), curve.max()
    return (curve - low) / (high - low) if high > low else np.zeros_like(curve)
