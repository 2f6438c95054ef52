"""What training minimises: cross-entropy and L2 (Eq. 6)."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.models.layers import masked_softmax


class Loss(NamedTuple):
    """The parts of the loss, scalars; the total is their sum.

    >>> [float(part) for part in Loss(tf.constant(2.0), tf.constant(0.5)).parts()]
    [2.0, 0.5]
    """

    classification: tf.Tensor
    regularization: tf.Tensor
    coactivity: tf.Tensor | None = None

    def parts(self) -> list[tf.Tensor]:
        """Those there are."""
        return [part for part in self if part is not None]


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
      loss: ``sigmoid``, ``softmax`` for :func:`softmax_cross_entropy`, or ``both`` for their mean.

    Returns:
      A scalar.

    Raises:
      ValueError: if ``reduction`` or ``loss`` is neither.
    """
    if loss not in ("sigmoid", "softmax", "both"):
        raise ValueError(f"loss={loss!r} must be sigmoid, softmax or both")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r} must be sum or mean")
    kinds = []
    if loss != "softmax":
        kinds.append(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
    if loss != "sigmoid":
        kinds.append(softmax_cross_entropy(logits, labels))
    losses = tf.add_n(kinds) / len(kinds)
    reduce = tf.reduce_sum if reduction == "sum" else tf.reduce_mean
    per_row = reduce(losses, axis=1)
    return tf.reduce_mean(per_row) if weights is None else tf.reduce_sum(per_row * weights)


def coactivity_terms(
    tcas: tf.Tensor,
    encoded: tf.Tensor,
    valid: tf.Tensor,
    labels: tf.Tensor,
    groups: tf.Tensor,
    margin: float = 0.5,
) -> tuple[tf.Tensor, tf.Tensor]:
    """W-TALC's co-activity similarity loss (Paul et al., ECCV 2018) of each group and class.

    A class's attention is the softmax of its T-CAS over time, a_t. Its high-attention feature is
    H = Σ_t a_t·Z_t, its low-attention feature L = Σ_t (1 - a_t)·Z_t / (T - 1). With d the cosine
    distance, a pair of videos (m, n) that share the class has the loss
    ½·(max{0, d(H_m, H_n) - d(H_m, L_n) + δ} + max{0, d(H_m, H_n) - d(L_m, H_n) + δ}).

    Args:
      tcas: M, [rows, units, classes].
      encoded: Z, [rows, units, filters].
      valid: [rows, units] bool.
      labels: [rows, classes] in {0, 1}.
      groups: [rows] integers; pairs are within a group.
      margin: δ.

    Returns:
      The mean over the pairs of each row's group and whether there is one, both [rows, classes].
    """
    attention = masked_softmax(tcas, valid)
    high = tf.linalg.matmul(attention, encoded, transpose_a=True)  # [rows, classes, filters]
    weight = tf.cast(valid, encoded.dtype)[:, tf.newaxis]
    low = tf.math.divide_no_nan(
        tf.linalg.matmul(weight, encoded) - high, tf.reduce_sum(weight, axis=2, keepdims=True) - 1
    )
    high, low = (
        tf.transpose(tf.math.l2_normalize(values, axis=-1), [1, 0, 2]) for values in (high, low)
    )
    alike = tf.linalg.matmul(high, high, transpose_b=True)  # [classes, rows, rows]
    apart = tf.linalg.matmul(high, low, transpose_b=True)
    # d(H_m, H_n) - d(H_m, L_n); the other half of a pair's loss is that of (n, m).
    losses = tf.nn.relu(apart - alike + margin)
    shows = tf.transpose(labels) > 0
    same = (groups[:, tf.newaxis] == groups) & ~tf.eye(tf.shape(groups)[0], dtype=tf.bool)
    pairs = tf.cast(shows[:, :, tf.newaxis] & shows[:, tf.newaxis] & same, losses.dtype)
    of_group = tf.cast(groups[:, tf.newaxis] == groups, losses.dtype)
    sums, counts = (
        tf.linalg.matmul(of_group, tf.transpose(tf.reduce_sum(values, axis=2)))
        for values in (losses * pairs, pairs)
    )
    return tf.math.divide_no_nan(sums, counts), counts > 0


def coactivity_loss(
    tcas: tf.Tensor,
    encoded: tf.Tensor,
    valid: tf.Tensor,
    labels: tf.Tensor,
    groups: tf.Tensor,
    weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """The mean over groups of the mean over their classes with a pair; a group without one has 0.

    W-TALC prints the sum over classes divided by C, its code takes the mean over a batch's pairs
    and their classes: the mean here, unlike the first, does not sink with the number of classes.
    With groups of equal size it is the mean of what each part of the groups gives.

    Args:
      tcas, encoded, valid, labels, groups: as in :func:`coactivity_terms`.
      weights: [rows], of each row's group; by default every group counts the same.

    Returns:
      A scalar.
    """
    terms, shared = coactivity_terms(tcas, encoded, valid, labels, groups)
    count = tf.reduce_sum(tf.cast(shared, terms.dtype), axis=1)
    of_group = tf.math.divide_no_nan(tf.reduce_sum(terms, axis=1), count)
    members = tf.reduce_sum(tf.cast(groups[:, tf.newaxis] == groups, terms.dtype), axis=1)
    if weights is not None:
        return tf.reduce_sum(of_group * weights / members)
    return tf.reduce_sum(of_group / members) / tf.reduce_sum(1 / members)


def l2_penalty(variables: Sequence[tf.Variable], scale: float) -> tf.Tensor:
    """λ·Σ½w² over kernels and biases: TensorFlow 1's ``l2_loss``, Keras' ``L2(λ/2)``."""
    if not scale or not variables:
        return tf.zeros([])
    return scale * tf.add_n([tf.nn.l2_loss(variable) for variable in variables])


def cascade_loss(
    model: CascadedClassifier, batch: dict[str, tf.Tensor], config: Config, seed: tf.Tensor
) -> Loss:
    """Eq. 6, L = cross-entropy + λ·L2, summed over the stages; and the co-activity loss, if any.

    Masks pass no gradient, so each stage learns by itself.

    Args:
      model: the cascade.
      batch: ``features`` [batch, samples, G], ``valid`` and ``labels`` [batch, C]; ``rows`` [batch]
        where it is a part of one (:class:`~cpmn_tf.data.pipeline.Part`): the parts' losses then add
        up to the whole batch's.
      config: the kind of loss, how classes are reduced and erased, λ.
      seed: [2] integers, for random erasing and dropout.
    """
    features = tf.cast(batch["features"], model.compute_dtype)
    labels, per_class = batch["labels"], config.cascade.erased_classes == "per_class"
    stages = model(features, batch["valid"], labels, per_class=per_class, seed=seed, training=True)
    section = config.training
    entropy = functools.partial(cross_entropy, reduction=section.class_reduction, loss=section.loss)
    weights = _weights(batch)
    losses = [entropy(stages[0].logits, labels, weights=weights)]
    for stage in stages[1:]:
        if per_class:  # a video's copies share its weight
            rows = tf.cast(batch.get("rows", tf.shape(labels)[0]), tf.float32)
            copies = tf.reduce_sum(labels, axis=1) * rows
            weights = tf.gather(tf.math.divide_no_nan(1.0, copies), stage.video)
        losses.append(entropy(stage.logits, tf.gather(labels, stage.video), weights=weights))
    coactivity = None
    if section.coactivity:
        similar = []
        for classifier, stage in zip(model.stages, stages, strict=True):
            shown = tf.gather(labels, stage.video)
            if per_class and stage is not stages[0]:  # a copy shows the class it is of
                shown = tf.one_hot(tf.where(labels > 0)[:, 1], model.num_classes)
            seen = model.seen(tf.gather(batch["valid"], stage.video), stage.erased)
            tcas = classifier.tcas(stage.encoded, seen)
            groups = stage.video // section.group_size
            shares = _weights(batch, section.group_size)
            if shares is not None:  # each row has its group's
                shares = tf.gather(shares, groups * section.group_size)
            similar.append(coactivity_loss(tcas, stage.encoded, seen, shown, groups, shares))
        coactivity = section.coactivity * tf.add_n(similar)
    mining = [variable for stage in model.stages[1:] for variable in stage.trainable_variables]
    beyond = section.cascade_l2 * (section.mining_l2 - 1)
    regularization = l2_penalty(model.trainable_variables, section.cascade_l2)
    regularization += l2_penalty(mining, beyond)
    return Loss(tf.add_n(losses), regularization, coactivity)


def _weights(batch: dict[str, tf.Tensor], size: int = 1) -> tf.Tensor | None:
    """1 / (groups of ``size`` in the whole batch), by row, 0 in padding; None for whole batches."""
    if "rows" not in batch:
        return None
    groups = tf.cast((batch["rows"] + size - 1) // size, tf.float32)
    return tf.math.divide_no_nan(1.0, groups)


def pyramid_loss(
    model: PyramidAttention, batch: dict[str, tf.Tensor], config: Config, seed: tf.Tensor
) -> Loss:
    """The loss of a batch of windows; arguments as in :func:`cascade_loss`."""
    del seed  # nothing in the pyramid is random
    features = tf.cast(batch["features"], model.compute_dtype)
    logits, _ = model(features, batch["valid"])
    section = config.training
    reduced = section.class_reduction, _weights(batch), section.loss
    return Loss(
        cross_entropy(logits, batch["labels"], *reduced),
        l2_penalty(model.trainable_variables, section.pyramid_l2),
    )
