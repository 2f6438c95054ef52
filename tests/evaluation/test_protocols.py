"""Both protocols against plain references, and what must hold for any input."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import evaluate, parse_tiou
from cpmn_tf.evaluation.activitynet import ACTIVITYNET
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

CLASSES = ("jump", "run")
TIOU = (0.25, 0.5, 1.0)
PROTOCOLS = ("activitynet", "thumos14")

# Few distinct times and scores, so that ties of every kind are common.
moments = st.integers(0, 6)
segments = st.tuples(moments, moments).map(sorted).map(tuple)
rows = st.tuples(
    st.sampled_from(["a", "b", "c", "elsewhere"]),
    st.sampled_from(CLASSES),
    segments,
    st.sampled_from([-1.0, 0.5, 0.75, 3.0]),
)
truths = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(CLASSES), segments),
    min_size=1,
    max_size=10,
)
intervals = st.lists(st.tuples(st.sampled_from("abc"), segments), max_size=2)


def annotations_of(truth, ambiguous=()):
    videos = {}
    for name in "abc":
        videos[name] = Video(
            id=name,
            subset="test",
            instances=tuple(
                Instance(float(start), float(end), label)
                for video, label, (start, end) in truth
                if video == name
            ),
            ambiguous=tuple(
                (float(start), float(end)) for video, (start, end) in ambiguous if video == name
            ),
        )
    return Annotations(videos, CLASSES)


def detections_of(found):
    return Detections.from_rows(
        (),
        [
            (video, label, float(start), float(end), score)
            for video, label, (start, end), score in found
        ],
    )


def tiou_of(first, second):
    shared = min(first[1], second[1]) - max(first[0], second[0])
    union = max(first[1], second[1]) - min(first[0], second[0])
    return shared / union if shared > 0 else 0.0


def ordered(truth, found, label, order):
    """A class's instances, (video, segment), and detections, (−score, video, segment)."""
    instances = [(video, segment) for video, name, segment in truth if name == label]
    ranking = [(-score, video, segment) for video, name, segment, score in found if name == label]
    if order == "sorted":
        return sorted(instances), sorted(ranking)
    return sorted(instances, key=lambda row: row[0]), sorted(ranking, key=lambda row: row[:2])


def reference_activitynet(truth, found, label, threshold, order="sorted"):
    """ActivityNet's loop in plain Python: (row, hit) in the order of the ranking."""
    instances, ranking = ordered(truth, found, label, order)
    taken, hits = set(), []
    for _, video, segment in ranking:

        def overlap(number, video=video, segment=segment):
            other_video, other = instances[number]
            if other_video != video:
                return 0.0
            if segment[0] == segment[1] and other[0] == other[1]:
                return float("inf")  # ActivityNet's 0/0
            return tiou_of(segment, other)

        order = sorted(range(len(instances)), key=lambda n: (-overlap(n), -n))
        best = next((n for n in order if n not in taken and overlap(n) >= threshold), None)
        hits.append(best is not None)
        taken.add(best)
    return list(zip(ranking, hits, strict=True)), len(instances)


def reference_thumos14(truth, ambiguous, found, label, threshold, order="sorted"):
    """The toolkit's loops in plain Python; excused detections are left out."""
    instances, ranking = ordered(truth, found, label, order)
    free = [True] * len(ranking)
    for video, segment in instances:
        best, best_overlap = None, 0.0
        for number, (_, other_video, other) in enumerate(ranking):
            overlap = tiou_of(segment, other)
            if free[number] and other_video == video and overlap > best_overlap:
                best, best_overlap = number, overlap
        if best is not None and best_overlap > threshold:
            free[best] = False
    hits = []
    for number, (_, video, segment) in enumerate(ranking):
        excused = any(
            other_video == video and tiou_of(segment, other) > 0 for other_video, other in ambiguous
        )
        if not free[number] or not excused:
            hits.append((ranking[number], not free[number]))
    return hits, len(instances)


def reference(protocol, truth, ambiguous, found, label, threshold, order="sorted"):
    """((−score, video, segment), hit) by rank, and the number of instances."""
    if protocol == "activitynet":
        return reference_activitynet(truth, found, label, threshold, order)
    return reference_thumos14(truth, ambiguous, found, label, threshold, order)


def reference_ap(ranked, total, interpolated):
    hits = [hit for _, hit in ranked]
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    if interpolated:
        precision = [max(precision[n:]) for n in range(len(hits))]
    return sum(value for value, hit in zip(precision, hits, strict=True) if hit) / total


