"""Normalised mAP and misses by groups of instances, by hand."""

import numpy as np
import pytest

from cpmn_tf.analysis.sensitivity import sensitivities
from cpmn_tf.evaluation import evaluate
from cpmn_tf.evaluation.protocols import PROTOCOLS
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

TIOU = (0.3, 0.5)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_one_bin_with_everything_is_everything(protocol, monkeypatch, matched, random_data):
    from cpmn_tf.analysis import sensitivity

    one = {name: (0, float("inf")) for name in ("length", "coverage", "instances")}
    monkeypatch.setitem(sensitivity.BOUNDS, "one", one)
    annotations, detections = random_data(4)  # as many instances of both classes: mAP_N is mAP
    matching = matched(annotations, detections, protocol)
    map_n, missed, groups = sensitivities(matching, bounds="one")
    plain = evaluate(annotations, detections, protocol=protocol, tiou=TIOU)
    assert map_n == pytest.approx(plain.average_map)
    assert [group.name for group in groups] == ["length", "coverage", "instances"]
    for group in groups:
        assert group.instances == (48,)
        assert group.map_n == pytest.approx([map_n])
        assert group.missed == pytest.approx([missed])


def test_long_instances_found_and_short_ones_missed(matched):
    videos = {
        name: Video(name, "t", instances=(Instance(0.0, 40.0, "run"), Instance(50.0, 51.0, "run")))
        for name in "ab"
    }
    rows = [(name, "run", 0.0, 40.0, 1.0) for name in "ab"]
    matching = matched(Annotations(videos, ("run",)), Detections.from_rows((), rows), "activitynet")
    map_n, missed, groups = sensitivities(matching, bounds="activitynet13")
    assert (map_n, missed) == (0.5, 0.5)
    assert [group.name for group in groups] == ["length", "instances"]  # no duration is known
    length = groups[0]
    assert length.bins == ("≤ 30", "30–60", "60–120", "120–180", "> 180")
    assert length.instances == (2, 2, 0, 0, 0)
    np.testing.assert_array_equal(length.map_n, [0, 1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(length.missed, [1, 0, np.nan, np.nan, np.nan])
    assert groups[1].bins == ("1", "2–4", "5–8", "≥ 9")
    assert groups[1].instances == (0, 4, 0, 0)


def test_instances_are_counted_by_class_and_impossible_coverage_is_unknown(matched):
    instances = [Instance(0.0, 5.0, "run"), Instance(6.0, 9.0, "run"), Instance(0.0, 30.0, "jump")]
    truth = {"a": Video("a", "t", instances=tuple(instances), duration=20.0)}
    matching = matched(
        Annotations(truth, ("jump", "run")), Detections.from_rows((), []), "activitynet"
    )
    *_, groups = sensitivities(matching, bounds="activitynet13")
    _, coverage, number = groups
    # Coverage 5/20 and 3/20; 30 s of a video of 20 s says that the duration is wrong.
    assert coverage.bins[:2] == ("≤ 20", "20–40") and coverage.instances == (1, 1, 0, 0, 0)
    assert number.instances == (1, 2, 0, 0)  # one jump; two runs in one video


def test_classes_are_normalised_to_the_same_number_of_instances(matched):
    """Hoiem's normalised precision: R·N / (R·N + F), with recall R, mean number N, F misses."""
    three = tuple(Instance(at, at + 5.0, "jump") for at in (20.0, 30.0, 40.0))
    truth = {"a": Video("a", "t", instances=(Instance(0.0, 10.0, "run"), *three))}
    jump = ("a", "jump", 20.0, 25.0, 1.0)
    for misses, run_precision, missed in (
        (1, 2 / 3, 2 / 4),
        (30, 2 / 32, 2 / 4),
        (40, 2 / 42, 3 / 4),
    ):
        rows = [("a", "run", 50.0 + n, 60.0 + n, 2.0) for n in range(misses)]
        rows += [("a", "run", 0.0, 10.0, 1.0), jump]
        matching = matched(
            Annotations(truth, ("jump", "run")), Detections.from_rows((), rows), "thumos14"
        )
        map_n, share, _ = sensitivities(matching)
        # N = 2. run: R = 1, so 2 / (2 + misses), of use while over 5 %. jump: R = 1/3 at 1.
        assert map_n == pytest.approx((run_precision + 1 / 3) / 2)
        assert share == missed


def test_a_hit_deep_in_the_ranking_is_a_miss(matched):
    videos = {"a": Video("a", "t", instances=(Instance(0.0, 1.0, "run"),))}
    rows = [("a", "run", 5.0 + n, 6.0 + n, 2.0) for n in range(30)]
    for early, missed in ((True, 0.0), (False, 1.0)):  # precision 1, or 1/31 < 5 %
        hit = ("a", "run", 0.0, 1.0, 3.0 if early else 1.0)
        matching = matched(
            Annotations(videos, ("run",)), Detections.from_rows((), [*rows, hit]), "thumos14"
        )
        assert sensitivities(matching)[1] == missed


def test_fifths_hold_about_a_fifth_each(matched, random_data):
    annotations, detections = random_data(5)
    matching = matched(annotations, detections, "activitynet")
    *_, groups = sensitivities(matching)
    length = next(group for group in groups if group.name == "length")
    assert len(length.bins) == 5 and sum(length.instances) == 48
    assert min(length.instances) >= 6


def test_few_instances_leave_no_bin_empty(matched):
    instances = (Instance(0.0, 10.0, "run"), Instance(20.0, 28.0, "run"), Instance(1.0, 1.5, "run"))
    truth = Annotations({"a": Video("a", "t", instances=instances, duration=40.0)}, ("run",))
    matching = matched(truth, Detections.from_rows((), []), "activitynet")
    *_, groups = sensitivities(matching)
    assert [group.name for group in groups] == ["length", "coverage", "instances"]
    for group in groups:
        assert min(group.instances) > 0 and sum(group.instances) == 3
