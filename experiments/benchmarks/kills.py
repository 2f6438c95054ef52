"""Trainings killed at random moments: they end in the bits of one that was left alone.

A small training (few filters, noise as features, a checkpoint about every tenth of a second) is
killed by SIGKILL and started again until it has ended, then the next one, until KILLS are made: of
the cascade, then of the pyramid. Every second kill is aimed at a save: it comes when parts of a
checkpoint are there that TensorFlow's list does not name yet. The others come at any moment, from
the start of the process on.

A checkpoint is lost where a start begins below the last one that was listed before, or the list
goes back.

    python -m experiments.benchmarks.kills [KILLS [SEED]]   # 100 of each module, seed 0

Exits with 1 if bits differ or a checkpoint is lost. Each start is a fork of a process that has
imported TensorFlow and computed nothing, which saves the imports.
"""

import dataclasses
import faulthandler
import hashlib
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import time
import traceback

import tensorflow as tf

from cpmn_tf.config import preset, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.files import write_text
from cpmn_tf.training.loop import ModuleTrainer, Runtime
from experiments.benchmarks.training import write_data

VIDEOS, EPOCHS = 8, 20
SETTINGS = ["cascade.filters=8", "cascade.layers=1", "cascade.units=20", "pyramid.filters=8"]
SETTINGS += ["pyramid.levels=2", "pyramid.window=1024", "pyramid.train_stride=1024"]
SETTINGS += ["training.batch_size=4", "training.final_epochs=0"]
SAVE_SECONDS = 0.02  # what an aimed kill waits at most after the first part of a checkpoint
PATIENCE = 300  # seconds for a start; one that hangs says where, and fails


@dataclasses.dataclass
class Tally:
    """What became of one module's trainings.

    Attributes:
      kills: made.
      in_save: those that left parts of a checkpoint.
      starts: of processes.
      trainings: that came to their end.
      lost: starts or lists below the last checkpoint that was listed before.
      different: trainings whose bits are others than those of the one left alone.
    """

    kills: int = 0
    in_save: int = 0
    starts: int = 0
    trainings: int = 0
    lost: int = 0
    different: int = 0


