"""Kinds of errors by hand, bootstrap against evaluation of the drawn videos, sensitivity."""

import dataclasses
import json

import numpy as np
import pytest

from cpmn_tf.analysis.bootstrap import bootstrap_map, draws, interval
from cpmn_tf.analysis.diagnosis import analyze
from cpmn_tf.analysis.error_kinds import KINDS, error_profile, kinds_of
from cpmn_tf.analysis.report import analysis_json
from cpmn_tf.analysis.sensitivity import sensitivities
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import evaluate
from cpmn_tf.evaluation.canonical import prepare
from cpmn_tf.evaluation.protocols import PROTOCOLS
from cpmn_tf.formats.annotations import Annotations, Detections, Instance, Video

TIOU = (0.3, 0.5)


def random_data(seed, videos=12, detections=150):
    """Videos with instances of two classes and ambiguous intervals; all scores differ."""
    generator = np.random.default_rng(seed)
    database, rows = {}, []
    for number in range(videos):
        starts = generator.uniform(0, 80, 4)
        database[f"v{number:02d}"] = Video(
            f"v{number:02d}",
            "test",
            instances=tuple(
                Instance(float(start), float(start + length), label)
                for start, length, label in zip(
                    starts, generator.uniform(2, 15, 4), ("run", "jump", "run", "jump"), strict=True
                )
            ),
            ambiguous=((10.0, 14.0),) if number % 3 == 0 else (),
            duration=100.0,
        )
    for _ in range(detections):
        video = database[f"v{generator.integers(videos):02d}"]
        item = video.instances[generator.integers(4)]
        start, end = np.sort(np.array([item.start, item.end]) + generator.normal(0, 3, 2))
        label = ("run", "jump")[generator.integers(2)]
        rows.append((video.id, label, float(start), float(end), float(generator.random())))
    return Annotations(database, ("run", "jump")), Detections.from_rows((), rows)


def matched(annotations, detections, protocol, tiou=TIOU):
    return PROTOCOLS[protocol].match(prepare(annotations, detections), tiou)


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


def test_one_detection_of_each_kind():
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


def test_profile_and_gains_by_hand():
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


def test_what_ambiguity_excuses_is_in_no_profile():
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


def test_a_true_positive_in_an_ambiguous_interval_is_one():
    truth = {"a": Video("a", "t", instances=(Instance(0, 10, "run"),), ambiguous=((5.0, 20.0),))}
    found = Detections.from_rows((), [("a", "run", 0.0, 10.0, 1.0)])
    matching = matched(Annotations(truth, ("run",)), found, "thumos14", (0.5,))
    assert kinds_of(matching).tolist() == [[0]]


def test_background_ends_at_a_tenth():
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


def test_kinds_look_at_the_detections_own_video():
    """Instances stand by class; the kinds need all of one video's."""
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