@settings(max_examples=300, deadline=None)
@given(
    truth=truths,
    ambiguous=intervals,
    found=st.lists(rows, max_size=14),
    order=st.sampled_from(["sorted", "file"]),
    drop=st.booleans(),
)
def test_both_protocols_equal_plain_references(truth, ambiguous, found, order, drop):
    annotations, detections = annotations_of(truth, ambiguous), detections_of(found)
    for protocol in PROTOCOLS:
        options = {"order": order, "drop_duplicates": drop}
        result = evaluate(annotations, detections, protocol=protocol, tiou=TIOU, **options)
        once = list(dict.fromkeys(truth))
        counts = result.counts
        twice = len(truth) - len(once)
        assert (counts.repeated_instances, counts.dropped_instances) == (
            (0, twice) if drop else (twice, 0)
        )
        assert set(result.per_class) == {label for _, label, _ in truth}
        for label, values in result.per_class.items():
            for value, threshold in zip(values, TIOU, strict=True):
                about = (once if drop else truth, ambiguous, found, label, threshold, order)
                hits, total = reference(protocol, *about)
                expected = reference_ap(hits, total, protocol == "activitynet")
                assert value == pytest.approx(expected, abs=1e-12)
        rows = np.array(list(result.per_class.values()))
        np.testing.assert_allclose(result.map, rows.mean(axis=0))
        assert result.average_map == pytest.approx(rows.mean())


