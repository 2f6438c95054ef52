"""Modules in processes of their own: the serial result, and what becomes of one that fails."""

import importlib

import pytest

from cpmn_tf.commands import train
from cpmn_tf.errors import UserError
from cpmn_tf.training import load_model
from cpmn_tf.training.loop import Interrupted
from cpmn_tf.training.parallel import Job, run_jobs

# What a process does, by its job's stream. A module, as processes find functions by name.
WORK = """
import errno, os, signal, time
from cpmn_tf.errors import UserError
from cpmn_tf.training.loop import Interrupted

def work(job, stop, progress, report):
    progress(str(job), 1, 2, {"loss": 0.5})
    if job.stream == "fails":
        raise UserError("records/one.tfrecord: is broken; build it anew")
    if job.stream == "has no room":
        raise OSError(errno.ENOSPC, "No space left on device", "m/ckpt-6")
    if job.stream == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.stream == "is told":
        os.kill(os.getpid(), signal.SIGTERM)
    if job.stream != "ends":
        while not stop():
            time.sleep(0.01)
        report(f"{job} saved")
        raise Interrupted
    report(f"{job} ended")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "what_a_job_does.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("what_a_job_does").work

    def run(*streams, devices=("cpu:0", "cpu:0"), stop=lambda: False):
        """The error, if any, and what was told."""
        lines, told, error = [], [], None
        hooks = {"stop": stop, "progress": lambda *what: told.append(what), "report": lines.append}
        try:
            run_jobs(work, [Job(stream, ("cascade",)) for stream in streams], devices, **hooks)
        except (Interrupted, UserError) as raised:
            error = raised
        return error, lines, told

    return run


def test_one_that_fails_stops_the_others(run):
    """The first job's device is free for the third by then."""
    error, lines, told = run("ends", "waits", "fails")
    assert set(lines) == {"ends cascade ended", "waits cascade saved"}
    assert ("ends cascade", 1, 2, {"loss": 0.5}) in told
    assert isinstance(error, UserError)
    assert str(error) == "records/one.tfrecord: is broken; build it anew"


def test_one_whose_disk_is_full_is_told(run):
    error, _, _ = run("has no room")
    assert isinstance(error, UserError)
    assert str(error).startswith("m/ckpt-6: cannot be written (No space left on device); make room")


def test_one_that_is_killed_is_told(run):
    error, _, _ = run("dies")
    assert str(error).startswith("dies cascade: its process ended with code -9 ")


def test_a_signal_to_one_process_stops_all(run):
    error, lines, _ = run("is told", "waits", "never begins")
    assert isinstance(error, Interrupted)
    assert set(lines) == {"is told cascade saved", "waits cascade saved"}


def test_all_stop_when_it_is_asked_for(run):
    asked = iter([False, True])
    error, _, _ = run("waits", stop=lambda: next(asked, True))
    assert isinstance(error, Interrupted)


def test_the_result_is_the_serial_one(data_set, model_dir, tmp_path, small_settings):
    """Also of modules apart from each other, where no picture is drawn."""
    flags = [f"--data_dir={data_set}", f"--model_dir={tmp_path / 'm'}", "--streams_in_parallel"]
    flags += [f"--set={item}" for item in (*small_settings, "training.pictures=0")]
    assert train.main(flags) == 0
    one, two = (
        [variable.numpy().tobytes() for variable in load_model(folder).variables]
        for folder in (tmp_path / "m", model_dir)
    )
    assert one == two
    names = {path.name for path in (tmp_path / "m" / "tensorboard").iterdir()}
    assert names == {"rgb_cascade", "rgb_pyramid", "flow_cascade", "flow_pyramid"}
