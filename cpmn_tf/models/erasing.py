"""Online adversarial erasing: from a T-CAS to the mask that hides what was found (Algorithm 1).

All masks are hard and sit behind ``stop_gradient``: the second classifier learns from what is
left, it cannot teach the first what to hide.
"""

import tensorflow as tf

from cpmn_tf.models.layers import uniform_draws


def extremes(values: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Minimum and maximum over the units, and whether they differ by more than rounding.

    Equal inputs at different places of a padded batch give sums that differ in their last digits;
    min-max would stretch such noise over the whole of [0, 1].

    Args:
      values: [batch, units, channels] float32.
      valid: [batch, units] bool.

    Returns:
      Three tensors of [batch, 1, channels]; the last is bool.
    """
    inside = valid[..., tf.newaxis]
    low = tf.reduce_min(tf.where(inside, values, values.dtype.max), axis=1, keepdims=True)
    high = tf.reduce_max(tf.where(inside, values, values.dtype.min), axis=1, keepdims=True)
    return low, high, high - low > 1e-5 * tf.maximum(tf.abs(low), tf.abs(high))


@tf.function(autograph=False, reduce_retracing=True)
def normalize_tcas(tcas: tf.Tensor, valid: tf.Tensor, method: str = "min_max") -> tf.Tensor:
    """Brings each class's sequence to [0, 1] over the valid units.

    ``min_max``: (M - min M) / (max M - min M), the form of Eq. 3. ``ratio_to_max``: max(M, 0) /
    max M. For both, a constant sequence has no discriminative region and becomes all zeros.
    ``sigmoid``: sigmoid(M).

    Args:
      tcas: [batch, units, classes] float.
      valid: [batch, units] bool.
      method: one of the three.

    Returns:
      [batch, units, classes], zeros in padding.

    Raises:
      ValueError: if ``method`` is none of them.
    """
    inside = valid[..., tf.newaxis]
    if method == "sigmoid":
        return tf.where(inside, tf.sigmoid(tcas), 0.0)
    if method not in ("min_max", "ratio_to_max"):
        raise ValueError(f"method={method!r} must be min_max, ratio_to_max or sigmoid")
    low, high, varies = extremes(tcas, valid)
    floor = low if method == "min_max" else tf.zeros_like(low)
    scaled = tf.math.divide_no_nan(tcas - floor, tf.maximum(high - floor, 0.0))
    return tf.where(inside & varies, tf.clip_by_value(scaled, 0.0, 1.0), 0.0)


@tf.function(autograph=False, reduce_retracing=True)
def erasing_mask(
    tcas: tf.Tensor,
    valid: tf.Tensor,
    classes: tf.Tensor,
    threshold: float = 0.4,
    normalization: str = "min_max",
) -> tf.Tensor:
    """M(mask) = M(A) > ζ, joined over the given classes (Algorithm 1, line 11).

    Args:
      tcas: [batch, units, classes] float.
      valid: [batch, units] bool; padding is never erased.
      classes: [batch, classes] bool, whose regions are erased.
      threshold: ζ in [0, 1]; the comparison is strict.
      normalization: see :func:`normalize_tcas`.

    Returns:
      [batch, units] bool, True where the features are to be erased; no gradient passes.
    """
    found = normalize_tcas(tf.stop_gradient(tcas), valid, normalization) > threshold
    return tf.reduce_any(found & classes[:, tf.newaxis, :], axis=-1) & valid


@tf.function(autograph=False)  # `reduce_retracing` would forget how long the seed is
def random_mask(
    valid: tf.Tensor, seed: tf.Tensor, segment: int = 16, rate: float = 0.5
) -> tf.Tensor:
    """Hide-and-Seek (Singh & Lee, ICCV 2017): each segment of units is hidden with ``rate``.

    Args:
      valid: [batch, units] bool; padding is never erased.
      seed: as in ``layers.uniform_draws``.
      segment: units per segment.
      rate: probability.

    Returns:
      [batch, units] bool.
    """
    batch, units = tf.shape(valid)[0], tf.shape(valid)[1]
    draws = uniform_draws([batch, (units + segment - 1) // segment], seed)
    return tf.repeat(draws < rate, segment, axis=1)[:, :units] & valid


@tf.function(autograph=False, reduce_retracing=True)
def erase(
    features: tf.Tensor, erased: tf.Tensor, valid: tf.Tensor, value: str = "zero"
) -> tf.Tensor:
    """Replaces the features of erased units (Algorithm 1, line 12).

    Args:
      features: [batch, units, channels].
      erased: [batch, units] bool.
      valid: [batch, units] bool.
      value: ``zero``, or ``mean`` for the video's mean feature.

    Returns:
      [batch, units, channels]; padding stays as it is.

    Raises:
      ValueError: if ``value`` is neither.
    """
    if value not in ("zero", "mean"):
        raise ValueError(f"value={value!r} must be zero or mean")
    filling = tf.zeros([], features.dtype)
    if value == "mean":
        # In float32: float16 holds no sum of long videos, bfloat16 does not count above 256.
        weight = tf.cast(valid, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(tf.cast(features, tf.float32) * weight, axis=1, keepdims=True)
        mean = tf.math.divide_no_nan(total, tf.reduce_sum(weight, axis=1, keepdims=True))
        filling = tf.cast(mean, features.dtype)
    return tf.where((erased & valid)[..., tf.newaxis], tf.stop_gradient(filling), features)