@dataclasses.dataclass(frozen=True)
class Training:
    """One training's folder, and what its processes leave there."""

    data: pathlib.Path
    folder: pathlib.Path
    module: str

    @property
    def checkpoints(self) -> pathlib.Path:
        """Their folder."""
        return self.folder / "checkpoints"

    def start(self) -> int:
        """Starts a process that trains to the end; its number."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "begun").unlink(missing_ok=True)
        process = os.fork()
        if process:
            return process
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            self._train()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _train(self) -> None:
        trainer = ModuleTrainer(
            module=self.module,
            stream="rgb",
            split=Split.open(self.data, "validation"),
            config=with_overrides(preset("thumos14"), [*SETTINGS, f"training.epochs={EPOCHS}"]),
            folder=self.checkpoints,
            events_dir=self.folder / "events",
            runtime=Runtime(),
        )
        write_text(self.folder / "begun", str(trainer.step))
        trainer.run(lambda *_: None)
        reader, digest = tf.train.load_checkpoint(str(self.checkpoints)), hashlib.sha256()
        for name in sorted(reader.get_variable_to_shape_map()):
            if name.startswith(("weights/", "optimizer/", "step/", "totals/")):
                digest.update(reader.get_tensor(name).tobytes())
        write_text(self.folder / "bits", digest.hexdigest())

    def begun(self) -> int | None:
        """The step from which the last process trained; None if it did not come so far."""
        path = self.folder / "begun"
        return int(path.read_text()) if path.exists() else None

    def listed(self) -> list[int]:
        """Steps of the checkpoints that TensorFlow lists, the last one twice and first."""
        path = self.checkpoints / "checkpoint"
        text = path.read_text() if path.exists() else ""
        return [int(step) for step in re.findall(r'_paths?: "ckpt-(\d+)"', text)]

    def unlisted(self) -> set[tuple[str, int]]:
        """Parts of other checkpoints, by name and time."""
        parts = {}
        if self.checkpoints.exists():
            for entry in os.scandir(self.checkpoints):
                try:
                    parts[entry.name] = entry.stat().st_mtime_ns
                except FileNotFoundError:  # gone while we look
                    continue
        listed = {f"ckpt-{step}" for step in self.listed()} | {"checkpoint"}
        return {part for part in parts.items() if part[0].partition(".")[0] not in listed}


def ended(process: int, wait: bool = False) -> bool | None:
    """Whether a process came to its end by itself; None while it runs.

    Raises:
      RuntimeError: if it failed.
    """
    number, status = os.waitpid(process, 0 if wait else os.WNOHANG)
    if not number:
        return None
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a training failed")
    return os.WIFEXITED(status)


def kill(process: int, training: Training, rng: random.Random, seconds: float | None) -> bool:
    """Kills a process within so many seconds, or in a save; False if it ended before that."""
    before, saves = training.unlisted(), set()
    wanted, late = rng.randint(1, 5), rng.uniform(0, SAVE_SECONDS)
    moment = time.monotonic() + (rng.uniform(0, seconds) if seconds else 0)
    while ended(process) is None:
        if seconds is None:
            new = training.unlisted() - before
            saves |= {name.partition(".")[0].removesuffix("_temp") for name, _ in new}
            due = len(saves) >= wanted
            time.sleep(late if due else 0)
        else:
            due = time.monotonic() >= moment
        if due:
            os.kill(process, signal.SIGKILL)
            return not ended(process, wait=True)
        time.sleep(0.0005)
    return False


def measure(module: str, kills: int, rng: random.Random, folder: pathlib.Path) -> Tally:
    """Kills trainings of a module, and lets them end."""
    data, tally = folder / "data", Tally()
    whole = Training(data, folder / f"{module} left alone", module)
    begun = time.monotonic()
    ended(whole.start(), wait=True)
    seconds = time.monotonic() - begun
    bits = (whole.folder / "bits").read_text()
    while tally.kills < kills:
        training = Training(data, folder / f"{module} {tally.trainings}", module)
        last = 0  # the last checkpoint that was listed
        while not (training.folder / "bits").exists():
            before, process = training.unlisted(), training.start()
            tally.starts += 1
            if tally.kills == kills:
                ended(process, wait=True)
            elif kill(process, training, rng, None if tally.kills % 2 else seconds):
                tally.kills += 1
                tally.in_save += bool(training.unlisted() - before)
                seconds *= 1.2 if training.begun() is None else 1  # the machine's load changes
            else:
                seconds *= 0.8
            step, listed = training.begun(), max(training.listed(), default=0)
            tally.lost += (step is not None and step < last) or listed < last
            last = max(last, listed)
        tally.trainings += 1
        print(f"{module}: {tally.kills} of {kills} kills", file=sys.stderr, flush=True)
        tally.different += (training.folder / "bits").read_text() != bits
    return tally


def run(kills: dict[str, int], seed: int) -> int:
    """Kills trainings of each module, and prints what became of them; 1 if anything was wrong."""
    rng = random.Random(seed)
    print(f"seed {seed}\n")
    print("| module | kills | in a save | starts | trainings | checkpoints lost | other bits |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "data").mkdir()
        writer = os.fork()  # as this process must not compute
        if not writer:
            write_data(folder / "data", VIDEOS)
            os._exit(0)
        ended(writer, wait=True)
        for module, number in kills.items():
            tally = measure(module, number, rng, folder)
            print(f"| {module} | {' | '.join(map(str, dataclasses.astuple(tally)))} |", flush=True)
            wrong += tally.lost + tally.different
    return int(wrong > 0)


def main() -> int:
    """Kills as many of both modules."""
    kills, seed = (int(text) for text in (*sys.argv[1:], *("100", "0")[len(sys.argv) - 1 :]))
    return run({"cascade": kills, "pyramid": kills}, seed)


if __name__ == "__main__":
    sys.exit(main())
