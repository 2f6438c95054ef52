"""What training minimises: cross-entropy and L2 (Eq. 6)."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.models import CascadedClassifier, PyramidAttention


class Loss(NamedTuple):
    """The parts of the loss, scalars; the total is their sum.

    >>> float(sum(Loss(tf.constant(2.0), tf.constant(0.5))))
    2.5
    """

    classification: tf.Tensor
    regularization: tf.Tensor


def softmax_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-ȳ^c·log(softmax(s)^c) with ȳ the labels divided by their number (W-TALC's loss).

    Args:
      logits: [rows, classes].
      labels: [rows, classes] in {0, 1}.

    Returns:
      [rows, classes]; zeros in a row without labels.
    """
    wanted = tf.math.divide_no_nan(labels, tf.reduce_sum(labels, axis=1, keepdims=True))
    return -wanted * tf.nn.log_softmax(logits)


def cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    reduction: str,
    weights: tf.Tensor | None = None,
    loss: str = "sigmoid",
) -> tf.Tensor:
    """Cross-entropy, the mean over the batch: the first term of Eq. 6.

    Eq. 6 prints only ψ·log(y), which is least where every class is predicted; the multi-label
    cross-entropy that its text names is -ψ·log(y) - (1 - ψ)·log(1 - y), which is computed here.

    It also prints a sum over videos, and leaves open what becomes of the classes. Of a batch of 16,
    the mean is a 16th of the sum, so that λ weighs 16 times as much against it: who reads Eq. 6 as
    a sum over the batch divides λ by 16. (Adam takes no notice of a common factor.)

    Args:
      logits: [rows, classes].
      labels: [rows, classes] in {0, 1}.
      reduction: ``sum`` or ``mean`` over classes.
      weights: [rows], summing to 1; by default every row counts the same.
      loss: ``sigmoid``, or ``softmax`` for :func:`softmax_cross_entropy`.

    Returns:
      A scalar.

    Raises:
      ValueError: if ``reduction`` or ``loss`` is neither.
    """
    if loss not in ("sigmoid", "softmax"):
        raise ValueError(f"loss={loss!r} must be sigmoid or softmax")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r} must be sum or mean")
    if loss == "softmax":
        losses = softmax_cross_entropy(logits, labels)
    else:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    reduce = tf.reduce_sum if reduction == "sum" else tf.reduce_mean
    per_row = reduce(losses, axis=1)
    return tf.reduce_mean(per_row) if weights is None else tf.reduce_sum(per_row * weights)


def l2_penalty(variables: Sequence[tf.Variable], scale: float) -> tf.Tensor:
    """λ·Σ½w² over kernels and biases: TensorFlow 1's ``l2_loss``, Keras' ``L2(λ/2)``."""
    if not scale or not variables:
        return tf.zeros([])
    return scale * tf.add_n([tf.nn.l2_loss(variable) for variable in variables])


def cascade_loss(
    model: CascadedClassifier, batch: dict[str, tf.Tensor], config: Config, seed: tf.Tensor
) -> Loss:
    """Eq. 6, L = cross-entropy + λ·L2, summed over the stages.

    Masks pass no gradient, so each stage learns by itself.

    Args:
      model: the cascade.
      batch: ``features`` [batch, samples, G], ``valid`` and ``labels`` [batch, C].
      config: the kind of loss, how classes are reduced and erased, λ.
      seed: [2] integers, for random erasing and dropout.
    """
    features = tf.cast(batch["features"], model.compute_dtype)
    labels, per_class = batch["labels"], config.cascade.erased_classes == "per_class"
    stages = model(features, batch["valid"], labels, per_class=per_class, seed=seed, training=True)
    section = config.training
    entropy = functools.partial(cross_entropy, reduction=section.class_reduction, loss=section.loss)
    losses = [entropy(stages[0].logits, labels)]
    for stage in stages[1:]:
        weights = None
        if per_class:  # a video's copies share its weight
            copies = tf.reduce_sum(labels, axis=1) * tf.cast(tf.shape(labels)[0], tf.float32)
            weights = tf.gather(tf.math.divide_no_nan(1.0, copies), stage.video)
        losses.append(entropy(stage.logits, tf.gather(labels, stage.video), weights=weights))
    mining = [variable for stage in model.stages[1:] for variable in stage.trainable_variables]
    beyond = section.cascade_l2 * (section.mining_l2 - 1)
    regularization = l2_penalty(model.trainable_variables, section.cascade_l2)
    return Loss(tf.add_n(losses), regularization + l2_penalty(mining, beyond))


def pyramid_loss(
    model: PyramidAttention, batch: dict[str, tf.Tensor], config: Config, seed: tf.Tensor
) -> Loss:
    """The loss of a batch of windows; arguments as in :func:`cascade_loss`."""
    del seed  # nothing in the pyramid is random
    features = tf.cast(batch["features"], model.compute_dtype)
    logits, _ = model(features, batch["valid"])
    section = config.training
    return Loss(
        cross_entropy(logits, batch["labels"], section.class_reduction, loss=section.loss),
        l2_penalty(model.trainable_variables, section.pyramid_l2),
    )
