"""Hand-computed cases, one per rule in which the two protocols differ or could be misread."""

import dataclasses

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import evaluate
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections


def ap(truth, found, *, ambiguous=(), tiou=0.5, label="run", **options):
    """(activitynet, thumos14) AP of one class.

    Args:
      truth: (start, end) in video a, or (video, label, start, end).
      found: (start, end, score) in video a, or (video, label, start, end, score).
      ambiguous: intervals of video a.
      tiou: threshold.
      label: the class.
      **options: of `evaluate`.
    """
    truth = [("a", "run", *row) if len(row) == 2 else row for row in truth]
    found = [("a", "run", *row) if len(row) == 3 else row for row in found]
    videos = {
        name: Video(
            id=name,
            subset="test",
            instances=tuple(Instance(*row[2:], row[1]) for row in truth if row[0] == name),
            ambiguous=tuple(ambiguous) if name == "a" else (),
        )
        for name in "ab"
    }
    annotations = Annotations(videos, ("jump", "run"))
    detections = Detections.from_rows((), found)
    results = (
        evaluate(annotations, detections, protocol=protocol, tiou=[tiou], **options)
        for protocol in ("activitynet", "thumos14")
    )
    return tuple(float(result.per_class[label][0]) for result in results)


def test_overlap_equal_to_the_threshold():
    # I = 5 s of U = 10 s: tIoU is 0.5 exactly, which ≥ 0.5 admits and > 0.5 does not.
    assert ap([(0.0, 10.0)], [(0.0, 5.0, 1.0)]) == (1.0, 0.0)


def test_matching_by_score_or_by_overlap():
    # tIoU 0.6 with score 0.9, tIoU 1.0 with score 0.1; one instance.
    # activitynet: the first takes it: precision 1 at recall 1. thumos14: the instance takes the
    # second: ranks F, T: precision 1/2.
    assert ap([(0.0, 10.0)], [(0.0, 6.0, 0.9), (0.0, 10.0, 0.1)]) == (1.0, 0.5)


def test_interpolation():
    # Ranks T F T T over 4 instances: precision at the hits 1, 2/3, 3/4.
    # Interpolated: 1, 3/4, 3/4 -> (1 + 3/4 + 3/4)/4 = 0.625; plain: (1 + 2/3 + 3/4)/4.
    truth = [(0.0, 10.0), (20.0, 30.0), (40.0, 50.0), (60.0, 70.0)]
    found = [(0.0, 10.0, 0.9), (80.0, 90.0, 0.8), (20.0, 30.0, 0.7), (40.0, 50.0, 0.6)]
    assert ap(truth, found) == pytest.approx((0.625, (1 + 2 / 3 + 3 / 4) / 4))


def test_ambiguous_intervals():
    # Ranks F T; the false positive shares 1 s with an ambiguous interval: thumos14 drops it.
    found = [(20.0, 30.0, 0.9), (0.0, 10.0, 0.8)]
    assert ap([(0.0, 10.0)], found, ambiguous=[(29.0, 40.0)]) == (0.5, 1.0)
    # Touching in a point is not sharing time.
    assert ap([(0.0, 10.0)], found, ambiguous=[(30.0, 40.0)]) == (0.5, 0.5)
    # A true positive inside an ambiguous interval stays one.
    assert ap([(0.0, 10.0)], found, ambiguous=[(0.0, 40.0)]) == (0.5, 1.0)
    # Another video's interval excuses nothing.
    elsewhere = [("b", "run", 20.0, 30.0, 0.9), ("a", "run", 0.0, 10.0, 0.8)]
    assert ap([(0.0, 10.0)], elsewhere, ambiguous=[(29.0, 40.0)]) == (0.5, 0.5)


def test_duplicate_detections():
    # The second of two equal detections is a false positive, after the hit: it costs nothing here…
    twice = [(0.0, 10.0, 0.9), (0.0, 10.0, 0.8)]
    assert ap([(0.0, 10.0)], twice) == (1.0, 1.0)
    # …and here half of the second instance's precision: ranks T F T, (1 + 2/3)/2.
    found = [*twice, (20.0, 30.0, 0.7)]
    assert ap([(0.0, 10.0), (20.0, 30.0)], found) == pytest.approx((5 / 6, 5 / 6))


def test_duplicate_instances():
    # Both want to be found: one detection gives recall 1/2, two give 1.
    truth = [(0.0, 10.0), (0.0, 10.0)]
    assert ap(truth, [(0.0, 10.0, 0.9)]) == (0.5, 0.5)
    assert ap(truth, [(0.0, 10.0, 0.9), (0.0, 9.0, 0.8)]) == (1.0, 1.0)


