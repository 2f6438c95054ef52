"""The demo ends what it has started, whenever it is asked to stop."""

import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from cpmn_tf.commands import cli
from cpmn_tf.serving import warmup
from experiments import demo
from experiments.harness import lab

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r'"(cpmn-[\w-]+)": "([\w.]+)"', (ROOT / "setup.py").read_text()))

# A command that says which signal it was sent.
SLOW = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
print("started", flush=True)
number = signal.sigwait([signal.SIGINT, signal.SIGTERM])
pathlib.Path(sys.argv[1]).write_text(str(int(number)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_that_runs(tmp_path, number):
    told = tmp_path / "told"
    call = [sys.executable, "-c", SLOW, str(told)]
    program = f"import sys; from experiments import demo; sys.exit(demo.execute({call!r}))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"started\n"
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert told.read_text() == str(int(number))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_command_is_being_started_is_not_lost(monkeypatch, number):
    """It comes when the process is there, and its id not yet known."""
    start = subprocess.Popen
    children = []

    def starting(*arguments, **options):
        children.append(start(*arguments, **options))
        os.kill(os.getpid(), number)
        return children[0]

    before = signal.getsignal(number)
    monkeypatch.setattr(subprocess, "Popen", starting)
    assert demo.execute([sys.executable, "-c", "import time; time.sleep(60)"]) == 128 + number
    assert children[0].returncode == -number  # it did not end by itself
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_ends_nothing(monkeypatch):
    """As by `nohup make demo`."""
    start = subprocess.Popen

    def starting(*arguments, **options):
        child = start(*arguments, **options)
        os.kill(os.getpid(), signal.SIGHUP)
        return child

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(subprocess, "Popen", starting)
        assert demo.execute([sys.executable, "-c", "pass"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_exit_codes_are_a_shells():
    assert demo.execute([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    kill = "import os; os.kill(os.getpid(), 9)"
    assert demo.execute([sys.executable, "-c", kill]) == 137


@pytest.mark.parametrize("step", demo.steps(), ids=lambda step: step[1])
def test_every_flag_is_there(step):
    program, *arguments = step[2].split()
    module = MODULES[program]
    values = cli.Flags()
    importlib.import_module(module).define_flags(values)
    assert values([program, *arguments]) == [program]


def test_the_example_is_one_of_the_recordings_of_the_test_people():
    assert f"runs/demo/plots/{demo.EXAMPLE}.png" in README  # which shows the testing split's first


def test_every_row_is_localized_by_the_one_model_that_is_trained():
    """Control rows of Table 3 need trainings of their own, and the full method is the last row."""
    for row in demo.ROWS:
        training, _ = lab.by_phase(row.settings)
        assert training == []
    commands = [command for _, _, command in demo.steps() if "cpmn-localize" in command]
    assert len(commands) == 3 and commands[-1].endswith("--output=OUT/detections.json")


def test_the_summary_names_the_newest_version_and_nothing_beside_it(tmp_path, capsys):
    for number in range(1, len(demo.ROWS) + 1):
        path = tmp_path / demo.row_files(number)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"tiou": [0.5], "map": [0.25], "average_map": 0.25}')
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "one.png").touch()
    for version in ("9", "10"):
        (tmp_path / "export" / version).mkdir(parents=True)
        (tmp_path / "export" / version / "saved_model.pb").touch()
    (tmp_path / "export" / warmup.BATCHING_FILE).touch()  # as cpmn-export leaves it
    demo.summarize(tmp_path, 7.0)
    assert f"SavedModel:  {tmp_path / 'export' / '10'}\n" in capsys.readouterr().out
