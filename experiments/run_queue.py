"""A detached, resumable queue of commands, for experiments that take long.

    python -m experiments.run_queue --plan=experiments/plans/watch.txt --output_dir=runs/queue
    python -m experiments.run_queue --output_dir=runs/queue --status

A plan is a text file with a command a line (``#`` begins a comment), run one after another from
the folder the queue is started in. ``--detach`` leaves it running after the shell has gone. Each
command's output goes to a file of its own; what has ended well is not run again, so that the same
call takes up an interrupted queue. A command that fails is noted, and the next one is run.
"""

import fcntl
import hashlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json, write_json


def define_flags(values: flags.FlagValues) -> None:
    """Flags of the queue."""
    cli.define_string(values, "plan", None, "Text file with a command a line.")
    cli.define_string(values, "output_dir", "runs/queue", "Folder for logs and the journal.")
    flags.DEFINE_bool("detach", False, "Run on after the shell has gone.", flag_values=values)
    flags.DEFINE_bool("status", False, "Say what has been run, and stop.", flag_values=values)


def read_plan(path: pathlib.Path) -> list[str]:
    """The commands of a plan.

    Raises:
      UserError: if it cannot be read or a line has an open quote; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check --plan") from None
    commands = []
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}; mend the quotes") from None
        if words:
            commands.append(shlex.join(words))
    return commands


class Queue:
    """Runs commands in turn and keeps a journal of them.

    Args:
      folder: for ``journal.json`` and the logs.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._child: subprocess.Popen | None = None
        self._stopped = False

    def journal(self) -> dict[str, Any]:
        """What was run: by command its exit code, seconds and log."""
        path = self._folder / "journal.json"
        return read_json(path) if path.is_file() else {}

    def run(self, commands: list[str]) -> bool:
        """Runs what has not ended well yet; returns whether all has.

        Raises:
          UserError: if a queue is running in the same folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{self._folder}: a queue is running here already") from None
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            for command in commands:
                if self._stopped:
                    break
                if self.journal().get(command, {}).get("exit") != 0:
                    self._run_one(command)
        journal = self.journal()
        return all(journal.get(command, {}).get("exit") == 0 for command in commands)

    def _run_one(self, command: str) -> None:
        name = hashlib.sha256(command.encode()).hexdigest()[:8]
        log = self._folder / f"{name}.log"
        print(f"$ {command}\n    log: {log}", flush=True)
        start = time.monotonic()
        words = shlex.split(command)
        if words[0] == "python":
            words[0] = sys.executable
        environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{_path()}"}
        with open(log, "ab") as output:
            try:
                self._child = subprocess.Popen(
                    words, stdout=output, stderr=subprocess.STDOUT, env=environment
                )
                code = self._child.wait()
            except OSError as error:
                output.write(f"{error}\n".encode())
                code = 127
        seconds = round(time.monotonic() - start)
        before = self.journal().get(command, {}).get("seconds", 0)
        if not self._stopped:
            entry = {"exit": code, "seconds": before + seconds, "log": log.name}
            write_json(self._folder / "journal.json", {**self.journal(), command: entry})
        print(f"    exit code {code}, {seconds} s", flush=True)

    def _stop(self, number: int, _) -> None:
        self._stopped = True
        if self._child is not None:
            self._child.send_signal(number)


def _path() -> str:
    return os.environ.get("PATH", os.defpath)


def detach(arguments: list[str], folder: pathlib.Path) -> int:
    """Starts this program again in a session of its own; returns its process id."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "queue.log", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "experiments.run_queue", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return child.pid


def run(values: flags.FlagValues) -> None:
    """Runs, detaches or reports.

    Raises:
      UserError: if the plan cannot be read, or a command did not end well.
    """
    folder = pathlib.Path(values.output_dir)
    queue = Queue(folder)
    if values.status:
        for command, entry in queue.journal().items():
            print(f"exit code {entry['exit']}, {entry['seconds']} s: {command}")
        return
    cli.require(values, "plan")
    commands = read_plan(pathlib.Path(values.plan))
    if values.detach:
        arguments = [f"--plan={values.plan}", f"--output_dir={folder}"]
        print(f"process {detach(arguments, folder)}; log: {folder / 'queue.log'}")
    elif not queue.run(commands):
        raise UserError(f"{values.plan}: not every command has ended well; see --status")


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.run_queue", __doc__, define_flags, run))
