"""Proposals: every run of units whose Φ passes a share of its maximum (Section 3.5)."""

from typing import NamedTuple

import tensorflow as tf


class Proposals(NamedTuple):
    """Runs of units; all [proposals] int32, ordered by row.

    Attributes:
      row: the row each belongs to.
      start: first unit.
      end: one past the last unit.

    >>> found, _ = propose(tf.constant([[[0.0, 1.0, 1.0]]]), tf.fill([1, 3], True))
    >>> found.start.numpy(), found.end.numpy()
    (array([1], dtype=int32), array([3], dtype=int32))
    """

    row: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def propose(
    curves: tf.Tensor,
    valid: tf.Tensor,
    thresholds: tuple[float, ...] = (0.2,),
    threshold_range: str = "max",
) -> tuple[Proposals, tf.Tensor]:
    """Cuts every curve at each threshold (Section 3.5); all streams' runs form one list.

    A unit belongs to a run where Φ > θ·max_t Φ. A curve whose maximum is not positive proposes
    nothing: no unit is above a share of it, θ in [0, 1].

    ``min_max`` cuts at min Φ + θ·(max Φ - min Φ) instead; a constant curve then proposes nothing.

    Args:
      curves: [rows, streams, units] float.
      valid: [rows, units] bool.
      thresholds: θ_TCAS, shares.
      threshold_range: ``max`` or ``min_max``, what they are shares of.

    Returns:
      The proposals, and the number of curves of each row that were silent, [rows] int32.
    """
    inside = valid[:, tf.newaxis, :]
    peak = tf.reduce_max(tf.where(inside, curves, curves.dtype.min), axis=-1, keepdims=True)
    floor = tf.zeros_like(peak)
    if threshold_range == "min_max":
        floor = tf.reduce_min(tf.where(inside, curves, curves.dtype.max), axis=-1, keepdims=True)
    shares = tf.constant(thresholds, curves.dtype)[:, tf.newaxis]
    cuts = floor[:, :, tf.newaxis] + shares * (peak - floor)[:, :, tf.newaxis]
    # [rows, streams, thresholds, units]
    active = (curves[:, :, tf.newaxis] > cuts) & inside[:, :, tf.newaxis]
    edge = tf.zeros_like(active[..., :1])
    before = tf.concat([edge, active[..., :-1]], axis=-1)
    after = tf.concat([active[..., 1:], edge], axis=-1)
    # tf.where goes row by row, so the n-th start and the n-th end belong to the same run.
    starts = tf.cast(tf.where(active & ~before), tf.int32)
    ends = tf.cast(tf.where(active & ~after), tf.int32)
    silent = tf.reduce_sum(tf.cast((peak <= floor)[..., 0], tf.int32), axis=-1)
    return Proposals(starts[:, 0], starts[:, 3], ends[:, 3] + 1), silent
