"""Confidence of proposals: p_conf = p_act · p_class (Eq. 7-8)."""

import tensorflow as tf

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.localization.proposals import Proposals


def range_mean(curve: tf.Tensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Mean of ``curve[row, start:end]``, 0 for an empty range.

    Args:
      curve: [rows, units] float.
      row, start, end: [proposals] int32.

    Returns:
      [proposals] in the dtype of ``curve``. Sums run in float64: a difference of float32 running
      sums would lose a short proposal at the end of a long video.
    """
    running = tf.cumsum(tf.cast(curve, tf.float64), axis=1)
    running = tf.pad(running, [[0, 0], [1, 0]])
    low = tf.gather_nd(running, tf.stack([row, start], axis=1))
    high = tf.gather_nd(running, tf.stack([row, end], axis=1))
    return tf.cast(tf.math.divide_no_nan(high - low, tf.cast(end - start, tf.float64)), curve.dtype)


def range_max(curve: tf.Tensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Maximum of ``curve[row, start:end]``, which is not empty; as :func:`range_mean`."""
    units = tf.ragged.range(start, end)
    owner = tf.cast(units.value_rowids(), tf.int32)
    places = tf.stack([tf.gather(row, owner), units.values], axis=1)
    return tf.math.segment_max(tf.gather_nd(curve, places), owner)


def outer_mean(
    curve: tf.Tensor, proposals: Proposals, lengths: tf.Tensor, ratio: float
) -> tf.Tensor:
    """Mean over the flanks just outside each proposal, cut at the video's ends.

    Args:
      curve: [rows, units].
      proposals: [proposals] each.
      lengths: [rows] int32, valid units.
      ratio: length of each flank as a share of the proposal's, at least one unit.

    Returns:
      [proposals]; 0 where the proposal fills the video.
    """
    row, start, end = proposals
    size = tf.cast(end - start, tf.float32)
    flank = tf.maximum(tf.cast(tf.math.ceil(size * ratio), tf.int32), 1)
    low = tf.maximum(start - flank, 0)
    high = tf.minimum(end + flank, tf.gather(lengths, row))
    # Each flank by itself: subtracting a long inside from the whole would leave rounding errors.
    before, after = tf.cast(start - low, curve.dtype), tf.cast(high - end, curve.dtype)
    total = range_mean(curve, row, low, start) * before + range_mean(curve, row, end, high) * after
    return tf.math.divide_no_nan(total, before + after)


def confidence(
    act: tf.Tensor,
    p_class: tf.Tensor,
    proposals: Proposals,
    lengths: tf.Tensor,
    config: LocalizationConfig,
) -> tf.Tensor:
    """p_conf = p_act · p_class (Eq. 8), p_act being a proposal's mean (Eq. 7).

    With a ``class_weight`` w above 0 it is p_act + w · p_class instead.

    Where p_act is negative (``p_act=raw``), the product turns the order of p_class round: of two
    equal proposals, the one of the more probable class has the lower score.

    Args:
      act: [rows, units], the mean over streams of what Eq. 7 averages.
      p_class: [rows], class probability of the video.
      proposals: [proposals] each.
      lengths: [rows] int32, valid units.
      config: ``confidence=product`` is Eq. 8; ``outer_inner`` first subtracts the flanks' mean from
        p_act, by ``outer_ratio`` (:func:`outer_mean`). ``p_act_statistic=max`` takes a proposal's
        maximum.

    Returns:
      [proposals] float32.
    """
    statistic = range_max if config.p_act_statistic == "max" else range_mean
    p_act = statistic(act, *proposals)
    if config.confidence == "outer_inner":
        p_act -= outer_mean(act, proposals, lengths, config.outer_ratio)
    p_class = tf.gather(p_class, proposals.row)
    return p_act + config.class_weight * p_class if config.class_weight else p_act * p_class
