"""How what the modules say becomes what is cut, scored and kept (Sections 3.3 and 3.5).

Plain functions of curves, ``[rows, streams, grid]`` or any other shape with the units last; a row
is one selected class of one video.
"""

from collections.abc import Sequence

import tensorflow as tf

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.models.erasing import normalize_tcas


def class_scores(
    logits: tf.Tensor, activation: str = "sigmoid", rows: tf.Tensor | None = None
) -> tf.Tensor:
    """Class probabilities, or the logits as they are.

    Args:
      logits: [batch, classes].
      activation: ``sigmoid``, ``softmax`` or ``both``, as ``training.loss``, or ``none``; ``both``
        is the sigmoid.
      rows: [rows, 2] int32 (video, class), those wanted.

    Returns:
      [batch, classes], or [rows].
    """
    scores = tf.nn.softmax(logits) if activation == "softmax" else logits
    scores = scores if rows is None else tf.gather_nd(scores, rows)
    return tf.sigmoid(scores) if activation in ("sigmoid", "both") else scores


def cascaded_tcas(
    curves: Sequence[tf.Tensor], valid: tf.Tensor, method: str = "raw", gate: float = 0.0
) -> tf.Tensor:
    """M(Cas) = max{M(A), M(B), ...} (Section 3.3; Algorithm 1, line 5).

    Args:
      curves: [rows, units] T-CAS of each stage.
      valid: [rows, units] bool.
      method: ``raw``, as printed; ``normalized``: each stage's curve by min-max before; ``mean``:
        the stages' mean instead of their maximum.
      gate: later stages count only where sigmoid(M) is above it; 0 lets them count everywhere.

    Returns:
      [rows, units].
    """
    passes = [tf.sigmoid(curve) > gate for curve in curves[1:]]
    if method == "normalized":
        curves = [
            normalize_tcas(curve[..., tf.newaxis], valid, "min_max")[..., 0] for curve in curves
        ]
    if gate:
        first, *later = curves
        gated = zip(passes, later, strict=True)
        curves = [first, *(tf.where(passed, curve, first) for passed, curve in gated)]
    join = tf.reduce_mean if method == "mean" else tf.reduce_max
    return join(tf.stack(curves), axis=0)


def attention_based_tcas(cascaded: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """Φ = sigmoid(M(Cas)) · H, of the stream RGB (Eq. 4), Flow (Eq. 5) or any other."""
    return tf.sigmoid(cascaded) * attention


def curve_to_cut(
    cascaded: tf.Tensor, attention: tf.Tensor, config: LocalizationConfig
) -> tf.Tensor:
    """What proposals are cut from: Φ (Eq. 4-5), or M(Cas) · H by ``fusion=raw``.

    Without attention it is always the raw M(Cas), as in CAM: a sigmoid is above 20 % of its maximum
    nearly everywhere.
    """
    if config.fusion == "raw" or not config.attention:
        return cascaded * attention
    return attention_based_tcas(cascaded, attention)


def curve_to_average(
    cascaded: tf.Tensor, attention: tf.Tensor, config: LocalizationConfig
) -> tf.Tensor:
    """The mean over streams that Eq. 7 averages over a proposal's units.

    ``p_act=raw`` takes M(Cas) · H as Eq. 7 prints it, although its text speaks of Φ: that has no
    bounds, and where it is negative Eq. 8 turns the order of p_class round.
    ``p_act=phi`` takes Φ, in [0, 1].

    Args:
      cascaded: [rows, streams, grid] M(Cas).
      attention: [rows, streams, grid] H, ones without attention.
      config: ``p_act``.

    Returns:
      [rows, grid].
    """
    raw = config.p_act == "raw"
    curves = cascaded * attention if raw else attention_based_tcas(cascaded, attention)
    return tf.reduce_mean(curves, axis=1)


def select_classes(scores: tf.Tensor, config: LocalizationConfig) -> tf.Tensor:
    """Which classes of each video are localized (Section 3.5).

    Args:
      scores: [batch, classes].
      config: ``top_k`` takes that many; ``score`` takes every class whose score is at least
        ``class_threshold`` of the video's best; ``absolute`` every class whose score is above
        ``class_threshold``, and the best.

    Returns:
      [batch, classes] bool, at least one True per video; ties go to the lower index.
    """
    if config.selection == "score":
        return scores >= config.class_threshold * tf.reduce_max(scores, axis=1, keepdims=True)
    if config.selection == "absolute":
        best = scores == tf.reduce_max(scores, axis=1, keepdims=True)
        return best | (scores > config.class_threshold)
    classes = scores.shape[-1]
    chosen = tf.math.top_k(scores, k=min(config.top_k, classes)).indices
    return tf.reduce_any(chosen[..., tf.newaxis] == tf.range(classes), axis=1)
