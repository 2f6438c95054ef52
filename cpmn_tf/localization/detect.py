"""The whole post-processing: from a trace to the detections of each video (Section 3.5)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.localization.proposals import Proposals, propose
from cpmn_tf.localization.scoring import confidence
from cpmn_tf.localization.status import DURATION, marked, positive
from cpmn_tf.localization.suppression import suppress


class Trace(NamedTuple):
    """Everything that leads to the detections of a batch; what pictures and tests look at.

    A row is one selected class of one video. The grid is the video's own units, or the resized
    ones where ``data.resize_units`` is set.

    Attributes:
      class_scores: [batch, classes], by which classes were selected; in [0, 1] unless logits.
      rows: [rows, 2] int32 (video, class).
      p_class: [rows] float32, class score after erasing.
      original: [rows, streams, grid] M(A), raw.
      mining: [rows, streams, grid] maximum over the mining stages; M(A) where there is none.
      cascaded: [rows, streams, grid] M(Cas).
      attention: [rows, streams, grid] H in [0, 1]; ones where attention is off.
      phi: [rows, streams, grid] what proposals are cut from.
      act: [rows, grid] what p_act is the mean or maximum of.
      lengths: [batch] int32 grid units.
      unit_seconds: [batch] float32 seconds per grid unit.
      status: [batch] int32, 0, or what is wrong with the video by
        :mod:`~cpmn_tf.localization.status`; rows of faulty videos say nothing.

    >>> from cpmn_tf import load_model
    >>> features = {"rgb": tf.ones([1, 50, 12]), "flow": tf.ones([1, 50, 8])}
    >>> load_model("model").trace(features, lengths=[50], rates=[10.0]).phi.shape
    TensorShape([2, 2, 50])
    """

    class_scores: tf.Tensor
    rows: tf.Tensor
    p_class: tf.Tensor
    original: tf.Tensor
    mining: tf.Tensor
    cascaded: tf.Tensor
    attention: tf.Tensor
    phi: tf.Tensor
    act: tf.Tensor
    lengths: tf.Tensor
    unit_seconds: tf.Tensor
    status: tf.Tensor


class Detected(NamedTuple):
    """Detections of a batch of videos, best first; rows are padded to the longest.

    Attributes:
      segments: [batch, most, 2] float32 seconds, zeros in padding.
      labels: [batch, most] int32 class indices, -1 in padding.
      scores: [batch, most] float32, zeros in padding.
      counts: [batch] int32 detections.
      silent: [batch] int32, curves (class and stream) whose maximum was not positive, or with
        ``threshold_range=min_max`` those that are constant.
      status: [batch] int32, 0, or why the video has no detections by
        :mod:`~cpmn_tf.localization.status`.

    >>> from cpmn_tf import load_model
    >>> features = {"rgb": tf.ones([1, 50, 12]), "flow": tf.ones([1, 50, 8])}
    >>> found = load_model("model")(features, lengths=[50], rates=[10.0], durations=[5.0])
    >>> found.segments.shape[2]
    2
    """

    segments: tf.Tensor
    labels: tf.Tensor
    scores: tf.Tensor
    counts: tf.Tensor
    silent: tf.Tensor
    status: tf.Tensor


def detections_of(trace: Trace, durations: tf.Tensor, config: LocalizationConfig) -> Detected:
    """Proposals, scores and suppression of a batch of videos (Section 3.5).

    Args:
      trace: ``phi`` is cut, ``act`` and ``p_class`` score, ``rows`` says whose they are.
      durations: [batch] float32 seconds; segments are clipped to it.
      config: thresholds, scoring and suppression.
    """
    return _graph(config)(trace, tf.cast(durations, tf.float32))


@functools.lru_cache(maxsize=64)
def _graph(config: LocalizationConfig) -> Callable[[Trace, tf.Tensor], Detected]:
    """As a graph: op by op, suppression is 50 times slower."""
    detections = functools.partial(_detections, config=config)
    return tf.function(detections, autograph=False, reduce_retracing=True)


def _detections(trace: Trace, durations: tf.Tensor, *, config: LocalizationConfig) -> Detected:
    status = marked(trace.status, DURATION, positive(durations))
    video = trace.rows[:, 0]
    lengths = tf.gather(trace.lengths, video)
    valid = tf.sequence_mask(lengths, tf.shape(trace.phi)[2])
    proposals, silent = propose(trace.phi, valid, config.thresholds, config.threshold_range)
    scores = confidence(trace.act, trace.p_class, proposals, lengths, config)
    segments = _seconds(proposals, video, trace.unit_seconds, durations)
    long_enough = segments[:, 1] - segments[:, 0] >= config.min_seconds
    keep = long_enough & (segments[:, 1] > segments[:, 0])
    keep &= tf.gather(status, tf.gather(video, proposals.row)) == 0
    segments, scores = tf.boolean_mask(segments, keep), tf.boolean_mask(scores, keep)
    row = tf.boolean_mask(proposals.row, keep)
    scores = suppress(segments, scores, row, tf.shape(video)[0], config)
    kept = scores > -float("inf")
    silent = tf.math.unsorted_segment_sum(silent, video, tf.shape(trace.lengths)[0])
    return _per_video(
        tf.boolean_mask(segments, kept),
        tf.boolean_mask(scores, kept),
        tf.gather(trace.rows, tf.boolean_mask(row, kept)),
        tf.where(status == 0, silent, 0),
        status,
    )


def _seconds(
    proposals: Proposals, video: tf.Tensor, unit_seconds: tf.Tensor, durations: tf.Tensor
) -> tf.Tensor:
    """Unit j covers [j, j + 1) · seconds per unit, clipped to the duration: [proposals, 2]."""
    owner = tf.gather(video, proposals.row)
    units = tf.stack([proposals.start, proposals.end], axis=1)
    seconds = tf.cast(units, tf.float32) * tf.gather(unit_seconds, owner)[:, tf.newaxis]
    return tf.minimum(seconds, tf.gather(durations, owner)[:, tf.newaxis])


def _per_video(
    segments: tf.Tensor,
    scores: tf.Tensor,
    pairs: tf.Tensor,
    silent: tf.Tensor,
    status: tf.Tensor,
) -> Detected:
    """Sorts by score within each video and pads; stable sorts keep ties in their order."""
    batch = tf.shape(silent)[0]
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(pairs[:, 0], order), stable=True))
    video = tf.gather(pairs[:, 0], order)

    def table(values: tf.Tensor, filling: float | int) -> tf.Tensor:
        values = tf.gather(values, order)
        ragged = tf.RaggedTensor.from_value_rowids(values, video, batch, validate=False)
        return ragged.to_tensor(default_value=filling)

    return Detected(
        segments=table(segments, 0.0),
        labels=table(pairs[:, 1], -1),
        scores=table(scores, 0.0),
        counts=tf.math.bincount(video, minlength=batch, maxlength=batch),
        silent=silent,
        status=status,
    )
