"""Points of every study run; their ratios and exponents are worked out right."""

import pytest

from experiments.benchmarks import scaling


def test_ratios_and_exponents():
    points = [(100, 0.5, 4.0), (1000, 5.0, 4.0), (10_000, 500.0, 40.0)]
    # 10 times the time for 10 times as much is 1; 100 times is 2; the same memory is 0.
    assert scaling.rows_of(points) == [
        ["100", "1", "", "1", "", "500 ms, 4 MiB"],
        ["1,000", "10", "1.00", "1", "0.00", "5e+03 ms, 4 MiB"],
        ["10,000", "1e+03", "2.00", "10", "1.00", "5e+05 ms, 40 MiB"],
    ]


@pytest.mark.parametrize(
    "prepare, given",
    [
        (scaling.localize, {"units": 70, "classes": 3}),
        (scaling.evaluate, {"videos": 10, "classes": 3}),
    ],
)
def test_a_point(prepare, given, monkeypatch):
    monkeypatch.setattr(scaling, "REPEATS", 1)
    seconds, peak = scaling.point(prepare, given)
    assert seconds > 0 and peak >= 1


def test_a_study_has_a_process_for_each_point(tmp_path, monkeypatch):
    grown = scaling.opening, "folder", (2, 4), {}
    monkeypatch.setitem(scaling.STUDIES, "open/videos", grown)
    asked = []

    class Pool:
        def __init__(self, number):
            asked.append(number)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def apply(self, function, arguments):
            return function(*arguments)

    context = type("Context", (), {"Pool": Pool})
    monkeypatch.setattr(scaling.multiprocessing, "get_context", lambda kind: context)
    points = scaling.measure("open/videos", tmp_path)
    assert [value for value, _, _ in points] == [2, 4] and asked == [1, 1]
    assert (tmp_path / "4" / "validation-00000-of-00001.tfrecord").exists()