def test_near_duplicates_are_left_out_on_request():
    # 0.4 ms apart; 10 ms and a bit are not the same.
    truth = [(0.0, 10.0), (0.0004, 9.9996)]
    assert ap(truth, [(0.0, 10.0, 0.9)]) == (0.5, 0.5)
    assert ap(truth, [(0.0, 10.0, 0.9)], drop_duplicates=True) == (1.0, 1.0)
    assert ap([(0.0, 10.0), (0.011, 10.0)], [(0.0, 10.0, 0.9)], drop_duplicates=True) == (0.5, 0.5)
    # Of another class or in another video is another instance, whatever the order of the file.
    more = [
        ("a", "jump", 0.0, 10.0),
        ("b", "run", 0.0, 10.0),
        *(("a", "run", *row) for row in truth),
    ]
    found = [("a", "run", 0.0, 10.0, 0.9)]
    for order in ("sorted", "file"):
        assert ap(more, found, drop_duplicates=True, order=order) == (0.5, 0.5)


def test_the_order_of_instances():
    # thumos14: (1, 5) has a tIoU of 3/5 with both instances, (3, 7) with (2, 6) only. Sorted,
    # (0, 4) takes (1, 5) and (2, 6) takes (3, 7): T T. In the file (2, 6) is first and takes the
    # better scored, which leaves (0, 4) nothing: T F.
    truth, found = [(2.0, 6.0), (0.0, 4.0)], [(1.0, 5.0, 0.9), (3.0, 7.0, 0.8)]
    assert ap(truth, found)[1] == ap(truth[::-1], found, order="file")[1] == 1.0
    assert ap(truth, found, order="file")[1] == 0.5
    # activitynet: (0, 10) has a tIoU of 0.4 with both and takes the later: sorted that is (6, 10),
    # T F T; in this file (0, 4), T T F.
    truth, found = [(6.0, 10.0), (0.0, 4.0)], [(0.0, 10.0, 0.9), (6.0, 10.0, 0.8), (0.0, 4.0, 0.7)]
    assert ap(truth, found, tiou=0.3)[0] == pytest.approx(5 / 6)
    assert ap(truth, found, tiou=0.3, order="file")[0] == 1.0


def test_the_order_of_detections_of_one_score():
    # Sorted, (0, 10) is before (20, 30): T F; in the file after it: F T. Videos are in the order of
    # their names either way, as the toolkit has them.
    found = [(20.0, 30.0, 1.0), (0.0, 10.0, 1.0)]
    assert ap([(0.0, 10.0)], found) == (1.0, 1.0)
    assert ap([(0.0, 10.0)], found, order="file") == (0.5, 0.5)
    elsewhere = [("b", "run", 0.0, 10.0, 1.0), ("a", "run", 0.0, 10.0, 1.0)]
    assert ap([(0.0, 10.0)], elsewhere, order="file") == (1.0, 1.0)
    with pytest.raises(UserError, match="`order=random` is none of sorted, file"):
        ap([(0.0, 10.0)], found, order="random")


def test_ties_in_score_go_by_video_then_start():
    # All score 1: canonical order is a (0, 10) T, a (20, 30) F, b (0, 10) T: 1 and 2/3 over 2.
    truth = [("a", "run", 0.0, 10.0), ("b", "run", 0.0, 10.0)]
    found = [
        ("b", "run", 0.0, 10.0, 1.0),
        ("a", "run", 20.0, 30.0, 1.0),
        ("a", "run", 0.0, 10.0, 1.0),
    ]
    assert ap(truth, found) == pytest.approx((5 / 6, 5 / 6))
    assert ap(truth, found[::-1]) == pytest.approx((5 / 6, 5 / 6))
    # A tied detection that starts earlier ranks before the hit: F T.
    assert ap([(20.0, 30.0)], [(20.0, 30.0, 1.0), (0.0, 10.0, 1.0)]) == (0.5, 0.5)


def test_ties_in_overlap():
    # Both instances lie in (0, 10) with tIoU 0.4. activitynet takes the later, so that (6, 10)
    # finds nothing free: ranks T F T over 2 instances, (1 + 2/3)/2.
    # thumos14: both instances take their exact detections: F T T, (1/2 + 2/3)/2.
    truth = [(0.0, 4.0), (6.0, 10.0)]
    found = [(0.0, 10.0, 0.9), (6.0, 10.0, 0.8), (0.0, 4.0, 0.7)]
    assert ap(truth, found, tiou=0.3) == pytest.approx((5 / 6, 7 / 12))
    # An instance with two equally good detections takes the one with the higher score: T F.
    assert ap([(4.0, 6.0)], [(3.0, 6.0, 0.1), (4.0, 7.0, 0.9)], tiou=0.3) == (1.0, 1.0)


