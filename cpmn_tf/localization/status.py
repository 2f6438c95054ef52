"""What keeps a video from being localized: a code per fault, and its text.

A faulty video costs its batch nothing: it gets no detections and a code. Exported graphs hold the
codes, and their `model.json` the texts, so that new faults are appended and none is renumbered.
"""

import tensorflow as tf

STATUS = (
    "fine",
    "its length is not from 1 to the units of its features; give its number of units",
    "its rate is not a positive, finite number; give its units per second",
    "its duration is not a positive, finite number; give its seconds",
    "its features are NaN or infinite within its length; encode it anew",
    "its class scores are NaN or infinite; give finite ones",
    "the model's own numbers of it are NaN or infinite; scale its features as in training, or "
    "train with a lower learning rate",
)
LENGTH, RATE, DURATION, FEATURES, CLASS_SCORES, OVERFLOW = range(1, len(STATUS))


def explain(video: str, status: int) -> str:
    """One line: the video, what is wrong, and what to do."""
    return f"video {video!r}: {STATUS[status]}"


def marked(status: tf.Tensor, code: int, sound: tf.Tensor) -> tf.Tensor:
    """[batch] int32: ``status``, and ``code`` where that was 0 and ``sound`` [batch] is False."""
    return tf.where(sound | (status != 0), status, code)


def positive(values: tf.Tensor) -> tf.Tensor:
    """[batch] bool: above 0 and finite."""
    return tf.math.is_finite(values) & (values > 0)


def finite(values: tf.Tensor) -> tf.Tensor:
    """[batch] bool: all numbers of ``values`` [batch, ...] are finite."""
    return tf.reduce_all(tf.math.is_finite(values), axis=list(range(1, values.shape.rank)))


def sound_inputs(
    features: dict[str, tf.Tensor], lengths: tf.Tensor, rates: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Takes out of the batch what the modules could not bear.

    Args:
      features: [batch, units, G] float by stream.
      lengths: [batch] int32, units.
      rates: [batch] float32, units per second.

    Returns:
      The same: a faulty video has one unit of zeros and a rate of 1, and padding is zeros. And the
      status [batch] int32.
    """
    units = tf.reduce_min([tf.shape(values)[1] for values in features.values()])
    # A video may have no unit at all; without padding to be done, nothing is copied.
    features = {
        name: tf.pad(values, [[0, 0], [0, tf.maximum(1 - tf.shape(values)[1], 0)], [0, 0]])
        for name, values in features.items()
    }
    status = marked(tf.zeros_like(lengths), LENGTH, (lengths >= 1) & (lengths <= units))
    seconds = tf.cast(lengths, tf.float32) / rates  # of a tiny rate, infinite
    status = marked(status, RATE, positive(rates) & tf.math.is_finite(seconds))
    for values in features.values():
        inside = tf.sequence_mask(lengths, tf.shape(values)[1])
        sound = tf.reduce_all(tf.math.is_finite(values), axis=2) | ~inside
        status = marked(status, FEATURES, tf.reduce_all(sound, axis=1))
    fine = status == 0
    lengths, rates = tf.where(fine, lengths, 1), tf.where(fine, rates, 1.0)
    for name, values in features.items():
        there = tf.sequence_mask(lengths, tf.shape(values)[1]) & fine[:, tf.newaxis]
        features[name] = tf.where(there[..., tf.newaxis], values, tf.zeros([], values.dtype))
    return features, lengths, rates, status
