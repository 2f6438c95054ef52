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
        if config.nms == "hard":
            waiting = tf.where(overlap > config.nms_threshold, nothing, waiting)
        else:
            decayed = waiting * tf.exp(-tf.square(overlap) / sigma)
            # -inf times a decay of 0 is NaN, which is not at least min_score either.
            waiting = tf.where(decayed >= min_score, decayed, nothing)
        return tf.where(chosen, nothing, waiting), final

    if config.nms == "soft":
        waiting = tf.where(waiting < min_score, nothing, waiting)
    _, final = tf.while_loop(
        lambda waiting, _: tf.reduce_any(waiting > nothing),
        round_,
        (waiting, tf.fill(tf.shape(waiting), nothing)),
    )
    # Back from the table to the list: an item's slot is its place within its group.
    sizes = tf.math.bincount(group, minlength=groups, maxlength=groups)
    offset = tf.cumsum(sizes, exclusive=True)
    place = tf.range(tf.shape(group)[0]) - tf.gather(offset, group)
    return tf.gather_nd(final, tf.stack([group, place], axis=1))
