"""What all videos together show: settings that are off, and by which factor."""

import numpy as np
import pytest

from cpmn_tf.formats.annotations import Annotations, Instance, Video
from tfrecords_tools.checks import Checker, check_segments
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


def looked_at(*videos: dict[str, np.ndarray]) -> Findings:
    """Videos ``v0``, ``v1``, ... of one second per unit, the last in another split."""
    checker = Checker()
    for number, features in enumerate(videos):
        subset = "test" if number == len(videos) - 1 else "training"
        checker.video(Video(id=f"v{number}", subset=subset, labels=("run",)), 1.0, features)
    return checker.findings


def normal(seed: int, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(9, width))


@pytest.mark.parametrize(
    "small",
    [
        {"timestamps": np.arange(9.0)[:, None]},
        {"mask": (np.arange(9) < 7)[:, None] * 1.0, "frame": np.arange(0.0, 144, 16)[:, None]},
        {"all": np.ones((9, 1))},
        {"position": np.cos(np.arange(9)[:, None] / 10.0 ** np.arange(7))},  # 7 of 15 values
    ],
)
def test_what_videos_of_one_length_share_makes_no_copies(small):
    first, last = ({"rgb": normal(seed), **small} for seed in (0, 1))
    assert looked_at(first, last).found == {}
    (found,) = looked_at(first, {**last, "rgb": first["rgb"]}).found["overlap"]
    assert found == ("v1", "video 'v0' of 'training' and 'v1' of 'test' have the same features")


def test_one_of_two_large_streams_makes_a_copy():
    first = {"rgb": normal(0), "flow": normal(1)}
    for name in first:
        assert looked_at(first, {**first, name: normal(2)}).found.keys() == {"overlap"}
    # 8 of 16 values suffice, 7 of 15 do not.
    first["flow"] = first["flow"][:, :7]
    assert looked_at(first, {**first, "rgb": normal(2)}).found == {}


@pytest.mark.parametrize(
    ("features", "kind", "text"),
    [
        ({"rgb": normal(1)}, "streams", "'v1': has rgb, 'v0' rgb and audio; give every video"),
        (
            {"rgb": normal(1), "audio": normal(2), "more": normal(3)},
            "streams",
            "'v1': has rgb and audio and more, 'v0' rgb and audio",
        ),
        (
            {"rgb": normal(1)[:7], "audio": normal(2, 5)[:7]},
            "width",
            "'v1': audio has 5 values per unit, 'v0' 8; encode all videos with one model",
        ),
    ],
)
def test_streams_of_another_video(features, kind, text):
    ((_, message),) = looked_at({"rgb": normal(4), "audio": normal(5)}, features).found[kind]
    assert text in message


def test_streams_that_no_record_can_have(monkeypatch):
    for name, text in (("lengths", "graph cannot call it so"), ("a/b", "is named by up to 64")):
        ((_, message),) = looked_at({name: normal(0)}).found["streams"]
        assert f"stream {name!r}" in message and text in message
    monkeypatch.setattr("cpmn_tf.data.schema.MAX_RECORD", 9 * 8 * 2)
    assert looked_at({"rgb": normal(0)}).found == {}
    ((_, message),) = looked_at({"rgb": normal(0, 9)}).found["length"]
    assert message == "video 'v0': its features take 162 bytes, over 2 GiB; cut the video"
    wide = {"rgb": np.arange(2.0 * (2**20 + 1)).reshape(2, -1)}
    ((_, message),) = looked_at(wide).found["streams"]
    assert message == "stream 'rgb': width 1048577 is not in 1..1048576"


def test_one_unit_for_a_minute():
    checker = Checker()
    rng = np.random.default_rng(0)
    for number, units in enumerate((94, 94, 94, 1)):  # of 16 frames at 25 per second
        known = Video(id=f"v{number}", subset="training", labels=("run",), duration=60.0)
        checker.video(known, 25 / 16, {"rgb": rng.normal(size=(units, 4))})
    checker.finish(Annotations({}, ()), "training")
    text = "video 'v3': 1 units at 1.562 per second last 0.6 s, the video 60.0 s"
    assert checker.findings.found == {"few": [("v3", text)]}


def segmented(factor, duration=60.0):
    """Twelve instances of two seconds, times multiplied by a factor, in a split of two videos."""
    items = tuple(Instance(n * factor, (n + 2) * factor, "run") for n in range(4, 52, 4))
    videos = {
        name: Video(id=name, subset="test", instances=items, duration=duration) for name in "ab"
    }
    training = Video(id="c", subset="training", instances=items[:1] * 200, duration=None)
    return Annotations({**videos, "c": training}, ("run",))


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (30.0, "split 'test': 24 of 24 instances end far after their videos, the last of a video"),
        (1000.0, "one ends at 50000); times must be seconds: divide frames by the video's fps"),
        (1 / 60, "split 'test': all 24 instances end within 1 s, the median video at 60 s; times"),
    ],
)
def test_segments_that_are_not_in_seconds(factor, message):
    """In one split, however few its instances are beside those of the others."""
    findings = Findings()
    check_segments(segmented(factor), [60.0, 60.0], findings.add)
    assert message in findings.found["seconds"][0][1]
    if factor < 1:  # without durations, units say how long the videos are
        findings = Findings()
        check_segments(segmented(factor, None), [60.0, 60.0], findings.add)
        assert message in findings.found["seconds"][0][1]
    findings = Findings()
    check_segments(segmented(1.0), [60.0, 60.0], findings.add)
    text = "video 'c': 199 of 200 instances within 0.01 s of another of their class; "
    assert findings.found == {"twice": [("c", f"{text}remove them")]}
