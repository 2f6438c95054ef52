"""Files are changed by the seed alone, sound ones are accepted, and every kind of fault shows."""

import collections
import os
import random
import signal

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from experiments.benchmarks import fuzz_files as fuzz
from experiments.benchmarks.file_readers import READERS

QUICK = ["annotations", "detections", "class scores", "labelling tools", "settings", "bsn", "wtalc"]


@pytest.mark.parametrize("name", QUICK)
def test_sound_files_are_accepted_and_changed_ones_also_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    reader, outcomes = READERS[name], collections.Counter()
    whole = fuzz.prepared(reader, tmp_path)
    tries = [fuzz.draw(random.Random(seed), reader, whole) for seed in range(60)]
    assert str(tries) == str([fuzz.draw(random.Random(seed), reader, whole) for seed in range(60)])
    for changed in tries:
        for file, data in changed.items():
            fuzz.written(tmp_path / "in" / file, data)
        outcomes[fuzz.judged(reader.read, tmp_path / "in", sorted(changed))[0]] += 1
        for file in changed:
            fuzz.written(tmp_path / "in" / file, whole[file])
    assert outcomes["accepted"] > 1 and outcomes["refused"] > 25 and not outcomes["fault"]


@pytest.mark.parametrize("name", ["one archive", "labels", "thumos14", "youtube8m", "simulated"])
def test_sound_files_of_other_readers_are_accepted(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert fuzz.prepared(READERS[name], tmp_path)


def test_draws_are_fed_by_bytes():
    fed = fuzz.Fed(bytes([1, 0x80, 0, 0xFF]))
    assert (fed.getrandbits(8), fed.random(), fed.getrandbits(4)) == (1, 0.5, 15)
    assert fed.choice("abc") == fuzz.Fed(b"").choice("abc")  # of the seed


def refuses(text):
    raise UserError(text)


@pytest.mark.parametrize(
    ("read", "outcome", "text"),
    [
        (lambda folder, changed: [1.0, {"a": [b"", np.ones(2)]}], "accepted", ""),
        (lambda folder, changed: [1.0, {"a": [float("nan")]}], "fault", "a number is nan"),
        (lambda folder, changed: [np.array([1, np.inf])], "fault", "an array holds NaN"),
        (lambda folder, changed: ["\ud800"], "fault", "no file can hold"),
        (lambda folder, changed: 1 // 0, "fault", "ZeroDivisionError"),
        (lambda folder, changed: refuses(f"{folder}: is broken"), "refused", "is broken"),
    ],
)
def test_what_a_reader_does_is_judged(tmp_path, read, outcome, text):
    found = fuzz.judged(read, tmp_path, [])
    assert found[0] == outcome and text in found[1]


def test_a_fault_is_counted_by_its_kind_and_kept(tmp_path, capsys):
    tally = fuzz.Tally()
    for number in range(5):
        text = f"ValueError x.py:3: {number}"
        fuzz.kept(tally, "bsn", 1, number, text, "where", {"a/b.csv": b"1", "c": None}, tmp_path)
    fuzz.kept(tally, "bsn", 1, 9, "hang: over 30 s", "", {}, tmp_path)
    assert tally.faults == {"ValueError x.py:3": [0, 1, 2, 3, 4], "hang: over N s": [9]}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"bsn 1 {number}" for number in range(fuzz.KEPT)),
        "bsn 1 9",
    ]
    assert (tmp_path / "bsn 1 0" / "a" / "b.csv").read_bytes() == b"1"
    assert capsys.readouterr().out.count("ValueError") == fuzz.KEPT


def dies_and_hangs(name, seed, first, left, pipe):
    pipe.send(("ready", 0, "", "", {}))
    for number in range(first, 4):
        pipe.send(("begun", number, "", "", {}))
        if number == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif number == 2:
            signal.pause()
        pipe.send(("accepted", number, "", "", {}))


def test_a_reader_that_dies_or_hangs_is_started_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "work", dies_and_hangs)
    monkeypatch.setattr(fuzz, "PATIENCE", 1.0)
    tally = fuzz.run("any", 60.0, 0, tmp_path)
    assert tally.counts == {"accepted": 2, "fault": 2}
    assert tally.faults == {"crash: exit code -N": [1], "hang: over N s": [2]}
