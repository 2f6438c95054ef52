"""The queue runs each command once, goes on after failures, and can be stopped and taken up."""

import json
import signal
import subprocess
import sys

import pytest

from cpmn_tf.errors import UserError
from experiments.run_queue import Queue, read_plan


@pytest.fixture
def restored_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def plan(tmp_path, *lines) -> list[str]:
    path = tmp_path / "plan.txt"
    path.write_text("# a comment\n\n" + "\n".join(lines) + "\n")
    return read_plan(path)


@pytest.mark.usefixtures("restored_signals")
def test_what_ended_well_is_not_run_again(tmp_path):
    mark = tmp_path / "mark"
    append = f'python -c \'open("{mark}", "a").write("x")\''
    fail = f"python -c 'import pathlib; assert pathlib.Path(\"{tmp_path / 'there'}\").exists()'"
    commands = plan(tmp_path, append, fail, "no-such-program --x  # a comment")
    queue = Queue(tmp_path / "queue")
    assert not queue.run(commands)
    assert [queue.journal()[command]["exit"] for command in commands] == [0, 1, 127]
    (tmp_path / "there").touch()
    assert not queue.run(commands)
    assert mark.read_text() == "x"
    assert [queue.journal()[command]["exit"] for command in commands] == [0, 0, 127]
    assert queue.run(commands[:2])


def test_a_bad_plan_is_named(tmp_path):
    with pytest.raises(UserError, match=r"line 3: .*quot"):
        plan(tmp_path, "python -c 'open")
    with pytest.raises(UserError, match=r"none\.txt"):
        read_plan(tmp_path / "none.txt")


def test_stopped_in_the_middle_the_command_is_told_and_run_again(tmp_path):
    """A real process: SIGTERM reaches the command, which is not counted as run."""
    started, ended = tmp_path / "started", tmp_path / "ended"
    script = tmp_path / "slow.py"
    script.write_text(
        "import pathlib, signal, sys, threading\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        f"again = pathlib.Path({str(started)!r}).exists()\n"
        f"pathlib.Path({str(started)!r}).touch()\n"
        "print('started', flush=True)\n"
        "if not again:\n    stop.wait(60)\n"
        f"pathlib.Path({str(ended)!r}).touch()\n"
        "sys.exit(0 if again else 143)\n"
    )
    path = tmp_path / "plan.txt"
    path.write_text(f"python {script}\n")
    arguments = [f"--plan={path}", f"--output_dir={tmp_path / 'queue'}"]
    command = [sys.executable, "-m", "experiments.run_queue", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        log = process.stdout.readline() + process.stdout.readline()
        while not started.exists() and process.poll() is None:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1, log
    assert ended.exists()
    assert not (tmp_path / "queue" / "journal.json").exists()
    assert subprocess.run(command, check=False).returncode == 0
    (entry,) = json.loads((tmp_path / "queue" / "journal.json").read_text()).values()
    assert entry["exit"] == 0
