"""What all videos together show: settings that are off, and by which factor."""

import numpy as np
import pytest

from cpmn_tf.formats.annotations import Annotations, Instance, Video
from tfrecords_tools.checks import Checker
from tfrecords_tools.findings import Findings


def test_by_which_factor_fps_is_off():
    """I3D at 25 frames per second, read as if at 30: units last 30/25 = 1.2 times as long."""
    checker = Checker()
    rng = np.random.default_rng(0)
    for number in range(9):
        known = Video(id=f"v{number}", subset="training", labels=("run",), duration=64.0)
        features = {"rgb": rng.normal(size=(100, 4)).astype(np.float32)}  # 100 · 16 / 25 = 64
        checker.video(known, 30 / 16, features)
    checker.finish(Annotations({}, ()), "training")
    (item,) = checker.findings.to_json()
    assert item["kind"] == "rate"
    assert item["findings"][0]["message"].startswith("units are 1.2 times as long as")


def untimed(count, outside, rate=2.0) -> Findings:
    """Videos without durations: 50 units at 2 per second last 25 s, ``outside`` show 30 s."""
    checker = Checker()
    rng = np.random.default_rng(0)
    for number in range(count):
        end = 30.0 if number < outside else 20.0
        known = Video(
            id=f"v{number}",
            subset="training",
            labels=("run",),
            instances=(Instance(1.0, end, "run"),),
            duration=25.0 if number % 2 else None,  # as records have it that had none
        )
        checker.video(known, rate, {"rgb": rng.normal(size=(50, 4))})
    checker.finish(Annotations({}, ()), "training")
    return checker.findings


@pytest.mark.parametrize(("outside", "wrong"), [(2, False), (3, True), (8, True)])
def test_factor_without_durations(outside, wrong):
    """BaS-Net's gt.json has none: segments tell that units are too short (30 / 25 = 1.2)."""
    found = {item["kind"]: item for item in untimed(8, outside).to_json()}
    assert found["outside"]["count"] == outside and ("rate" in found) == wrong
    if wrong:
        assert found["rate"]["count"] == outside
        first, second = (found["rate"]["findings"][place]["message"] for place in (0, 1))
        assert first.startswith("units are at least 1.2 times as long as `unit_frames` and `fps`")
        assert second == "video 'v1': 50 units last 25.0 s, segments 30.0 s"


def test_few_of_many_segments_outside():
    assert untimed(40, 9).found.keys() == {"outside"}
