"""The benchmarks run, on a few videos; what they measure is for a machine that is idle."""

import numpy as np
import pytest

from cpmn_tf.evaluation import evaluate
from experiments.benchmarks import evaluation, large_sets, localization, records, training, workers


def test_both_evaluators_give_the_same():
    truth, found = evaluation.synthetic(3000)
    ours = evaluate(truth, found, protocol="activitynet", tiou=(0.3, 0.7)).map
    loop = evaluation.activitynet_loop(*evaluation.grouped(truth, found), (0.3, 0.7))
    np.testing.assert_allclose(ours, loop, rtol=0, atol=1e-12)
    assert ours[0] > ours[1] > 0


def test_the_loop_localizes_as_we_do():
    ours, theirs, found = localization.compare(300, 1)  # which compares them
    assert ours > 0 and theirs > 0 and found > 100


def test_records(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "VIDEOS", 35)
    monkeypatch.setattr(records, "LISTED", 2)
    monkeypatch.setattr(records, "ROUNDS", 1)
    seconds, sizes = records.measure(tmp_path)
    # 2 streams · 35 videos · 100 units · 1024 values: 4 bytes each and a header, or 2 bytes.
    assert 28_672_000 < sizes["npy"] < 28_690_000
    for name in ("records", "npy_float16", "hdf5"):
        assert 14_336_000 < sizes[name] < 14_600_000
    for name in ("tfds", "float_lists"):
        assert 28_672_000 < sizes[name] < 29_000_000
    assert all(value > 0 for taken in seconds.values() for value in taken)
    rows = records.report(seconds, sizes).splitlines()
    assert rows[2].startswith("| records (float16) | 0.50 | 1.00 | 1.00 |")


def test_waiting_for_input(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "VIDEOS", 2)
    split = training.write_data(tmp_path)
    assert split.ids == ["video_0000", "video_0001"]
    share, ready, steps = training.measure_waiting(split, "pyramid", 1)
    assert steps > 0 and 0 < share < 1 and 0 < ready < 1


def test_a_profile_names_the_products():
    found = {kind: number for kind, _, number in training.profile("pyramid", steps=2)}
    products = [number for kind, number in found.items() if kind.endswith("MatMul")]
    assert sum(products) >= 8  # of four levels, forward and backward


def test_a_ratio_is_of_rounds():
    # 1/2, 2/2, 6/4: the median is 1, the quartiles are between.
    assert training.ratio(np.array([1, 2, 6]), np.array([2, 2, 4])) == "1.00 (0.75-1.25)"


def test_workers(tmp_path, monkeypatch):
    small = ["cascade.filters=4", "cascade.units=20", *workers.SETTINGS]
    for name, value in {"BATCH": 1, "SETTINGS": small}.items():
        monkeypatch.setattr(workers, name, value)
    training.write_data(tmp_path, 2)
    assert workers.measure(tmp_path, tmp_path / "model", 1) > 0


def test_encoding(tmp_path, monkeypatch):
    pytest.importorskip("av")
    pytest.importorskip("cv2")
    from cpmn_tf.encoding.decoding import VideoFile
    from experiments.benchmarks import encoding

    monkeypatch.setattr(encoding, "SECONDS", 2)
    monkeypatch.setattr(encoding, "ROUNDS", 1)
    path = encoding.write_video(tmp_path, 4)
    with VideoFile(path) as video:
        assert sum(1 for _ in video.ticks()) == 100
        assert (video.duration, video.repeated, video.skipped, video.notes()) == (4, 0, 0, [])
    figures = encoding.measure_speed(path, 56)
    assert all(value > 0 for value in figures.values())
    seconds, used = encoding.peak(str(path), 56)
    assert seconds > 0 and used > 50


def test_large_sets(tmp_path):
    large_sets.write_set(tmp_path, 30)
    assert len(list(tmp_path.glob("*.tfrecord"))) == 3
    videos, seconds, memory = large_sets.start(str(tmp_path))
    assert videos == 30 and seconds > 0 and memory >= 0
