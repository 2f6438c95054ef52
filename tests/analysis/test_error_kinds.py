"""Kinds of errors by hand."""

import numpy as np
import pytest

from cpmn_tf.analysis.error_kinds import KINDS, error_profile, kinds_of
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

ONE_OF_EACH = [
    ("a", "run", 0.0, 10.0, 0.9),  # true positive
    ("a", "run", 0.0, 9.0, 0.8),  # tIoU 0.9, taken: double detection
    ("a", "run", 0.0, 3.0, 0.7),  # tIoU 0.3: localization
    ("a", "run", 20.0, 30.0, 0.6),  # is jump: wrong label
    ("a", "run", 20.0, 23.0, 0.5),  # tIoU 0.3 with jump: confusion
    ("a", "run", 50.0, 60.0, 0.4),  # background
    ("b", "run", 0.0, 10.0, 0.3),  # background: another video
    ("a", "run", 40.0, 45.0, 0.2),  # true positive
]
TRUTH = Annotations(
    {
        "a": Video(
            "a",
            "test",
            instances=(
                Instance(0.0, 10.0, "run"),
                Instance(20.0, 30.0, "jump"),
                Instance(40.0, 45.0, "run"),
            ),
            ambiguous=((22.0, 25.0),),
        ),
        "b": Video("b", "test"),
    },
    ("jump", "run"),
)


def test_one_detection_of_each_kind(matched):
    matching = matched(TRUTH, Detections.from_rows((), ONE_OF_EACH), "activitynet", (0.5,))
    kinds = kinds_of(matching)[0]
    assert [KINDS[kind] for kind in kinds] == [
        "true positive",
        "double detection",
        "localization",
        "wrong label",
        "confusion",
        "background",
        "background",
        "true positive",
    ]
    # The thumos14 protocol leaves out what shares time with (22, 25).
    matching = matched(TRUTH, Detections.from_rows((), ONE_OF_EACH), "thumos14", (0.5,))
    kinds = kinds_of(matching)[0]
    assert kinds.tolist() == [0, 1, 2, -1, -1, 5, 5, 0]


def test_profile_and_gains_by_hand(matched):
    matching = matched(TRUTH, Detections.from_rows((), ONE_OF_EACH), "activitynet", (0.5,))
    profile = error_profile(matching)
    # G = 2 for run; jump has no detections. Ranks: T D | L W | C B | B T.
    assert profile.shares[0].tolist() == [0.5, 0.5, 0, 0, 0, 0]
    assert profile.shares[1].tolist() == [0, 0, 0.5, 0.5, 0, 0]
    assert profile.detections.tolist() == [2, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    assert np.isnan(profile.shares[4:]).all()
    # AP of run is (1 + 2/8)/2; without the two background ones (1 + 2/6)/2, without a single one
    # of another kind (1 + 2/7)/2; mAP is half of it, jump having 0.
    assert profile.gains["background"] == pytest.approx((2 / 6 - 2 / 8) / 4)
    for kind in ("double detection", "localization", "wrong label", "confusion"):
        assert profile.gains[kind] == pytest.approx((2 / 7 - 2 / 8) / 4)


def test_what_ambiguity_excuses_is_in_no_profile(matched):
    matching = matched(TRUTH, Detections.from_rows((), ONE_OF_EACH), "thumos14", (0.5,))
    profile = error_profile(matching)
    # Two detections are excused; ranks of the others, G = 2: T D | L B | B T.
    assert profile.detections.tolist() == [2, 2, 2, 0, 0, 0, 0, 0, 0, 0]
    assert profile.shares[:3].tolist() == [
        [0.5, 0.5, 0, 0, 0, 0],
        [0, 0, 0.5, 0, 0, 0.5],
        [0.5, 0, 0, 0, 0, 0.5],
    ]
    # AP of run is (1 + 2/6)/2, without the background (1 + 2/4)/2; jump has 0.
    assert profile.gains["background"] == pytest.approx((2 / 4 - 2 / 6) / 4)
    assert profile.gains["wrong label"] == profile.gains["confusion"] == 0


def test_shares_are_averaged_over_the_thresholds_that_count_such_detections(matched):
    """tIoU 0.5: a true positive at 0.3; at 0.7 ambiguity excuses it, and nothing is counted."""
    truth = {"a": Video("a", "t", instances=(Instance(0, 10, "run"),), ambiguous=((0.0, 5.0),))}
    found = Detections.from_rows((), [("a", "run", 0.0, 5.0, 1.0)])
    matching = matched(Annotations(truth, ("run",)), found, "thumos14", (0.3, 0.7))
    profile = error_profile(matching)
    assert profile.shares[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert profile.detections[0] == 0.5
    assert np.isnan(profile.shares[1:]).all()


def test_a_true_positive_in_an_ambiguous_interval_is_one(matched):
    truth = {"a": Video("a", "t", instances=(Instance(0, 10, "run"),), ambiguous=((5.0, 20.0),))}
    found = Detections.from_rows((), [("a", "run", 0.0, 10.0, 1.0)])
    matching = matched(Annotations(truth, ("run",)), found, "thumos14", (0.5,))
    assert kinds_of(matching).tolist() == [[0]]


def test_background_ends_at_a_tenth(matched):
    truth = {"a": Video("a", "t", instances=(Instance(0, 10, "run"), Instance(50, 60, "jump")))}
    rows = [
        ("a", "run", 0.0, 1.0, 0.9),  # tIoU 0.1 exactly
        ("a", "run", 0.0, 0.9, 0.8),
        ("a", "run", 50.0, 51.0, 0.7),
        ("a", "run", 50.0, 50.9, 0.6),
    ]
    matching = matched(
        Annotations(truth, ("run", "jump")), Detections.from_rows((), rows), "activitynet", (0.5,)
    )
    kinds = kinds_of(matching)[0]
    assert [KINDS[kind] for kind in kinds] == [
        "localization",
        "background",
        "confusion",
        "background",
    ]


def test_kinds_look_at_the_detections_own_video(matched):
    """Instances are ordered by class; the kinds need all of one video's."""
    truth = {
        name: Video(name, "t", instances=(Instance(at, at + 10, "run"), Instance(40, 50, "jump")))
        for name, at in (("a", 0.0), ("b", 100.0), ("c", 200.0))
    }
    rows = [(name, "run", 40.0, 50.0, 0.5) for name in "abc"]
    rows += [
        (name, "jump", at + 1, at + 11, 0.4) for name, at in zip("abc", (0, 100, 0), strict=True)
    ]
    matching = matched(
        Annotations(truth, ("jump", "run")), Detections.from_rows((), rows), "activitynet", (0.5,)
    )
    kinds = kinds_of(matching)[0]
    # jump: on a's and b's run, and in c where there is nothing; run: three times on a jump.
    assert [KINDS[kind] for kind in kinds] == ["wrong label"] * 2 + ["background"] + [
        "wrong label"
    ] * 3


def test_own_class_counts_where_two_classes_share_a_segment(matched):
    instances = (Instance(0.0, 10.0, "CliffDiving"), Instance(0.0, 10.0, "Diving"))
    truth = Annotations({"a": Video("a", "t", instances=instances)}, ("CliffDiving", "Diving"))
    rows = [("a", label, 0.0, 5.0, 1.0) for label in truth.classes]
    matching = matched(truth, Detections.from_rows((), rows), "activitynet", (0.9,))
    kinds = kinds_of(matching)
    assert (kinds == KINDS.index("localization")).all()
