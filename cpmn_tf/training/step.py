"""One optimisation step as a single ``tf.function``, and the weights and rate it starts from."""

import functools
import operator
import pathlib
from collections.abc import Callable

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


def make_optimizer(
    config: Config, steps_per_epoch: int, variables: list, precision: str = "float32"
) -> keras.optimizers.Optimizer:
    """Adam with the schedule, its slots made; with loss scaling for ``mixed_float16``.

    Section 4.1 names no optimizer: Adam, with Keras' defaults, is an assumption.
    """
    optimizer = keras.optimizers.Adam(learning_rate(config, steps_per_epoch))
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
