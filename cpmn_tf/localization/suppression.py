"""Greedy non-maximum suppression in time, hard or Gaussian, for all groups at once."""

import tensorflow as tf

from cpmn_tf.config import LocalizationConfig


def temporal_iou(one: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """tIoU of [..., 2] against [..., items, 2] segments in seconds (no "+1", as for pixels).

    Returns:
      [..., items]; 0 where the union is empty.
    """
    one = one[..., tf.newaxis, :]
    overlap = tf.minimum(one[..., 1], others[..., 1]) - tf.maximum(one[..., 0], others[..., 0])
    overlap = tf.maximum(overlap, 0.0)
    union = (one[..., 1] - one[..., 0]) + (others[..., 1] - others[..., 0]) - overlap
    return tf.math.divide_no_nan(overlap, union)


def suppress(
    segments: tf.Tensor,
    scores: tf.Tensor,
    group: tf.Tensor,
    groups: tf.Tensor,
    config: LocalizationConfig,
    *,
    sigma: float = 0.3,
    min_score: float = 1e-4,
) -> tf.Tensor:
    """Suppresses within each group, best score first (Section 3.5); ties go to the earlier item.

    Args:
      segments: [items, 2] seconds.
      scores: [items] float32.
      group: [items] int32, ascending; only items of one group compete.
      groups: scalar int32, number of groups.
      config: ``nms=hard`` drops what overlaps a kept one by tIoU > ``nms_threshold``; ``soft``
        multiplies its score by exp(-tIoU²/σ) (Bodla et al., ICCV 2017); ``none`` keeps all.
      sigma: σ of ``soft``.
      min_score: ``soft`` drops what falls below.

    Returns:
      [items] float32 final scores, -inf where suppressed.
    """
    if config.nms == "none":
        return scores
    if config.nms == "soft":
        return _soft(segments, scores, group, groups, sigma, min_score)
    kept = _best_first(scores, *_overlapping(segments, group, config.nms_threshold))
    return tf.where(kept, scores, -float("inf"))


def _overlapping(
    segments: tf.Tensor, group: tf.Tensor, threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pairs of one group with tIoU > ``threshold``, each once: two [pairs] int32 of items.

    Runs that one curve has at one threshold are disjoint, so that an item begins within at most as
    many others of its group as there are curves and thresholds: the pairs looked at grow with the
    number of items, not with its square.
    """
    count = tf.shape(group)[0]
    # Of equal times an end is before a start: the two do not overlap.
    times = tf.concat([segments[:, 1], segments[:, 0]], axis=0)
    order = tf.argsort(times, stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(tf.tile(group, [2]), order), stable=True))
    is_start = order >= count
    by_start = tf.boolean_mask(order, is_start) - count
    # How many items of this and earlier groups begin before each item ends.
    before = tf.boolean_mask(tf.cumsum(tf.cast(is_start, tf.int32)), ~is_start)
    ended = tf.boolean_mask(order, ~is_start)
    limit = tf.scatter_nd(ended[:, tf.newaxis], before, [count])
    later = tf.ragged.range(tf.range(count) + 1, tf.gather(limit, by_start))
    one = tf.gather(by_start, tf.cast(later.value_rowids(), tf.int32))
    other = tf.gather(by_start, later.values)
    iou = temporal_iou(tf.gather(segments, one), tf.gather(segments, other)[:, tf.newaxis])[:, 0]
    return tf.boolean_mask(one, iou > threshold), tf.boolean_mask(other, iou > threshold)


def _best_first(scores: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Which items are kept if the best is, then the best that no kept one forbids, and so on.

    In each round all items that are better than every other that still competes with them are kept
    at once, which keeps the same ones as taking the best one by one.

    Args:
      scores: [items].
      one, other: [pairs] int32 each, items of which at most one is kept.

    Returns:
      [items] bool.
    """
    count = tf.shape(scores)[0]
    ranked = tf.argsort(scores, direction="DESCENDING", stable=True)
    rank = tf.scatter_nd(ranked[:, tf.newaxis], tf.range(count), [count])
    swap = tf.gather(rank, one) > tf.gather(rank, other)
    better, worse = tf.where(swap, other, one), tf.where(swap, one, other)

    def round_(kept: tf.Tensor, better: tf.Tensor, worse: tf.Tensor) -> tuple[tf.Tensor, ...]:
        beaten = tf.scatter_nd(worse[:, tf.newaxis], tf.ones_like(worse), [count]) > 0
        # Of these pairs the better one stays, since none that still competes is better than it.
        stays = ~tf.gather(beaten, better)
        gone = tf.boolean_mask(worse, stays)
        dropped = tf.scatter_nd(gone[:, tf.newaxis], tf.ones_like(gone), [count]) > 0
        open_ = ~tf.gather(dropped, better) & ~tf.gather(dropped, worse)
        return kept & ~dropped, tf.boolean_mask(better, open_), tf.boolean_mask(worse, open_)

    kept, *_ = tf.while_loop(
        lambda kept, better, worse: tf.size(better) > 0,
        round_,
        (tf.fill([count], True), better, worse),
        shape_invariants=(tf.TensorShape([None]),) * 3,
    )
    return kept


def _soft(
    segments: tf.Tensor,
    scores: tf.Tensor,
    group: tf.Tensor,
    groups: tf.Tensor,
    sigma: float,
    min_score: float,
) -> tf.Tensor:
    """Gaussian suppression; arguments as of :func:`suppress`. A round takes one item per group."""
    nothing = tf.constant(-float("inf"))

    def table(values: tf.Tensor, filling: tf.Tensor | float) -> tf.Tensor:
        ragged = tf.RaggedTensor.from_value_rowids(values, group, groups, validate=False)
        return ragged.to_tensor(default_value=filling)

    boxes, waiting = table(segments, 0.0), table(scores, nothing)  # [groups, most, ...]
    slot = tf.range(tf.shape(waiting)[1])[tf.newaxis]

    def round_(waiting: tf.Tensor, final: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        best = tf.argmax(waiting, axis=1, output_type=tf.int32)
        score = tf.reduce_max(waiting, axis=1)
        chosen = (slot == best[:, tf.newaxis]) & (score > nothing)[:, tf.newaxis]
        final = tf.where(chosen, waiting, final)
        overlap = temporal_iou(tf.gather(boxes, best, batch_dims=1), boxes)
        decayed = waiting * tf.exp(-tf.square(overlap) / sigma)
        # -inf times a decay of 0 is NaN, which is not at least min_score either.
        waiting = tf.where(decayed >= min_score, decayed, nothing)
        return tf.where(chosen, nothing, waiting), final

    _, final = tf.while_loop(
        lambda waiting, _: tf.reduce_any(waiting > nothing),
        round_,
        (tf.where(waiting < min_score, nothing, waiting), tf.fill(tf.shape(waiting), nothing)),
    )
    # Back from the table to the list: an item's slot is its place within its group.
    sizes = tf.math.bincount(group, minlength=groups, maxlength=groups)
    offset = tf.cumsum(sizes, exclusive=True)
    place = tf.range(tf.shape(group)[0]) - tf.gather(offset, group)
    return tf.gather_nd(final, tf.stack([group, place], axis=1))