def test_ties_in_overlap_among_many_instances():
    # Twenty instances of 1 s in (0, 20): tIoU 0.05 each. NumPy's quicksort of 20 equal numbers,
    # reversed as ActivityNet does, gives 19, 18, 1, 2, …: three long detections take these.
    # Then (1, 2) finds its instance taken and (17, 18) finds its own free: T T T F T of 20,
    # interpolated (3 + 4/5)/20. thumos14: every instance takes what fits it best, 1 and 17 the
    # short ones, three others a long one each: T T T T T of 20.
    truth = [(float(second), second + 1.0) for second in range(20)]
    found = [
        (0.0, 20.0, 0.9),
        (0.0, 20.0, 0.8),
        (0.0, 20.0, 0.7),
        (1.0, 2.0, 0.6),
        (17.0, 18.0, 0.5),
    ]
    assert ap(truth, found, tiou=0.04) == pytest.approx((3.8 / 20, 5 / 20))


def test_videos_without_truth():
    # b has no instance, c is not even in the annotations: F F T in both protocols.
    found = [
        ("b", "run", 0.0, 10.0, 0.9),
        ("c", "run", 0.0, 10.0, 0.8),
        ("a", "run", 0.0, 10.0, 0.7),
    ]
    assert ap([(0.0, 10.0)], found) == pytest.approx((1 / 3, 1 / 3))


def test_classes_without_detections_count_as_zero():
    videos = {"a": Video("a", "test", instances=(Instance(0, 1, "jump"), Instance(2, 3, "run")))}
    annotations = Annotations(videos, ("jump", "run", "swim"))
    detections = Detections.from_rows((), [("a", "run", 2.0, 3.0, 1.0)])
    for protocol in ("activitynet", "thumos14"):
        result = evaluate(annotations, detections, protocol=protocol, tiou=[0.5])
        assert result.map.tolist() == [0.5]  # jump 0, run 1; swim has no truth and no say
        assert list(result.per_class) == ["jump", "run"]
        assert result.counts.classes_without_detections == 1


def test_detections_of_classes_without_truth_are_left_out():
    found = [("a", "jump", 0.0, 10.0, 2.0), ("a", "run", 0.0, 10.0, 1.0)]
    assert ap([(0.0, 10.0)], found) == (1.0, 1.0)


def test_zero_length_segments():
    # A detection of zero length overlaps an instance of some length by 0: F T.
    assert ap([(0.0, 10.0)], [(5.0, 5.0, 0.9), (0.0, 10.0, 0.8)]) == (0.5, 0.5)
    # Two zero-length segments divide 0 by 0: ActivityNet's NaN passes, wherever they lie; the
    # toolkit's overlap is 0.
    assert ap([(5.0, 5.0)], [(5.0, 5.0, 0.9)]) == (1.0, 0.0)
    assert ap([(5.0, 5.0)], [(7.0, 7.0, 0.9)]) == (1.0, 0.0)


def test_counts():
    videos = {
        "a": Video("a", "test", instances=(Instance(0, 1, "run"), Instance(3, 3, "run"))),
        "b": Video("b", "test", ambiguous=((0.0, 1.0),)),
        "c": Video("c", "training", instances=(Instance(0, 1, "jump"),)),
    }
    rows = [
        ("a", "run", 0.0, 1.0, 1.0),
        ("c", "run", 0.0, 1.0, 1.0),
        ("d", "run", 0.0, 1.0, 1.0),
        ("d", "jump", 0.0, 1.0, 1.0),
    ]
    counts = evaluate(
        Annotations(videos, ("jump", "run")).subset("test"),
        Detections.from_rows(("a", "b"), rows),
        protocol="thumos14",
    ).counts
    assert all(type(number) is int for number in dataclasses.astuple(counts))  # as JSON needs them
    assert (counts.videos, counts.instances, counts.classes, counts.detections) == (2, 2, 1, 3)
    assert counts.videos_without_detections == 1
    assert (counts.unlisted_videos, counts.unlisted_detections) == (2, 2)
    assert counts.unscored_detections == 1
    assert (counts.zero_length_instances, counts.ambiguous_intervals) == (1, 1)
