"""The independent modules of a training, each in a process of its own.

Nothing that one process computes depends on another, so that the result is the serial one. Each has
as many threads as the serial training would have: sums of another number of threads have other
bits (of 4 threads instead of 2, on the cascade of THUMOS14).
"""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import queue
import signal
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from cpmn_tf.errors import UserError
from cpmn_tf.files import disk_error
from cpmn_tf.notices import call_in_new_process
from cpmn_tf.training.distribution import open_distribution
from cpmn_tf.training.loop import Interrupted


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process trains: modules of a stream, one after another.

    >>> str(Job("rgb", ("cascade", "pyramid")))
    'rgb cascade and pyramid'
    """

    stream: str
    modules: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.stream} {' and '.join(self.modules)}"


# (job, stop, progress, report), as `train` has the last three; must be picklable.
Work = Callable[[Job, Callable, Callable, Callable], None]


def places() -> list[str]:
    """Where processes run: on each GPU, or on each core of the processor where there is none."""
    gpus = [f"gpu:{number}" for number, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    return gpus or ["cpu:0"] * (os.cpu_count() or 1)


def run_jobs(
    work: Work,
    jobs: Sequence[Job],
    devices: Sequence[str],
    *,
    stop: Callable[[], bool],
    progress: Callable[..., None],
    report: Callable[[str], None],
) -> None:
    """Runs jobs, one on each device at a time, and passes on what they tell.

    Args:
      work: does a job.
      jobs: in the order in which they begin.
      devices: as :func:`~cpmn_tf.training.distribution.open_distribution` takes them.
      stop, progress, report: of :func:`cpmn_tf.training.train`.

    Raises:
      Interrupted: if ``stop``, or a signal to one process, asked for it; all saved their state.
      UserError: of the first job that failed; the others saved their state.
    """
    spawn = multiprocessing.get_context("spawn")
    messages, stopping = spawn.Queue(), spawn.Event()
    waiting, free = collections.deque(jobs), list(devices)
    running: dict[Job, tuple[Any, str]] = {}  # its process and device
    outcomes: dict[Job, str] = {}  # '' for a job that is done
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    heard: dict[str, Callable[..., None]] = {
        "progress": progress,
        "report": report,
        "ended": outcomes.__setitem__,
    }

    def listen(seconds: float) -> bool:
        try:
            kind, what = messages.get(timeout=seconds)
        except queue.Empty:
            return False
        heard[kind](*what)
        return True

    try:
        while running or (waiting and not stopping.is_set()):
            while waiting and free and not stopping.is_set():
                job, device = waiting.popleft(), free.pop(0)
                task = pickle.dumps((_do, (work, job, device, os.getpid(), threads)))
                started = spawn.Process(
                    target=call_in_new_process, args=(task, messages, stopping), name=str(job)
                )
                started.start()
                running[job] = started, device
            listen(0.1)
            if stop():
                stopping.set()
            for job, (process, device) in list(running.items()):
                if process.is_alive():
                    continue
                while listen(0.01):
                    pass
                del running[job]
                free.append(device)
                outcomes.setdefault(
                    job,
                    f"{job}: its process ended with code {process.exitcode} (-9 is a kill, as for "
                    "want of memory); the same command goes on",
                )
                if outcomes[job]:
                    stopping.set()
    finally:
        stopping.set()
        for process, _ in running.values():
            process.join()
    for outcome in outcomes.values():
        if outcome and outcome != _STOPPED:
            raise UserError(outcome)
    if len(outcomes) < len(jobs) or any(outcomes.values()):
        raise Interrupted(str(next(job for job in jobs if outcomes.get(job, _STOPPED))))


_STOPPED = "stopped"


def _do(
    work: Work, job: Job, device: str, parent: int, threads: int, messages: Any, stopping: Any
) -> None:
    """A job, in its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent acts
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))

    def stop() -> bool:
        return bool(asked) or stopping.is_set() or os.getppid() != parent

    def tell(kind: str) -> Callable[..., None]:
        return lambda *what: messages.put((kind, what))

    outcome = ""
    with contextlib.closing(messages):
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            open_distribution(devices=[device])
            work(job, stop, tell("progress"), tell("report"))
        except Interrupted:
            outcome = _STOPPED
        except UserError as error:
            outcome = str(error)
        except Exception as error:
            outcome = disk_error(error) or ""
            if not outcome:
                raise
        tell("ended")(job, outcome)