def test_own_class_counts_where_two_classes_share_a_segment():
    instances = (Instance(0.0, 10.0, "CliffDiving"), Instance(0.0, 10.0, "Diving"))
    truth = Annotations({"a": Video("a", "t", instances=instances)}, ("CliffDiving", "Diving"))
    rows = [("a", label, 0.0, 5.0, 1.0) for label in truth.classes]
    matching = matched(truth, Detections.from_rows((), rows), "activitynet", (0.9,))
    kinds = kinds_of(matching)
    assert (kinds == KINDS.index("localization")).all()


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bootstrap_of_every_video_once_is_the_evaluation(protocol):
    annotations, detections = random_data(1)
    matching = matched(annotations, detections, protocol)
    drawn = bootstrap_map(matching, np.ones((1, 12)))
    expected = evaluate(annotations, detections, protocol=protocol, tiou=TIOU).map
    np.testing.assert_allclose(drawn[0], expected, atol=1e-12)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bootstrap_equals_evaluation_of_the_drawn_videos(protocol):
    annotations, detections = random_data(2)
    generator = np.random.default_rng(3)
    weights = generator.integers(0, 4, 12)
    videos, rows = {}, []
    for (name, video), weight in zip(annotations.videos.items(), weights, strict=True):
        for copy in range(weight):
            videos[f"{name}-{copy}"] = dataclasses.replace(video, id=f"{name}-{copy}")
    for place in range(len(detections)):
        name = detections.videos[detections.video[place]]
        for copy in range(weights[int(name[1:])]):
            label = detections.classes[detections.label[place]]
            times = (detections.start[place], detections.end[place], detections.score[place])
            rows.append((f"{name}-{copy}", label, *map(float, times)))
    drawn = evaluate(
        Annotations(videos, annotations.classes),
        Detections.from_rows((), rows),
        protocol=protocol,
        tiou=TIOU,
    )
    matching = matched(annotations, detections, protocol)
    maps = bootstrap_map(matching, weights[None])
    np.testing.assert_allclose(maps[0], drawn.map, atol=1e-12)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_sample_leaves_out_classes_that_it_has_no_instance_of(protocol):
    videos = {
        "a": Video("a", "t", instances=(Instance(0.0, 10.0, "run"),)),
        "b": Video("b", "t", instances=(Instance(0.0, 10.0, "jump"),)),
    }
    found = Detections.from_rows((), [("a", "run", 0.0, 10.0, 1.0)])
    matching = matched(Annotations(videos, ("jump", "run")), found, protocol)
    weights = np.array([[1, 1], [2, 0], [0, 2]])  # run alone is found, jump alone is not
    maps = bootstrap_map(matching, weights)
    assert maps.tolist() == [[0.5, 0.5], [1.0, 1.0], [0.0, 0.0]]


def test_the_interval_holds_the_middle_95_percent():
    values = np.arange(1001) / 1000
    bounds = interval(np.stack([values, values / 2], axis=1))
    assert bounds.low == pytest.approx([0.025, 0.0125])
    assert bounds.high == pytest.approx([0.975, 0.4875])
    assert (bounds.average_low, bounds.average_high) == pytest.approx((0.01875, 0.73125))


def test_draws_are_as_many_as_videos_and_depend_on_the_seed_alone():
    weights = draws(7, samples=50, seed=1)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, draws(7, samples=50, seed=1))
    assert (weights != draws(7, samples=50, seed=2)).any()


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_one_bin_with_everything_is_everything(protocol, monkeypatch):
    from cpmn_tf.analysis import sensitivity

    one = {name: (0, float("inf")) for name in ("length", "coverage", "instances")}
    monkeypatch.setitem(sensitivity.BOUNDS, "one", one)
    annotations, detections = random_data(4)  # as many instances of both classes: mAP_N is mAP
    matching = matched(annotations, detections, protocol)
    overall, groups = sensitivities(matching, bounds="one")
    plain = evaluate(annotations, detections, protocol=protocol, tiou=TIOU)
    assert overall.map_n == pytest.approx(plain.average_map)
    assert [group.name for group in groups] == ["length", "coverage", "instances"]
    for group in groups:
        assert group.instances == (48,)
        assert group.map_n == pytest.approx([overall.map_n])
        assert group.missed == pytest.approx([overall.missed])


