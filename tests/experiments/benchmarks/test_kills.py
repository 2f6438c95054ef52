"""Five trainings' processes are killed; what the program counts is put to the test without them."""

import os
import subprocess
import sys

from experiments.benchmarks.kills import Training

PROGRAM = """
import sys
from experiments.benchmarks import kills
kills.EPOCHS = 8
sys.exit(kills.run({"cascade": 3, "pyramid": 2}, seed=1))
"""


def test_five_kills_end_in_the_bits_of_a_training_left_alone():
    """In a process of its own, which forks: this one has computed already."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ
    )
    assert found.returncode == 0, found.stdout + found.stderr
    *_, cascade, pyramid = found.stdout.splitlines()
    for row, name, kills in ((cascade, "cascade", 3), (pyramid, "pyramid", 2)):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == [name, str(kills)] and cells[-2:] == ["0", "0"]
        assert int(cells[3]) > int(cells[4]) > 0


def test_parts_of_a_save_are_told_from_listed_checkpoints(tmp_path):
    training = Training(tmp_path, tmp_path, "cascade")
    assert (training.listed(), training.unlisted(), training.begun()) == ([], set(), None)
    training.checkpoints.mkdir()
    (training.checkpoints / "checkpoint").write_text(
        'model_checkpoint_path: "ckpt-16"\n'
        'all_model_checkpoint_paths: "ckpt-8"\n'
        'all_model_checkpoint_paths: "ckpt-16"\n'
    )
    for name in ("ckpt-8.index", "ckpt-16.index", "ckpt-24.index", "checkpoint.tmp1"):
        (training.checkpoints / name).touch()
    (training.checkpoints / "ckpt-24_temp").mkdir()
    (tmp_path / "begun").write_text("16")
    assert max(training.listed()) == training.begun() == 16
    assert {name for name, _ in training.unlisted()} == {"ckpt-24.index", "ckpt-24_temp"}
