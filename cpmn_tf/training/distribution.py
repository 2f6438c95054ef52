"""Who trains: devices, TensorFlow's strategies, and what the workers of one training agree on.

A worker is a process, which has one or more replicas, each on a device of its own; the replicas
share every batch. The default is one device and no strategy.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data.pipeline import Part
from cpmn_tf.errors import UserError

STRATEGIES = ("default", "mirrored", "multi_worker")
STOP_STEPS = 8  # steps between the moments at which the workers agree whether to stop
START_SECONDS = 600  # that workers wait for one another at the start
GONE_SECONDS = 60  # after which a worker that does not answer is taken for dead

# What TensorFlow raises where another worker is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """One worker's view of a training.

    Attributes:
      strategy: TensorFlow's; None for one device.
      workers: how many there are.
      worker: which of them this is, from 0, the one that writes.
    """

    strategy: tf.distribute.Strategy | None = None
    workers: int = 1
    worker: int = 0

    @property
    def replicas(self) -> int:
        """How many devices share a batch."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def writes(self) -> bool:
        """Whether this worker writes model.json, checkpoints and events."""
        return self.worker == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Where variables are made."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def check(self, config: Config) -> None:
        """Checks that batches can be divided among the replicas, and so can what is random.

        Raises:
          UserError: naming the settings, and numbers that fit.
        """
        if not self.strategy:
            return
        cascade, size = config.cascade, config.training.batch_size
        unit = self.replicas * max(config.training.group_size, 1)
        if size % unit:
            fits = sorted({max(size // unit, 1) * unit, (size // unit + 1) * unit})
            raise UserError(
                f"training.batch_size={size} cannot be divided among {self.replicas} devices in "
                f"groups of {max(config.training.group_size, 1)}; set it to "
                f"{' or '.join(map(str, fits))}"
            )
        random = cascade.erasing in ("random", "hide_and_seek") or cascade.mining_dropout > 0
        if cascade.erased_classes == "per_class" and random and self.replicas > 1:
            raise UserError(
                "cascade.erased_classes=per_class with random erasing or cascade.mining_dropout "
                "draws by the copies of the whole batch; train it on one device"
            )
        random = random or cascade.dropout > 0
        if cascade.sampling == "uniform" and cascade.interval and random and self.replicas > 1:
            raise UserError(
                f"cascade.interval={cascade.interval} with random erasing or dropout draws by the "
                "longest video of the whole batch; train it on one device"
            )

    def batches(
        self, make: Callable[[Part | None], tf.data.Dataset], size: int
    ) -> Iterable[dict[str, tf.Tensor]]:
        """Batches for the step: ``make``'s, or this worker's part of them for its replicas.

        Args:
          make: makes them of a part, as :func:`~cpmn_tf.data.pipeline.cascade_batches`.
          size: rows of a whole batch.
        """
        if not self.strategy:
            return make(None)
        rows = size // self.workers
        first = self.worker * rows
        part = Part(first, first + rows, size // self.replicas, size)
        return self.strategy.distribute_datasets_from_function(lambda _: make(part))

    def gather(self, value: int) -> list[int]:
        """Every worker's value, in the workers' order; each waits for the others."""
        if not self.strategy or self.workers == 1:
            return [value]
        found = _gather(self.strategy)(tf.constant(value, tf.int64)).numpy().tolist()
        return found[:: self.replicas // self.workers]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that succeeds on all workers or on none.

        Raises:
          UserError: the block's, or that another worker had one.
        """
        own: UserError | None = None
        try:
            yield
        except UserError as error:
            own = error
        with self.watched():
            failed = self.gather(own is not None)
        if own:
            raise own
        if any(failed):
            raise UserError(
                f"worker {failed.index(1)} ended with an error; its own output says which"
            )

    @contextlib.contextmanager
    def watched(self, place: Callable[[], str] = lambda: "from the start") -> Iterator[None]:
        """Makes one line of what TensorFlow raises when another worker is gone.

        Args:
          place: says where the same command goes on then.

        Raises:
          UserError: that a worker is gone.
        """
        try:
            yield
        except _LOST as error:
            if self.workers == 1:
                raise
            raise UserError(
                f"another worker is gone; the same command on all workers goes on {place()}"
            ) from error


ONE_DEVICE = Distribution()


@functools.cache
def _gather(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from a scalar to those of all replicas; ``strategy.gather`` traces each time."""

    def own(value: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        replica, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
        place = tf.one_hot(replica, replicas, dtype=value.dtype)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, place * value)

    @tf.function(autograph=False)
    def gather(value: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(own, (value,)))[0]

    return gather


def open_distribution(strategy: str = "default", devices: Sequence[str] = ()) -> Distribution:
    """Chooses devices and opens a strategy; before TensorFlow computes anything in this process.

    Args:
      strategy: one of :data:`STRATEGIES`.
      devices: such as ``gpu:0``; by default every GPU, or the processor if there is none.

    Raises:
      UserError: if a device is not there or TensorFlow has begun, or TF_CONFIG does not fit.
    """
    if strategy not in STRATEGIES:
        raise UserError(f"`strategy={strategy}` is not {' or '.join(STRATEGIES)}; give one")
    return _opened(strategy, tuple(devices))


@functools.cache  # a second strategy would number its collectives from the start again
def _opened(strategy: str, devices: Sequence[str]) -> Distribution:
    try:
        chosen = _choose(devices)
        if strategy == "multi_worker":
            if len(chosen) > 1 and chosen[0].startswith("CPU"):
                raise UserError(
                    f"`devices={','.join(devices)}`: a worker trains on its processor, or on GPUs; "
                    "start more workers"
                )
            return _open_workers()
        if strategy == "mirrored":
            return Distribution(tf.distribute.MirroredStrategy(chosen or None))
    except RuntimeError as error:
        raise UserError(
            f"devices and strategy are chosen before TensorFlow computes anything ({error}); "
            "train in a process of its own"
        ) from error
    if len(devices) > 1:
        raise UserError(
            f"`devices={','.join(devices)}`: one device trains by default; add `strategy=mirrored`"
        )
    return ONE_DEVICE


def _choose(devices: Sequence[str]) -> list[str]:
    """Makes only some devices visible, whose names are returned; GPUs take memory as they need it.

    More than one processor are parts of the one there is, to try out what is for several GPUs.
    """
    gpus = tf.config.list_physical_devices("GPU")
    found = [re.fullmatch(r"(cpu|gpu):(\d+)", device.strip().lower()) for device in devices]
    kinds = {match[1] if match else "" for match in found}
    if kinds not in (set(), {"cpu"}, {"gpu"}) or len(set(devices)) < len(devices):
        raise UserError(
            f"`devices={','.join(devices)}` names no devices of one kind, each once; write "
            "gpu:0,gpu:1"
        )
    numbers = [int(match[2]) for match in found if match]
    if kinds == {"gpu"}:
        if max(numbers) >= len(gpus):
            raise UserError(
                f"`devices={','.join(devices)}`: there are {len(gpus)} GPUs; name others"
            )
        gpus = [gpus[number] for number in numbers]
        tf.config.set_visible_devices(gpus, "GPU")
    elif kinds == {"cpu"}:
        gpus = []
        tf.config.set_visible_devices(gpus, "GPU")
        if max(numbers):
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0],
                [tf.config.LogicalDeviceConfiguration()] * (max(numbers) + 1),
            )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if kinds == {"cpu"}:
        return [f"CPU:{number}" for number in numbers]
    return [f"GPU:{number}" for number in range(len(gpus))]


def _open_workers() -> Distribution:
    """Joins the workers that TF_CONFIG names, and waits until all of them are there."""
    # TensorFlow has no public name for the times of its coordination service.
    from tensorflow.python.eager import context

    cluster, kind, index = _cluster(os.environ.get("TF_CONFIG", ""))
    names = [(name, place) for name in ("chief", "worker") for place in range(cluster.get(name, 0))]
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:{}/replica:0/task:{}".format(*names[0]),
        coordinated_jobs=[
            context.coordination_config_pb2.CoordinatedJob(name=name, num_tasks=number)
            for name, number in cluster.items()
        ],
        cluster_register_timeout_in_ms=START_SECONDS * 1000,
        heartbeat_timeout_in_ms=GONE_SECONDS * 1000,
        shutdown_barrier_timeout_in_ms=GONE_SECONDS * 1000,
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except _LOST as error:
        raise UserError(
            f"not all of the {len(names)} workers of TF_CONFIG were there within {START_SECONDS} s "
            f"({str(error).strip().splitlines()[0][:120]}); start the same command on each"
        ) from error
    # TensorFlow takes SIGTERM, for a protocol of its own; the process' handler takes it back.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return Distribution(strategy, len(names), names.index((kind, index)))


def _cluster(text: str) -> tuple[dict[str, int], str, int]:
    """The tasks of each kind in TF_CONFIG, and which of them this process is."""
    example = (
        '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        config = json.loads(text)
        cluster: dict[str, Collection[str]] = config["cluster"]
        kind, index = config["task"]["type"], int(config["task"]["index"])
        sizes = {name: len(addresses) for name, addresses in cluster.items() if addresses}
        if not set(sizes) <= {"chief", "worker"} or not 0 <= index < sizes[kind]:
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f"`strategy=multi_worker` reads its workers from the environment variable TF_CONFIG, "
            f"which is {text!r}; set it to such as {example}"
        ) from None
    return sizes, kind, index