@settings(max_examples=60, deadline=None)
@given(
    truth=truths,
    ambiguous=intervals,
    found=st.lists(rows, max_size=14),
    data=st.data(),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_shuffling_the_input_changes_nothing(truth, ambiguous, found, data, protocol):
    first = evaluate(
        annotations_of(truth, ambiguous), detections_of(found), protocol=protocol, tiou=TIOU
    )
    shuffled = annotations_of(
        data.draw(st.permutations(truth)), data.draw(st.permutations(ambiguous))
    )
    shuffled = Annotations(dict(reversed(shuffled.videos.items())), CLASSES)
    second = evaluate(
        shuffled, detections_of(data.draw(st.permutations(found))), protocol=protocol, tiou=TIOU
    )
    assert first.counts == second.counts
    for label, values in first.per_class.items():
        np.testing.assert_array_equal(values, second.per_class[label])


@settings(max_examples=60, deadline=None)
@given(truth=truths, found=st.lists(rows, max_size=14), protocol=st.sampled_from(PROTOCOLS))
def test_doubling_all_scores_changes_nothing(truth, found, protocol):
    annotations, detections = annotations_of(truth), detections_of(found)
    doubled = dataclasses.replace(detections, score=2 * detections.score)
    first = evaluate(annotations, detections, protocol=protocol, tiou=TIOU)
    second = evaluate(annotations, doubled, protocol=protocol, tiou=TIOU)
    np.testing.assert_array_equal(first.map, second.map)


@settings(max_examples=100, deadline=None)
@given(
    truth=truths,
    ambiguous=intervals,
    found=st.lists(rows, min_size=1, max_size=14),
    data=st.data(),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_removing_a_false_positive_never_lowers_ap(truth, ambiguous, found, data, protocol):
    video, label, segment, score = removed = data.draw(st.sampled_from(found))
    rest = list(found)
    rest.remove(removed)
    annotations = annotations_of(truth, ambiguous)
    before = evaluate(annotations, detections_of(found), protocol=protocol, tiou=TIOU)
    after = evaluate(annotations, detections_of(rest), protocol=protocol, tiou=TIOU)
    for place, threshold in enumerate(TIOU):
        ranked, _ = reference(protocol, truth, ambiguous, found, label, threshold)
        if ((-score, video, segment), False) in ranked and label in before.per_class:
            assert after.per_class[label][place] >= before.per_class[label][place] - 1e-12


@settings(max_examples=60, deadline=None)
@given(truth=truths, ambiguous=intervals, protocol=st.sampled_from(PROTOCOLS))
def test_truth_as_detections_gives_one(truth, ambiguous, protocol):
    if protocol == "thumos14":  # its zero-length segments overlap nothing, not even themselves
        truth = [row for row in truth if row[2][0] < row[2][1]] or [("a", "jump", (0, 1))]
    tiou = (0.5, 0.99)
    found = [(video, label, segment, 1.0) for video, label, segment in truth]
    result = evaluate(
        annotations_of(truth, ambiguous), detections_of(found), protocol=protocol, tiou=tiou
    )
    np.testing.assert_array_equal(result.map, 1.0)


def test_many_instances_and_detections_equal_the_references():
    """Long chains of displaced detections, groups beyond 16 instances, several blocks of pairs."""
    generator = np.random.default_rng(7)

    def draw(number):
        start = generator.uniform(0, 100, number)
        return list(zip(start, start + generator.uniform(1, 30, number), strict=True))

    truth = [("a", "jump", segment) for segment in draw(60)]
    found = [("a", "jump", segment, float(generator.random())) for segment in draw(400)]
    for protocol in PROTOCOLS:
        result = evaluate(annotations_of(truth), detections_of(found), protocol=protocol, tiou=TIOU)
        for value, threshold in zip(result.map, TIOU, strict=True):
            hits, total = reference(protocol, truth, [], found, "jump", threshold)
            assert value == pytest.approx(reference_ap(hits, total, protocol == "activitynet"))


def test_small_blocks_and_a_sparse_table_change_nothing(monkeypatch):
    from cpmn_tf.evaluation import overlap

    truth = [("a", "jump", (n, n + 2)) for n in range(20)]
    found = [("a", "jump", (n, n + 3), n / 7 % 1) for n in range(20)]
    first = evaluate(annotations_of(truth), detections_of(found), protocol="thumos14", tiou=TIOU)
    monkeypatch.setattr(overlap, "_PAIRS", 3)
    monkeypatch.setattr(overlap, "_TABLE", -1)
    second = evaluate(annotations_of(truth), detections_of(found), protocol="thumos14", tiou=TIOU)
    np.testing.assert_array_equal(first.map, second.map)


def test_nothing_found_is_zero_and_nothing_to_find_is_an_error():
    result = evaluate(
        annotations_of([("a", "run", (0, 1))]), detections_of([]), protocol="thumos14", tiou=TIOU
    )
    assert result.map.tolist() == [0.0, 0.0, 0.0]
    assert result.counts.videos_without_detections == 3
    with pytest.raises(UserError, match="no instance"):
        evaluate(annotations_of([]), detections_of([]), protocol="thumos14")


def test_arguments_are_checked():
    annotations, detections = annotations_of([("a", "run", (0, 1))]), detections_of([])
    with pytest.raises(UserError, match=r"'coco' is not one of activitynet, thumos14"):
        evaluate(annotations, detections, protocol="coco")
    for wrong in ([], [0.0], [1.1], [float("nan")], [0.5, 0.5]):
        with pytest.raises(UserError, match="tIoU"):
            evaluate(annotations, detections, protocol="thumos14", tiou=wrong)
    with pytest.raises(UserError, match=r"'train'; there are: test"):
        annotations.subset("train")
    broken = detections_of([("a", "run", (0, 1), float("nan"))])
    with pytest.raises(UserError, match="score is not a finite"):
        evaluate(annotations, broken, protocol="thumos14")


def test_thresholds_are_free_of_float_drift():
    assert parse_tiou("0.1:0.1:0.7") == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert parse_tiou("0.5:0.05:0.95")[-1] == 0.95 and len(parse_tiou("0.5:0.05:0.95")) == 10
    assert parse_tiou(" 0.5, 0.75,") == (0.5, 0.75)
    result = evaluate(
        annotations_of([("a", "run", (0, 10))]),
        detections_of([("a", "run", (0, 3), 1.0)]),  # 3/10 reaches 0.3, not 0.30000000000000004
        protocol="activitynet",
        tiou=np.linspace(0.1, 0.7, 7),
    )
    assert result.tiou[2] == 0.3
    assert result.map.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    for wrong in ("0.1:0.1", "a", "0:0.1:1", "0.5:0:0.9", "0.5:1e-9:0.9", "0.9:0.1:0.5", "nan", ""):
        with pytest.raises(UserError, match="--tiou="):
            parse_tiou(wrong)


def test_a_protocol_of_your_own_is_judged_by():
    """ActivityNet's rules with plain AP: ranks F T T of 2 are worth (1/2 + 2/3)/2, not 2/3."""
    own = dataclasses.replace(ACTIVITYNET, name="plain", interpolated=False)
    truth = annotations_of([("a", "run", (0, 2)), ("a", "run", (4, 6))])
    found = [("a", "run", (0, 2), 1.0), ("a", "run", (4, 6), 0.5), ("b", "run", (0, 1), 2.0)]
    result = evaluate(truth, detections_of(found), protocol=own, tiou=TIOU)
    assert result.protocol == "plain" and result.map == pytest.approx([7 / 12] * 3)
    result = evaluate(truth, detections_of(found), protocol=ACTIVITYNET, tiou=TIOU)
    assert result.map == pytest.approx([2 / 3] * 3)


def test_a_result_prints_as_a_table():
    truth = annotations_of([("a", "run", (0, 2)), ("a", "jump", (4, 6))])
    result = evaluate(
        truth, detections_of([("a", "run", (0, 1), 1.0)]), protocol="activitynet", tiou=TIOU
    )
    assert str(result).splitlines() == [
        "mAP [%] at tIoU   0.25    0.5     1  average",
        "activitynet      50.00  50.00  0.00    33.33",
        "3 videos, 2 instances of 2 classes; 1 detection",
        "note         1 class without detections, with an AP of 0",
    ]
