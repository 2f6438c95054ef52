"""Checkpoints: the bits of their step, whatever changes while they are written."""

import threading

import pytest
import tensorflow as tf

from cpmn_tf.training.checkpoints import Checkpoints


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
