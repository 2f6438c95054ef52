"""Checkpoints: the bits of their step, whatever changes while they are written."""

import pathlib
import threading
import time

import pytest
import tensorflow as tf

from cpmn_tf.errors import UserError
from cpmn_tf.files import disk_error
from cpmn_tf.training.checkpoints import Checkpoints

DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[: len(data) // 2] + b"!" + data[len(data) // 2 + 1 :],
    "lost": lambda _: None,
}


def damage(path: pathlib.Path, how: str) -> None:
    data = DAMAGES[how](path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)


def test_what_is_written_is_the_state_of_its_step(tmp_path, monkeypatch):
    weights, step = tf.Variable([1.0, 2.0]), tf.Variable(3, dtype=tf.int64)
    checkpoints = Checkpoints({"weights": [weights], "step": step}, tmp_path)
    go_on, save = threading.Event(), tf.train.CheckpointManager.save

    def late(*arguments, **named):
        assert go_on.wait(60)
        return save(*arguments, **named)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", late)
    checkpoints.save(3)  # returns, though nothing can be written yet
    weights.assign([5.0, 6.0])
    step.assign(4)
    assert not (tmp_path / "checkpoint").exists()
    go_on.set()
    checkpoints.close()
    Checkpoints({"weights": [weights], "step": step}, tmp_path).restore()
    assert weights.numpy().tolist() == [1.0, 2.0] and int(step) == 3


def test_two_are_kept(tmp_path):
    checkpoints = Checkpoints({"step": tf.Variable(0)}, tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step)
    checkpoints.close()
    assert {path.stem for path in tmp_path.glob("*.index")} == {"ckpt-2", "ckpt-3"}


def test_what_the_disk_refuses_is_raised_once(tmp_path, monkeypatch):
    checkpoints = Checkpoints({"step": tf.Variable(0)}, tmp_path)

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", refuse)
    checkpoints.save(1)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.close()
    checkpoints.close()


def saved(folder: pathlib.Path, *steps: int) -> None:
    """Saves the weight 1 at step 1, and so on."""
    weight = tf.Variable(0.0)
    checkpoints = Checkpoints({"weight": weight}, folder)
    for step in steps:
        weight.assign(step)
        checkpoints.save(step)
    checkpoints.close()


def restored(folder: pathlib.Path) -> float:
    weight = tf.Variable(0.0)
    Checkpoints({"weight": weight}, folder).restore()
    return float(weight)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["ckpt-6.index", "ckpt-6.data-00000-of-00001"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, file, how):
    saved(tmp_path, 3, 6)
    damage(tmp_path / file, how)
    assert restored(tmp_path) == 3
    if (file, how) != ("ckpt-6.index", "lost"):  # there is then no checkpoint of step 6
        assert f"{tmp_path / 'ckpt-6'}: is damaged (" in caplog.text
        assert f"; {tmp_path / 'ckpt-3'} is taken instead" in caplog.text
    damage(next(tmp_path.glob("ckpt-3.data*")), how)
    with pytest.raises(
        UserError, match=r"ckpt-\d: this checkpoint does not fit .*train into a new"
    ):
        restored(tmp_path)


@pytest.mark.parametrize("how", DAMAGES)
def test_checkpoints_are_found_without_tensorflows_list(tmp_path, how):
    saved(tmp_path, 3, 6)
    damage(tmp_path / "checkpoint", how)
    assert restored(tmp_path) == 6


def test_what_a_kill_left_is_removed_with_the_next_save(tmp_path):
    (tmp_path / "ckpt-4_temp").mkdir(parents=True)
    (tmp_path / "ckpt-4_temp" / "part-00000-of-00001.index").touch()
    (tmp_path / "ckpt-5.data-00000-of-00001").touch()
    saved(tmp_path, 6)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint",
        "ckpt-6.index",
        "ckpt-6.data-00000-of-00001",
    }


def test_a_folder_that_became_read_only_is_named():
    """Nobody makes files below /sys, not even root."""
    checkpoints = Checkpoints({"step": tf.Variable(0)}, "/sys/kernel")
    checkpoints.save(1)
    with pytest.raises(tf.errors.OpError) as told:
        checkpoints.close()
    assert disk_error(told.value).startswith("/sys/kernel/ckpt-1_temp: cannot be written (")


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, years):
    saved(tmp_path, 3, 6)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + years * 365 * 86400)
    assert restored(tmp_path) == 6
    saved(tmp_path, 9, 12)
    assert restored(tmp_path) == 12
    assert {path.stem for path in tmp_path.glob("*.index")} == {"ckpt-9", "ckpt-12"}
