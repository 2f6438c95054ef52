"""Layers that the modules share: masked pooling, convolution, the linear classifier, draws."""

from collections.abc import Sequence

import keras
import tensorflow as tf


def masked_mean(values: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Mean over the valid units: [batch, units, channels], [batch, units] -> [batch, channels]."""
    weight = tf.cast(valid, values.dtype)[..., tf.newaxis]
    return tf.math.divide_no_nan(
        tf.reduce_sum(values * weight, axis=1), tf.reduce_sum(weight, axis=1)
    )


def pool_top(values: tf.Tensor, valid: tf.Tensor, k: int = 8) -> tf.Tensor:
    """Mean of each channel's highest ⌈T/k⌉ of T valid units (W-TALC, Paul et al., ECCV 2018).

    Args:
      values: [batch, units, channels].
      valid: [batch, units] bool.
      k: of ⌈T/k⌉; at least 1.

    Returns:
      [batch, channels]; 0 without any valid unit.
    """
    values = tf.where(valid[..., tf.newaxis], values, values.dtype.min)
    units = tf.shape(values)[1] if values.shape[1] is None else values.shape[1]
    highest = tf.math.top_k(tf.transpose(values, [0, 2, 1]), (units + k - 1) // k).values
    counts = (tf.reduce_sum(tf.cast(valid, tf.int32), axis=1) + k - 1) // k
    taken = tf.sequence_mask(counts, tf.shape(highest)[2])
    return masked_mean(tf.transpose(highest, [0, 2, 1]), taken)


def pool_attention(values: tf.Tensor, attention: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Σ_t a_t·values_t with a the softmax of ``attention`` over the valid units.

    Args:
      values: [batch, units, channels].
      attention: [batch, units], before the softmax; [batch, units, channels] gives each channel
        its own.
      valid: [batch, units] bool.

    Returns:
      [batch, channels]; 0 without any valid unit.
    """
    if attention.shape.rank == 2:
        attention = attention[..., tf.newaxis]
    return tf.reduce_sum(masked_softmax(attention, valid) * values, axis=1)


def pool_softmax(logits: tf.Tensor, attention: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """log Σ_t a_t·softmax(logits_t): the soft selection of UntrimmedNet (Wang et al., CVPR 2017).

    Args:
      logits: [batch, units, classes], whose softmax is over classes.
      attention, valid: as in :func:`pool_attention`.

    Returns:
      [batch, classes], the logarithm of class probabilities, which are its own softmax.
    """
    probabilities = pool_attention(tf.nn.softmax(logits), attention, valid)
    return tf.math.log(probabilities + 1e-30)  # of a video without any valid unit, too


def masked_softmax(values: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Softmax over the valid units; zeros elsewhere: [batch, units, channels], [batch, units]."""
    inside = valid[..., tf.newaxis]
    values = tf.where(inside, values, values.dtype.min)
    return tf.where(inside, tf.nn.softmax(values, axis=1), 0.0)


def uniform_draws(shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
    """Random numbers in [0, 1) of a batch's rows, or of a part of its rows.

    Args:
      shape: the rows' number first.
      seed: [2] integers; for a part [4], followed by its first row's place and the whole batch's
        rows. What a row draws is the same in the part and in the whole.
    """
    if seed.shape[0] == 2:
        return tf.random.stateless_uniform(shape, seed)
    first, batch = tf.unstack(tf.cast(seed[2:], tf.int32))
    return tf.random.stateless_uniform([batch, *shape[1:]], seed[:2])[first : first + shape[0]]


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """TensorFlow's ``stateless_dropout``, of a batch or of a part of it (:func:`uniform_draws`)."""
    draws = uniform_draws(tf.unstack(tf.shape(values)), seed)
    return tf.where(draws >= rate, values * (1 / (1 - rate)), 0.0)


class Linear(keras.layers.Dense):
    """w and b of a stage. A layer's call is where Keras does not round its weights to bfloat16."""

    def call(self, inputs: tf.Tensor, bias: bool = True) -> tf.Tensor:
        """[..., filters] -> [..., classes], with the bias (Eq. 1) or without (Eq. 2)."""
        return super().call(inputs) if bias else tf.linalg.matmul(inputs, self.kernel)


def _convolve_plainly(values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """[batch, units, channels] with [size, channels, filters]; of any batch, an empty one too."""
    outputs = tf.nn.conv1d(values, kernel, 1, "SAME")
    # Of an empty batch, oneDNN (TensorFlow 2.21, AVX-512) returns the input's shape.
    return tf.reshape(outputs, tf.concat([tf.shape(values)[:2], [kernel.shape[2]]], axis=0))


@tf.custom_gradient
def _convolve(values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolution of stride 1 and odd kernel, zero-padded to the same length.

    Its gradient for the input is a convolution of the same kind, with the kernel mirrored in time
    and its channels swapped; on CPUs that takes half the time of TensorFlow's own gradient.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mirrored = tf.transpose(tf.reverse(kernel, [0]), [0, 2, 1])
        for_kernel = tf.compat.v1.nn.conv2d_backprop_filter(
            values[:, tf.newaxis],
            tf.concat([[1], tf.shape(kernel)], axis=0),
            upstream[:, tf.newaxis],
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        return _convolve_plainly(upstream, mirrored), for_kernel[0]

    return _convolve_plainly(values, kernel), gradient


class TemporalConvolution(keras.layers.Conv1D):
    """``Conv1D`` of stride 1 whose gradient is as fast as its forward pass."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolves [batch, units, channels] with [size, channels, filters]."""
        if self.kernel_size[0] % 2 == 0:  # padded to one side, which mirroring would swap
            return super().convolution_op(inputs, kernel)
        return _convolve(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """As ``Conv1D``, whose addition of a reshaped bias has a slower gradient than BiasAdd."""
        outputs = self.convolution_op(inputs, self.kernel)
        return self.activation(tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias)))
