"""One optimisation step as a single ``tf.function``, and the weights and rate it starts from."""

import functools
import operator
import pathlib
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.training.objectives import Loss

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
# Of processors that multiply in it; others convert there and back.
INSTRUCTIONS = {
    "mixed_float16": ("avx512_fp16", "amx_fp16", "fphp"),
    "mixed_bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
}


def is_emulated(precision: str, cpuinfo: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> bool:
    """Whether a precision is slower than float32 here: there is no GPU, and no instruction for it.

    Args:
      precision: of :data:`PRECISIONS`.
      cpuinfo: what Linux says of the processor; elsewhere nobody knows, and this is False.
    """
    if precision not in INSTRUCTIONS or tf.config.list_physical_devices("GPU"):
        return False
    try:
        known = cpuinfo.read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not set(INSTRUCTIONS[precision]) & set(known)


def initialize(model: keras.Model, seed: int) -> None:
    """Draws Glorot-uniform kernels from ``seed`` alone and zeroes the biases.

    Keras' own initializers draw from global state, which a resumed or second training in one
    process would find elsewhere.
    """
    for index, variable in enumerate(model.trainable_variables):
        shape = tuple(variable.shape)
        if len(shape) == 1:
            variable.assign(tf.zeros(shape))
            continue
        receptive = 1
        for size in shape[:-2]:
            receptive *= size
        limit = (6.0 / (receptive * (shape[-2] + shape[-1]))) ** 0.5
        variable.assign(tf.random.stateless_uniform(shape, [seed, index], -limit, limit))


def learning_rate(
    config: Config, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The two rates of Section 4.1; the second holds from the first step of its first epoch on.

    ``PiecewiseConstantDecay`` keeps the old rate *at* its boundary, hence the -1.
    """
    section = config.training
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [section.epochs * steps_per_epoch - 1],
        [section.learning_rate, section.final_learning_rate],
    )


class AdamOfSums(keras.optimizers.Adam):
    """Adam for gradients that are summed over the replicas already.

    Keras sums them itself, but only when it updates: too late for a barrier before all updates, and
    for loss scaling, which then looks at the first replica's own gradients (Keras 3.15).
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Iterable[tuple]) -> list[tuple]:
        return list(grads_and_vars)


def make_optimizer(
    config: Config, steps_per_epoch: int, variables: list, precision: str = "float32"
) -> keras.optimizers.Optimizer:
    """Adam with the schedule, its slots made; with loss scaling for ``mixed_float16``.

    Section 4.1 names no optimizer: Adam, with Keras' defaults, is an assumption.
    """
    kind = AdamOfSums if tf.distribute.has_strategy() else keras.optimizers.Adam
    optimizer = kind(learning_rate(config, steps_per_epoch))
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def make_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_of: Callable[..., Loss],
    config: Config,
    *,
    seed: int,
    xla: bool = False,
    batch_spec: dict[str, tf.TensorSpec] | None = None,
) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]:
    """A compiled ``step(batch, number)`` that applies one update.

    Args:
      model: what is trained.
      optimizer: built on its variables.
      loss_of: one of :mod:`cpmn_tf.training.objectives`.
      config: passed to ``loss_of``.
      seed: of what is random in a step.
      xla: compile with XLA; the last short batch of an epoch is compiled once more.
      batch_spec: of batches whose number of units varies: one graph for all, where by default each
        shape gets its own.

    Returns:
      A function of a batch and the step's number (int64 scalar) that returns the loss before the
      update, float32, by its parts: classification, regularization and, if any, co-activity.
    """

    signature = batch_spec and [batch_spec, tf.TensorSpec([], tf.int64)]

    @tf.function(jit_compile=xla, autograph=False, input_signature=signature)
    def step(batch: dict[str, tf.Tensor], number: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(model, batch, config, tf.stack([tf.constant(seed, tf.int64), number]))
            total = functools.reduce(operator.add, loss.parts())
            scaled = optimizer.scale_loss(total)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, variables)
        # A barrier: weights are otherwise updated as soon as their own gradient is there, while
        # they may still be read for a mask, the gradient of a layer's input or the L2 penalty.
        with tf.control_dependencies([total, *gradients]):
            optimizer.apply(gradients, variables)
        return tf.stack(loss.parts())

    return step


def make_replicated_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_of: Callable[..., Loss],
    config: Config,
    *,
    seed: int,
    xla: bool = False,
) -> Callable[[dict[str, tf.Tensor], tf.Tensor, tf.Tensor], tf.Tensor]:
    """:func:`make_step` for the replicas of the strategy whose scope model and optimizer are of.

    Each replica has a part of the batch (:class:`~cpmn_tf.data.pipeline.Part`). What it draws is
    what one device would draw for these rows, and losses and gradients are added up over the
    replicas, so that they are those of the whole batch but for rounding.

    Returns:
      A function of a distributed batch, the step's number and whether this worker was asked to
      stop (bool scalar). It returns what :func:`make_step`'s does, followed by the number of
      replicas whose worker was.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync

    @tf.function(jit_compile=xla, autograph=False)
    def backward(batch: dict[str, tf.Tensor], draws: tf.Tensor) -> tuple[list, list]:
        with tf.GradientTape() as tape:
            loss = loss_of(model, batch, config, draws)
            parts = loss._replace(regularization=loss.regularization / replicas).parts()
            scaled = optimizer.scale_loss(functools.reduce(operator.add, parts))
        return parts, tape.gradient(scaled, model.trainable_variables)

    def update(batch: dict[str, tf.Tensor], number: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        rows = batch["labels"].shape[0]
        place = tf.cast(context.replica_id_in_sync_group, tf.int64) * rows
        draws = tf.stack([tf.constant(seed, tf.int64), number, place, replicas * rows])
        parts, gradients = backward(batch, draws)
        # One sum of everything, which no update precedes: it is make_step's barrier, too.
        told = tf.stack([*parts, tf.cast(stop, tf.float32)])
        vectors = [told, *(tf.reshape(gradient, [-1]) for gradient in gradients)]
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat(vectors, axis=0))
        told, *sums = tf.split(total, [vector.shape[0] for vector in vectors])
        sums = [
            tf.reshape(vector, gradient.shape)
            for vector, gradient in zip(sums, gradients, strict=True)
        ]
        optimizer.apply(sums, model.trainable_variables)
        return told

    @tf.function(autograph=False)
    def step(batch: dict[str, tf.Tensor], number: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        told = strategy.run(update, args=(batch, number, stop))
        return strategy.experimental_local_results(told)[0]

    return step
