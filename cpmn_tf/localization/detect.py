"""The whole post-processing: curves to detections per video."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.localization import scoring
from cpmn_tf.localization.proposals import Proposals, propose
from cpmn_tf.localization.suppression import suppress


class Detected(NamedTuple):
    """Detections of a batch of videos, best first; rows are padded to the longest.

    Attributes:
      segments: [batch, most, 2] float32 seconds, zeros in padding.
      labels: [batch, most] int32 class indices, -1 in padding.
      scores: [batch, most] float32, zeros in padding.
      counts: [batch] int32 detections.
      silent: [batch] int32, curves (class and stream) whose maximum was not positive.
    """

    segments: tf.Tensor
    labels: tf.Tensor
    scores: tf.Tensor
    counts: tf.Tensor
    silent: tf.Tensor


def localize(
    *,
    curves: tf.Tensor,
    act: tf.Tensor,
    p_class: tf.Tensor,
    rows: tf.Tensor,
    lengths: tf.Tensor,
    unit_seconds: tf.Tensor,
    durations: tf.Tensor,
    config: LocalizationConfig,
) -> Detected:
    """Proposals, scores and suppression of all rows (Section 3.5).

    Args:
      curves: [rows, streams, units], what is cut: Φ (Eq. 4-5), or the raw M without attention.
      act: [rows, units], what p_act averages (Eq. 7), the mean over streams.
      p_class: [rows], class probability of the row's video.
      rows: [rows, 2] int32 (video, class), ascending.
      lengths: [batch] int32, units of each video.
      unit_seconds: [batch] float32, seconds per unit.
      durations: [batch] float32 seconds; segments are clipped to it.
      config: thresholds, scoring and suppression.

    Returns:
      The detections of each video.
    """
    return _graph(config)(curves, act, p_class, rows, lengths, unit_seconds, durations)


@functools.lru_cache(maxsize=64)
def _graph(config: LocalizationConfig) -> Callable[..., Detected]:
    """One graph for tensors of any size: op by op, suppression is 50 times slower."""
    shapes = {
        "curves": [None, None, None],
        "act": [None, None],
        "p_class": [None],
        "rows": [None, 2],
        "lengths": [None],
        "unit_seconds": [None],
        "durations": [None],
    }
    signature = [
        tf.TensorSpec(shape, tf.int32 if name in ("rows", "lengths") else tf.float32, name=name)
        for name, shape in shapes.items()
    ]
    return tf.function(
        functools.partial(_localize, config=config), input_signature=signature, autograph=False
    )


def _localize(
    curves: tf.Tensor,
    act: tf.Tensor,
    p_class: tf.Tensor,
    rows: tf.Tensor,
    lengths: tf.Tensor,
    unit_seconds: tf.Tensor,
    durations: tf.Tensor,
    *,
    config: LocalizationConfig,
) -> Detected:
    video = rows[:, 0]
    row_lengths = tf.gather(lengths, video)
    valid = tf.sequence_mask(row_lengths, tf.shape(curves)[2])
    proposals, silent = propose(curves, valid, config.thresholds)
    scores = scoring.confidence(
        act,
        p_class,
        proposals,
        row_lengths,
        method=config.confidence,
        outer_ratio=config.outer_ratio,
    )
    segments = _seconds(proposals, video, unit_seconds, durations)
    long_enough = segments[:, 1] - segments[:, 0] >= config.min_seconds
    keep = long_enough & (segments[:, 1] > segments[:, 0])
    segments, scores = tf.boolean_mask(segments, keep), tf.boolean_mask(scores, keep)
    row = tf.boolean_mask(proposals.row, keep)
    scores = suppress(
        segments,
        scores,
        row,
        tf.shape(rows)[0],
        method=config.nms,
        threshold=config.nms_threshold,
        sigma=config.soft_nms_sigma,
        min_score=config.min_score,
    )
    kept = scores > -float("inf")
    row = tf.boolean_mask(row, kept)
    pairs = tf.gather(rows, row)
    return _per_video(
        tf.boolean_mask(segments, kept),
        tf.boolean_mask(scores, kept),
        pairs,
        tf.math.unsorted_segment_sum(silent, video, tf.shape(lengths)[0]),
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
    segments: tf.Tensor, scores: tf.Tensor, pairs: tf.Tensor, silent: tf.Tensor
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
    )
