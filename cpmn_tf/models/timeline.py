"""How a video's units, the cascade's samples and the pyramid's input correspond in time."""

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data import sampling


class Timeline:
    """One stream of a batch of videos, as each module sees it at inference.

    The *grid* is what Φ and proposals are computed on: the video's units, or the resized sequence
    where both modules are resized.

    Args:
      config: sampling and resizing.
      features: [batch, units, channels].
      lengths: [batch] int32, units.

    Attributes:
      lengths: [batch] int32, grid units.
      valid: [batch, grid] bool.
      samples, samples_valid: what the cascade sees, [batch, samples, channels] and its mask.
      pyramid_input, pyramid_lengths: what the pyramid sees.
    """

    def __init__(self, config: Config, features: tf.Tensor, lengths: tf.Tensor):
        grid, self.lengths = tf.cast(features, tf.float32), lengths
        self.pyramid_input, self.pyramid_lengths = grid, lengths
        size, cascade = config.data.resize_units, config.cascade
        if size:
            self.pyramid_lengths = tf.fill(tf.shape(lengths), size)
            self.pyramid_input = sampling.resize(grid, lengths, self.pyramid_lengths, size)
            if config.data.resize_modules == "both":
                grid, self.lengths = self.pyramid_input, self.pyramid_lengths
        self.valid = sampling.valid_units(self.lengths, tf.shape(grid)[1])
        self._positions = None
        if cascade.inference == "every_unit":
            self.samples, self.samples_valid = grid, self.valid
            return
        # Uniform sampling with the spacing that training had (Section 3.5).
        if cascade.sampling == "uniform" and cascade.interval:
            drawn = sampling.interval_positions(self.lengths, cascade.interval)
        else:
            drawn = sampling.uniform_positions(self.lengths, cascade.units)
        self._positions, self.samples_valid = drawn
        self.samples = sampling.gather_units(grid, self._positions, self.samples_valid)

    def from_samples(self, curves: tf.Tensor, video: tf.Tensor) -> tf.Tensor:
        """Curves on the cascade's samples, [rows, samples], to the grid, [rows, grid].

        Linear between samples, constant before the first and after the last; zeros in padding.
        """
        valid = tf.gather(self.valid, video)
        if self._positions is not None:
            counts = tf.reduce_sum(tf.cast(self.samples_valid, tf.int32), axis=1)
            queries = tf.range(tf.shape(valid)[1], dtype=tf.float32)[tf.newaxis]
            curves = sampling.interpolate(
                curves[..., tf.newaxis],
                tf.cast(tf.gather(self._positions, video), tf.float32),
                tf.gather(counts, video),
                tf.repeat(queries, tf.shape(video)[0], axis=0),
            )[..., 0]
        return tf.where(valid, curves, 0.0)

    def from_pyramid(self, curves: tf.Tensor, video: tf.Tensor) -> tf.Tensor:
        """Curves on the pyramid's input, [rows, units], to the grid, [rows, grid]."""
        if self.pyramid_lengths is self.lengths:
            return curves
        lengths = tf.gather(self.pyramid_lengths, video)
        sizes, size = tf.gather(self.lengths, video), tf.shape(self.valid)[1]
        return sampling.resize(curves[..., tf.newaxis], lengths, sizes, size)[..., 0]
