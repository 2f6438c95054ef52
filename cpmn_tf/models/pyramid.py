"""The pyramid attention module (PAM, Section 3.3 and Fig. 3)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from cpmn_tf.config import PyramidConfig
from cpmn_tf.data import sampling
from cpmn_tf.models.erasing import extremes
from cpmn_tf.models.layers import masked_mean

CHUNK_UNITS = 4096  # of whole videos that are in windows at a time


@keras.saving.register_keras_serializable(package="cpmn_tf")
class PyramidAttention(keras.Model):
    """Classifies a window at several temporal resolutions; its label maps become the attention.

    The pyramid attention module (Section 3.3, Fig. 3). Level l sees the input max-pooled l - 1
    times by 2, T_l = T / 2^(l-1). Per level: convolution of kernel 1 with ReLU, lateral connection,
    convolution of kernel 1 to C label maps K_l, global average pooling. The window's logits are the
    mean over the levels.

    Lateral connections are ``top_down`` (each coarser level, repeated twice, is added to the next
    finer one, as in FPN), ``bottom_up`` (each finer level, max-pooled, is added to the next coarser
    one) or ``none``.

    Args:
      num_classes: C.
      config: levels, their filters and lateral connections, windows; or its fields.

    >>> pyramid = PyramidAttention(num_classes=3, config=PyramidConfig(filters=16))
    >>> logits, heat = pyramid(tf.ones([2, 64, 8]), tf.fill([2, 64], True))
    >>> heat.shape
    TensorShape([2, 64, 3])
    """

    def __init__(self, *, num_classes: int, config: PyramidConfig | dict, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.config = config if isinstance(config, PyramidConfig) else PyramidConfig(**config)
        filters, levels = self.config.filters, range(self.config.levels)
        self.encoders = [
            keras.layers.Dense(filters, activation="relu", dtype=self.dtype_policy) for _ in levels
        ]
        self.predictors = [keras.layers.Dense(num_classes, dtype="float32") for _ in levels]

    def build(self, features_shape: Any, valid_shape: Any = None) -> None:
        """Creates the weights for [windows, units, channels] features."""
        for encoder, predictor in zip(self.encoders, self.predictors, strict=True):
            # A convolution of kernel 1 is a matrix product per unit, which Dense does directly.
            encoder.build(tuple(features_shape))
            predictor.build((None, None, self.config.filters))
        self.built = True

    def label_maps(
        self, features: tf.Tensor, valid: tf.Tensor
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """K_l and its valid units, finest level first.

        Args:
          features: [windows, units, channels]; units a multiple of 2^(levels-1).
          valid: [windows, units] bool.

        Returns:
          Per level [windows, T_l, classes] float32 and [windows, T_l] bool.
        """
        inputs = [(tf.cast(features, self.compute_dtype), valid)]
        for _ in range(self.config.levels - 1):
            inputs.append(_pool(*inputs[-1]))
        levels, masks = zip(*inputs, strict=True)
        encoded = [encoder(level) for encoder, level in zip(self.encoders, levels, strict=True)]
        if self.config.lateral == "top_down":
            for level in reversed(range(self.config.levels - 1)):
                encoded[level] += tf.repeat(encoded[level + 1], 2, axis=1)
        elif self.config.lateral == "bottom_up":
            for level in range(1, self.config.levels):
                encoded[level] += _pool(encoded[level - 1], masks[level - 1])[0]
        outputs = zip(self.predictors, encoded, masks, strict=True)
        return [(predictor(tf.cast(level, tf.float32)), mask) for predictor, level, mask in outputs]

    def call(self, features: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Classifies windows.

        Args:
          features: [windows, units, channels].
          valid: [windows, units] bool; padding enters no maximum and no mean.

        Returns:
          logits [windows, classes], the mean of the levels' pooled logits, and the label maps of
          all levels, repeated to full length and added: [windows, units, classes], zeros in
          padding. Both float32.
        """
        units = tf.shape(features)[1]
        extra = -units % 2 ** (self.config.levels - 1)
        features = tf.pad(features, [[0, 0], [0, extra], [0, 0]])
        padded = tf.pad(valid, [[0, 0], [0, extra]])
        levels = self.label_maps(features, padded)
        logits = tf.add_n([masked_mean(maps, mask) for maps, mask in levels]) / self.config.levels
        repeated = [tf.repeat(maps, 2**level, axis=1) for level, (maps, _) in enumerate(levels)]
        heat = tf.add_n(repeated)[:, :units]
        return logits, tf.where(valid[..., tf.newaxis], heat, 0.0)

    def call_on_video(
        self,
        features: tf.Tensor,
        lengths: tf.Tensor,
        class_scores: Callable[[tf.Tensor], tf.Tensor] = tf.sigmoid,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Slides windows of T_w units over whole videos and joins what they say.

        Where ``stride`` is less than ``window``, overlaps are averaged.

        Args:
          features: [batch, units, channels].
          lengths: [batch] int32, units.
          class_scores: what makes a window's class scores of its logits.

        Returns:
          class scores [batch, classes], the mean over windows weighted by their valid units, and
          heat [batch, units, classes] before Eq. 3, zeros in padding.
        """
        shape, window = tf.shape(features), self.config.window
        batch, units = shape[0], shape[1]
        starts, used = sampling.window_starts(lengths, window, self.config.stride, units)
        count = tf.shape(starts)[1]
        positions = starts[..., tf.newaxis] + tf.range(window)
        inside = used[..., tf.newaxis] & (positions < lengths[:, tf.newaxis, tf.newaxis])
        positions = tf.reshape(tf.where(inside, positions, 0), [batch, count * window])
        target = tf.range(batch)[:, tf.newaxis] * units + positions  # among all videos' units
        logits, maps = self._in_chunks(
            tf.reshape(features, [batch * units, features.shape[-1]]),
            tf.reshape(target, [batch * count, window]),
            tf.reshape(inside, [batch * count, window]),
        )

        weight = tf.reduce_sum(tf.cast(inside, tf.float32), axis=-1)[..., tf.newaxis]
        scores = tf.reshape(class_scores(logits), [batch, count, self.num_classes])
        scores = tf.math.divide_no_nan(
            tf.reduce_sum(scores * weight, axis=1), tf.reduce_sum(weight, axis=1)
        )
        # Padding goes to a segment of its own, after all videos, and is cut off.
        flat_inside = tf.reshape(inside, [batch, count * window])
        target = tf.reshape(tf.where(flat_inside, target, batch * units), [-1])
        maps = tf.reshape(maps, [-1, self.num_classes])
        heat = tf.math.unsorted_segment_mean(maps, target, batch * units + 1)[:-1]
        return scores, tf.reshape(heat, [batch, units, self.num_classes])

    def _in_chunks(
        self, features: tf.Tensor, places: tf.Tensor, inside: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """:meth:`call` on windows of ``features``, about ``CHUNK_UNITS`` units of them at a time.

        Args:
          features: [units, channels] of all videos.
          places: [windows, window] int32, which of them each window sees.
          inside: [windows, window] bool.

        Returns:
          logits [windows, classes] and label maps [windows, window, classes].
        """
        window, windows = self.config.window, tf.shape(places)[0]
        most = max(CHUNK_UNITS // window, 1)
        chunks = tf.maximum((windows + most - 1) // most, 1)  # also of no videos
        size = (windows + chunks - 1) // chunks  # where one chunk does, nothing is added to it
        extra = [[0, chunks * size - windows], [0, 0]]
        places, inside = tf.pad(places, extra), tf.pad(inside, extra)

        def one(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            part = slice(index * size, (index + 1) * size)
            seen = inside[part]
            picked = tf.gather(features, places[part])
            return self(tf.where(seen[..., tf.newaxis], picked, tf.zeros([], picked.dtype)), seen)

        specs = [None, self.num_classes], [None, window, self.num_classes]
        signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in specs)
        logits, maps = tf.map_fn(
            one, tf.range(chunks), fn_output_signature=signature, parallel_iterations=1
        )
        logits = tf.reshape(logits, [-1, self.num_classes])[:windows]
        return logits, tf.reshape(maps, [-1, window, self.num_classes])[:windows]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"num_classes": self.num_classes, "config": dataclasses.asdict(self.config)}
        return {**super().get_config(), **own}


def _pool(values: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Max-pooling by 2 over valid units: a pooled unit is valid if either of its two is."""
    shape = tf.shape(values)
    values = tf.where(valid[..., tf.newaxis], values, values.dtype.min)
    values = tf.reshape(values, [shape[0], shape[1] // 2, 2, values.shape[-1]])
    valid = tf.reduce_any(tf.reshape(valid, [shape[0], shape[1] // 2, 2]), axis=-1)
    pooled = tf.reduce_max(values, axis=2)
    return tf.where(valid[..., tf.newaxis], pooled, tf.zeros([], pooled.dtype)), valid


def attention_map(heat: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Eq. 3 over the whole video: H = (H - min H) / (max H - min H).

    Args:
      heat: [rows, units].
      valid: [rows, units] bool.

    Returns:
      [rows, units] in [0, 1]; a constant map becomes all ones (no attention), so that nothing is
      lost; zeros in padding.
    """
    heat = heat[..., tf.newaxis]
    low, high, varies = extremes(heat, valid)
    scaled = tf.where(varies, tf.math.divide_no_nan(heat - low, high - low), 1.0)[..., 0]
    return tf.where(valid, scaled, 0.0)