def test_long_instances_found_and_short_ones_missed():
    videos = {
        name: Video(name, "t", instances=(Instance(0.0, 40.0, "run"), Instance(50.0, 51.0, "run")))
        for name in "ab"
    }
    rows = [(name, "run", 0.0, 40.0, 1.0) for name in "ab"]
    matching = matched(Annotations(videos, ("run",)), Detections.from_rows((), rows), "activitynet")
    overall, groups = sensitivities(matching, bounds="activitynet13")
    assert (overall.map_n, overall.missed) == (0.5, 0.5)
    assert [group.name for group in groups] == ["length", "instances"]  # no duration is known
    length = groups[0]
    assert length.bins == ("≤ 30", "30–60", "60–120", "120–180", "> 180")
    assert length.instances == (2, 2, 0, 0, 0)
    np.testing.assert_array_equal(length.map_n, [0, 1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(length.missed, [1, 0, np.nan, np.nan, np.nan])
    assert groups[1].bins == ("1", "2–4", "5–8", "≥ 9")
    assert groups[1].instances == (0, 4, 0, 0)


def test_instances_are_counted_by_class_and_impossible_coverage_is_unknown():
    instances = [Instance(0.0, 5.0, "run"), Instance(6.0, 9.0, "run"), Instance(0.0, 30.0, "jump")]
    truth = {"a": Video("a", "t", instances=tuple(instances), duration=20.0)}
    matching = matched(
        Annotations(truth, ("jump", "run")), Detections.from_rows((), []), "activitynet"
    )
    _, groups = sensitivities(matching, bounds="activitynet13")
    _, coverage, number = groups
    # Coverage 5/20 and 3/20; 30 s of a video of 20 s says that the duration is wrong.
    assert coverage.bins[:2] == ("≤ 20", "20–40") and coverage.instances == (1, 1, 0, 0, 0)
    assert number.instances == (1, 2, 0, 0)  # one jump; two runs in one video


def test_classes_are_normalised_to_the_same_number_of_instances():
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
        overall, _ = sensitivities(matching)
        # N = 2. run: R = 1, so 2 / (2 + misses), of use while over 5 %. jump: R = 1/3 at 1.
        assert overall.map_n == pytest.approx((run_precision + 1 / 3) / 2)
        assert overall.missed == missed


def test_a_hit_deep_in_the_ranking_is_a_miss():
    videos = {"a": Video("a", "t", instances=(Instance(0.0, 1.0, "run"),))}
    rows = [("a", "run", 5.0 + n, 6.0 + n, 2.0) for n in range(30)]
    for early, missed in ((True, 0.0), (False, 1.0)):  # precision 1, or 1/31 < 5 %
        hit = ("a", "run", 0.0, 1.0, 3.0 if early else 1.0)
        matching = matched(
            Annotations(videos, ("run",)), Detections.from_rows((), [*rows, hit]), "thumos14"
        )
        assert sensitivities(matching)[0].missed == missed


def test_fifths_hold_about_a_fifth_each():
    annotations, detections = random_data(5)
    matching = matched(annotations, detections, "activitynet")
    _, groups = sensitivities(matching)
    length = next(group for group in groups if group.name == "length")
    assert len(length.bins) == 5 and sum(length.instances) == 48
    assert min(length.instances) >= 6


def test_few_instances_leave_no_bin_empty():
    instances = (Instance(0.0, 10.0, "run"), Instance(20.0, 28.0, "run"), Instance(1.0, 1.5, "run"))
    truth = Annotations({"a": Video("a", "t", instances=instances, duration=40.0)}, ("run",))
    matching = matched(truth, Detections.from_rows((), []), "activitynet")
    _, groups = sensitivities(matching)
    assert [group.name for group in groups] == ["length", "coverage", "instances"]
    for group in groups:
        assert min(group.instances) > 0 and sum(group.instances) == 3


def test_a_run_does_not_differ_from_itself_and_beats_a_worse_one():
    annotations, detections = random_data(6)
    arguments = {"protocol": "activitynet", "tiou": TIOU, "samples": 50}
    same = analyze(annotations, detections, baseline=detections, **arguments).comparison
    assert same.average_difference == 0
    np.testing.assert_array_equal(same.difference_interval.high, 0)
    noise = np.random.default_rng(0).random(len(detections))
    shuffled = dataclasses.replace(detections, score=noise, end=detections.end + 4)
    analysis = analyze(annotations, detections, baseline=shuffled, **arguments)
    other = analysis.comparison
    np.testing.assert_allclose(other.difference, analysis.evaluation.map - other.baseline.map)
    assert other.difference_interval.average_low > 0
    bounds = analysis.interval
    assert (bounds.low <= bounds.high).all() and bounds.average_low <= bounds.average_high
    assert (bounds.low < analysis.evaluation.map).all()


def test_json_is_strict_and_arguments_are_checked():
    annotations, detections = random_data(7, videos=2, detections=3)
    analysis = analyze(annotations, detections, protocol="thumos14", samples=2)
    json.dumps(analysis_json(analysis), allow_nan=False)
    with pytest.raises(UserError, match="at least 2"):
        analyze(annotations, detections, protocol="thumos14", samples=1)
    with pytest.raises(UserError, match="bins 'coco'"):
        analyze(annotations, detections, protocol="thumos14", bounds="coco")
