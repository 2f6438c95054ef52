"""The cascaded classification module (CCM, Section 3.3 and Fig. 2)."""

import dataclasses
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cpmn_tf.config import CascadeConfig
from cpmn_tf.models import erasing
from cpmn_tf.models.layers import (
    Linear,
    TemporalConvolution,
    dropout,
    masked_mean,
    pool_attention,
    pool_softmax,
    pool_top,
)

WEIGHTED = ("attention", "soft_selection")  # poolings with a learned weight of each unit


@keras.saving.register_keras_serializable(package="cpmn_tf")
class TemporalClassifier(keras.Model):
    """One stage (Section 3.3): temporal convolutions, global average pooling, a linear classifier.

    With Z the last convolution's output, :meth:`scores` are Eq. 1 and :meth:`tcas` is Eq. 2, so
    that s^c = mean_t M_t^c + b^c; other poolings take the mean over other units, or weigh it. The
    sigmoid is left to the loss.

    Args:
      num_classes: C.
      filters: filters of each convolution.
      num_layers: convolutions, stride 1, ReLU.
      kernel_size: of the convolutions, in units.
      pooling: ``average``, ``top`` (``layers.pool_top``), ``attention`` (``layers.pool_attention``,
        a linear function of Z before its softmax) or ``soft_selection`` (``layers.pool_softmax`` by
        the same attention).
      pooling_k: ``top`` takes the highest ⌈T/k⌉ of T units.

    >>> classifier = TemporalClassifier(num_classes=3, filters=16)
    >>> logits, tcas = classifier(tf.ones([2, 50, 8]), tf.fill([2, 50], True))
    >>> logits.shape, tcas.shape
    (TensorShape([2, 3]), TensorShape([2, 50, 3]))
    """

    def __init__(
        self,
        *,
        num_classes: int,
        filters: int = 512,
        num_layers: int = 2,
        kernel_size: int = 3,
        pooling: str = "average",
        pooling_k: int = 8,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.num_layers = num_layers
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.pooling_k = pooling_k
        same = {"padding": "same", "activation": "relu", "dtype": self.dtype_policy}
        self.convolutions = [
            TemporalConvolution(filters, kernel_size, **same) for _ in range(num_layers)
        ]
        # Scores stay float32 in mixed precision: a mean over hundreds of units needs the digits.
        self.classifier = Linear(num_classes, dtype="float32")
        self.selector = Linear(1, dtype="float32") if pooling in WEIGHTED else None

    def build(self, features_shape: Any, valid_shape: Any = None) -> None:
        """Creates the weights for [batch, units, channels] features."""
        shape = tuple(features_shape)
        for layer in self.convolutions:
            layer.build(shape)
            shape = (*shape[:-1], self.filters)
        self.classifier.build((shape[0], self.filters))
        if self.selector:
            self.selector.build((shape[0], self.filters))
        self.built = True

    def encode(self, features: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Z: [batch, units, channels] -> [batch, units, filters] float32; padding is not masked."""
        weight = tf.cast(valid, self.compute_dtype)[..., tf.newaxis]
        encoded = tf.cast(features, self.compute_dtype)
        for layer in self.convolutions:
            # ReLU(bias) in the padding would reach the last valid units through the next kernel.
            encoded = layer(encoded * weight)
        return tf.cast(encoded, tf.float32)

    def scores(self, encoded: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Eq. 1: s^c = Σ_k w^c(k) · mean_t Z_t(k) + b^c.

        The mean is that of the paper's text; the formula's second half prints a sum over t. The
        bias b is an assumption: the paper has a fully connected layer and prints none.

        Args:
          encoded: Z, [batch, units, filters].
          valid: [batch, units] bool; the mean, or another ``pooling``, is over these.

        Returns:
          [batch, classes] logits.
        """
        if self.pooling != "average":
            return self._pooled(self._activations(encoded), valid)
        # One product per video instead of a masked copy of Z, forward and backward.
        weight = tf.cast(valid, tf.float32)[:, tf.newaxis]
        weight = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=-1, keepdims=True))
        return self.classifier(tf.linalg.matmul(weight, encoded)[:, 0])

    def _activations(self, encoded: tf.Tensor) -> tf.Tensor:
        """All that pooling needs of Z: M, and attention's logits, if any, as a last channel."""
        tcas = self.classifier(encoded, bias=False)
        return tf.concat([tcas, self.selector(encoded)], axis=-1) if self.selector else tcas

    def _pooled(self, activations: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Logits of [batch, units, classes] M, or what :meth:`_activations` makes of it."""
        tcas = activations[..., : self.num_classes]
        bias = self.classifier(tf.zeros([1, self.filters]))
        if self.pooling == "soft_selection":
            return pool_softmax(tcas + bias, activations[..., -1], valid)
        if self.pooling == "top":
            pooled = pool_top(tcas, valid, self.pooling_k)
        elif self.pooling == "attention":
            pooled = pool_attention(tcas, activations[..., -1], valid)
        else:
            pooled = masked_mean(tcas, valid)
        return pooled + bias

    def tcas(self, encoded: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Eq. 2, the T-CAS: M_t^c = Σ_k w^c(k) Z_t(k), without the bias.

        Args:
          encoded: Z, [batch, units, filters].
          valid: [batch, units] bool.

        Returns:
          [batch, units, classes], zeros in padding.
        """
        return tf.where(valid[..., tf.newaxis], self.classifier(encoded, bias=False), 0.0)

    def call(
        self,
        features: tf.Tensor,
        valid: tf.Tensor,
        seen: tf.Tensor | None = None,
        chunk: int = 0,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Classifies and localizes.

        Args:
          features: [batch, units, channels].
          valid: [batch, units] bool.
          seen: [batch, units] bool, the valid units that are pooled and whose T-CAS is not 0; all
            by default.
          chunk: units of which Z is held in memory at a time, with the same result; 0 takes all.

        Returns:
          logits [batch, classes] and the T-CAS [batch, units, classes], both float32.
        """
        seen = valid if seen is None else seen
        if chunk:
            activations = self._in_chunks(features, valid, chunk)
            tcas = tf.where(seen[..., tf.newaxis], activations[..., : self.num_classes], 0.0)
            return self._pooled(activations, seen), tcas
        encoded = self.encode(features, valid)
        return self.scores(encoded, seen), self.tcas(encoded, seen)

    def _in_chunks(self, features: tf.Tensor, valid: tf.Tensor, chunk: int) -> tf.Tensor:
        """:meth:`_activations`, each chunk convolved with the neighbours that kernels reach."""
        reach = self.num_layers * (self.kernel_size // 2)
        units = tf.shape(features)[1]
        chunks = tf.maximum((units + chunk - 1) // chunk, 1)
        padding = [reach, chunks * chunk - units + reach]
        features = tf.pad(features, [[0, 0], padding, [0, 0]])
        valid_padded = tf.pad(valid, [[0, 0], padding])

        def one(index: tf.Tensor) -> tf.Tensor:
            part = slice(index * chunk, index * chunk + chunk + 2 * reach)
            encoded = self.encode(features[:, part], valid_padded[:, part])
            return self._activations(encoded)[:, reach : reach + chunk]

        channels = self.num_classes + (self.selector is not None)
        spec = tf.TensorSpec([features.shape[0], chunk, channels], tf.float32)
        parts = tf.map_fn(one, tf.range(chunks), fn_output_signature=spec, parallel_iterations=1)
        shape = [tf.shape(features)[0], chunks * chunk, channels]
        return tf.reshape(tf.transpose(parts, [1, 0, 2, 3]), shape)[:, :units]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("num_classes", "filters", "num_layers", "kernel_size", "pooling", "pooling_k")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class Stage(NamedTuple):
    """What one stage says about each row; a row is a video, or one erased copy of it.

    Attributes:
      logits: [rows, classes].
      tcas: [rows, units, classes].
      erased: [rows, units] bool, what was hidden from this stage.
      video: [rows] int32, the video of each row.
      encoded: [rows, units, filters] Z as pooled, dropped in part; None at inference.

    >>> stage = Stage(tf.zeros([1, 3]), tf.zeros([1, 9, 3]), tf.fill([1, 9], False), tf.range(1))
    >>> stage.tcas.shape
    TensorShape([1, 9, 3])
    """

    logits: tf.Tensor
    tcas: tf.Tensor
    erased: tf.Tensor
    video: tf.Tensor
    encoded: tf.Tensor | None = None


@keras.saving.register_keras_serializable(package="cpmn_tf")
class CascadedClassifier(keras.Model):
    """N classifiers in a row, each fed what the earlier ones left unexplained.

    The cascaded classification module (Section 3.3, Fig. 2), trained as in Algorithm 1.

    Weights are not shared and masks pass no gradient, so that one joint loss trains the stages
    as separately as the paper does. Masks accumulate over the stages.

    Args:
      num_classes: C.
      config: number and size of the stages, and what is erased between them; or its fields.

    >>> cascade = CascadedClassifier(num_classes=3, config=CascadeConfig(filters=16))
    >>> first, second = cascade(tf.ones([1, 9, 8]), tf.fill([1, 9], True), tf.constant([[1, 0, 0]]))
    >>> second.erased.shape
    TensorShape([1, 9])
    """

    def __init__(self, *, num_classes: int, config: CascadeConfig | dict, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.config = config if isinstance(config, CascadeConfig) else CascadeConfig(**config)
        names = ("filters", "kernel_size", "pooling", "pooling_k")
        sizes = {name: getattr(self.config, name) for name in names}
        same = {"num_classes": num_classes, "num_layers": self.config.layers, **sizes}
        same["dtype"] = self.dtype_policy
        self.stages = [TemporalClassifier(**same) for _ in range(self.config.stages)]

    def build(self, features_shape: Any, valid_shape: Any = None) -> None:
        """Creates the weights for [batch, units, channels] features."""
        for stage in self.stages:
            stage.build(features_shape)
        self.built = True

    def call(
        self,
        features: tf.Tensor,
        valid: tf.Tensor,
        classes: tf.Tensor,
        per_class: bool = False,
        seed: tf.Tensor | None = None,
        training: bool = False,
    ) -> list[Stage]:
        """Runs all stages.

        Args:
          features: [batch, units, channels].
          valid: [batch, units] bool.
          classes: [batch, classes], non-zero where a class's regions are erased: the video's
            labels in training, its selected classes at inference.
          per_class: one erased copy per video and class instead of their union.
          seed: [2] integers of at least 0 for the random policy and dropout, in training only; [4]
            for a part of a batch (``layers.uniform_draws``).
          training: whether the random policy hides anything, and dropout drops.

        Returns:
          One :class:`Stage` each; the first has one row per video, later ones one per copy, in
          the order of ``tf.where(classes)`` if ``per_class``.
        """
        first = self.first_stage(features, valid, seed, training)
        later = self.later_stages(features, valid, first, classes, per_class, seed, training)
        return [first, *later]

    def first_stage(
        self,
        features: tf.Tensor,
        valid: tf.Tensor,
        seed: tf.Tensor | None = None,
        training: bool = False,
        chunk: int = 0,
    ) -> Stage:
        """The localization stage A; ``chunk`` units at a time if set.

        Its features are untouched, but for Hide-and-Seek's in training.
        """
        hidden, video = tf.zeros_like(valid), tf.range(tf.shape(valid)[0])
        if training and self.config.erasing == "hide_and_seek":
            hidden = self._random_mask(valid, seed, 0)
            features = erasing.erase(features, hidden, valid, self.config.erased_value)
        return self._classify(0, features, valid, hidden, video, seed, training, chunk)

    def _random_mask(self, valid: tf.Tensor, seed: tf.Tensor | None, stage: int) -> tf.Tensor:
        """Each stage has other segments hidden."""
        assert seed is not None
        own = tf.stack([seed[0], seed[1] * 64 + stage, *tf.unstack(seed[2:])])
        return erasing.random_mask(valid, own, self.config.random_segment, self.config.random_rate)

    def _classify(
        self,
        number: int,
        features: tf.Tensor,
        valid: tf.Tensor,
        erased: tf.Tensor,
        video: tf.Tensor,
        seed: tf.Tensor | None,
        training: bool,
        chunk: int,
    ) -> Stage:
        """Stage ``number`` on what is left; dropout changes what is pooled, and not the T-CAS."""
        stage, config = self.stages[number], self.config
        seen = self.seen(valid, erased)
        if not training:
            logits, tcas = stage(features, valid, seen, chunk=chunk)
            return Stage(logits, tcas, erased, video)
        encoded = stage.encode(features, valid)
        tcas = stage.tcas(encoded, seen)
        if rate := config.mining_dropout if number else config.dropout:
            assert seed is not None
            # None that random erasing has.
            own = tf.stack([-1 - seed[0], seed[1] * 64 + number, *tf.unstack(seed[2:])])
            encoded = dropout(encoded, rate, own)
        return Stage(stage.scores(encoded, seen), tcas, erased, video, encoded)

    def seen(self, valid: tf.Tensor, erased: tf.Tensor) -> tf.Tensor:
        """The units that a stage pools, [rows, units] bool."""
        return valid & ~erased if self.config.mining_pooling == "unerased" else valid

    def later_stages(
        self,
        features: tf.Tensor,
        valid: tf.Tensor,
        first: Stage,
        classes: tf.Tensor,
        per_class: bool = False,
        seed: tf.Tensor | None = None,
        training: bool = False,
        chunk: int = 0,
    ) -> list[Stage]:
        """The mining stages, fed what is left after erasing.

        Args:
          features, valid, classes, per_class, seed, training: as in :meth:`call`.
          first: the first stage's result.
          chunk: units convolved at a time; 0 takes each video whole.
        """
        video, tcas = first.video, first.tcas
        chosen = tf.cast(classes, tf.bool)
        if per_class:
            video, label = tf.unstack(tf.cast(tf.where(chosen), tf.int32), axis=1)
            features, valid = tf.gather(features, video), tf.gather(valid, video)
            tcas = tf.gather(tcas, video)
            chosen = tf.one_hot(label, self.num_classes, on_value=True, off_value=False)
        erased, config, results = tf.zeros_like(valid), self.config, []
        for number in range(1, config.stages):
            if config.erasing == "adversarial":
                cut = config.threshold, config.normalization
                erased |= erasing.erasing_mask(tcas, valid, chosen, *cut)
            elif config.erasing in ("random", "hide_and_seek") and training:
                erased |= self._random_mask(valid, seed, number)
            left = erasing.erase(features, erased, valid, config.erased_value)
            stage = self._classify(number, left, valid, erased, video, seed, training, chunk)
            tcas = stage.tcas
            results.append(stage)
        return results

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"num_classes": self.num_classes, "config": dataclasses.asdict(self.config)}
        return {**super().get_config(), **own}
