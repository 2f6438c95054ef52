"""Non-maximum suppression against a plain greedy loop, one item after another."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.localization.suppression import suppress, temporal_iou


def iou(one, two) -> float:
    overlap = max(min(one[1], two[1]) - max(one[0], two[0]), 0.0)
    union = one[1] - one[0] + two[1] - two[0] - overlap
    return overlap / union if union > 0 else 0.0


def greedy(segments, scores, groups, *, method, threshold=0.3, sigma=0.3, min_score=1e-4):
    """Final score of each item, -inf where suppressed; one group and one item at a time."""
    final = [-math.inf] * len(scores)
    for group in set(groups):
        left = {i: float(scores[i]) for i in range(len(scores)) if groups[i] == group}
        if method == "soft":
            left = {i: score for i, score in left.items() if score >= min_score}
        while left:
            best = max(left, key=lambda i: (left[i], -i))
            final[best] = left.pop(best)
            for other in list(left):
                overlap = iou(segments[best], segments[other])
                if method == "hard" and overlap > threshold:
                    del left[other]
                elif method == "soft":
                    left[other] *= math.exp(-(overlap**2) / sigma)
                    if left[other] < min_score:
                        del left[other]
    return final


def suppressed(
    segments, scores, groups=None, *, method="hard", threshold=0.3, **options
) -> list[float]:
    groups = [0] * len(scores) if groups is None else groups
    return (
        suppress(
            tf.reshape(tf.constant(segments, tf.float32), [-1, 2]),
            tf.constant(scores, tf.float32),
            tf.constant(groups, tf.int32),
            tf.constant(max(groups, default=0) + 1),
            LocalizationConfig(nms=method, nms_threshold=threshold),
            **options,
        )
        .numpy()
        .tolist()
    )


def kept(*args, **options) -> list[int]:
    return [i for i, score in enumerate(suppressed(*args, **options)) if score > -math.inf]


def test_tiou_has_no_plus_one():
    others = tf.constant([[0.0, 1.0], [1.0, 2.0], [0.5, 1.5], [0.25, 0.75], [5.0, 6.0]])
    # [0, 1] against [1, 2] only touches; with "+1" as for pixels it would be 1/3.
    # [0.5, 1.5]: 0.5 / 1.5. [0.25, 0.75]: 0.5 / 1.
    ours = temporal_iou(tf.constant([0.0, 1.0]), others)
    np.testing.assert_allclose(ours, [1, 0, 1 / 3, 0.5, 0], rtol=1e-6)


def test_tiou_of_empty_segments_is_zero():
    assert temporal_iou(tf.constant([2.0, 2.0]), tf.constant([[2.0, 2.0]])).numpy() == [0]


def test_hard_by_hand():
    segments = [(0, 10), (1, 11), (9, 19), (20, 30)]
    # tIoU: (0, 1) 9/11, (0, 2) 1/19, (1, 2) 2/18.
    assert kept(segments, [0.9, 0.8, 0.7, 0.1]) == [0, 2, 3]
    assert kept(segments, [0.8, 0.9, 0.7, 0.1]) == [1, 2, 3]


def test_hard_is_strict_at_the_threshold():
    # [0, 3] and [2, 5]: 1 / 5.
    assert kept([(0, 3), (2, 5)], [2, 1], threshold=0.2) == [0, 1]
    assert kept([(0, 3), (2, 5)], [2, 1], threshold=0.19) == [0]


def test_what_is_suppressed_suppresses_nothing():
    # 0 hides 1; 1 would have hidden 2, which 0 does not touch.
    assert kept([(0, 4), (2, 6), (4.5, 8)], [3, 2, 1], threshold=0.2) == [0, 2]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.99])
def test_of_identical_segments_with_one_score_the_first_stays(threshold):
    assert kept([(1, 2)] * 4, [0.5] * 4, threshold=threshold) == [0]
    assert kept([(0.1, 0.7)] * 2, [0.4, 0.5], threshold=threshold) == [1]


def test_negative_and_zero_scores_are_kept_by_hard():
    # Literally taken, Eq. 7 can be negative.
    assert kept([(0, 1), (5, 6), (7, 8)], [-1, 0, -2]) == [0, 1, 2]


def test_groups_do_not_compete():
    segments, scores = [(0, 4), (0, 4), (0, 4)], [1, 2, 3]
    assert kept(segments, scores, groups=[0, 1, 1]) == [0, 2]
    assert kept(segments, scores, groups=[0, 2, 2]) == [0, 2]  # group 1 is empty


def test_soft_by_hand():
    # tIoU of [0, 2] and [1, 3] is 1/3: 0.5 · exp(-(1/9) / 0.3) = 0.5 · 0.690... .
    ours = suppressed([(0, 2), (1, 3), (8, 9)], [0.9, 0.5, 0.2], method="soft", sigma=0.3)
    np.testing.assert_allclose(ours, [0.9, 0.5 * math.exp(-1 / 2.7), 0.2], rtol=1e-6)


def test_soft_drops_what_falls_below_the_least_score():
    ours = suppressed([(0, 2), (0, 2)], [0.9, 0.8], method="soft", sigma=0.1, min_score=0.001)
    assert ours == [pytest.approx(0.9), -math.inf]  # 0.8 · exp(-10) = 4e-5
    assert kept([(0, 2), (5, 6)], [0.9, 0.0005], method="soft", min_score=0.001) == [0]
    assert kept([(0, 2), (5, 6)], [0.0004, 0.0005], method="soft", min_score=0.001) == []


def test_soft_ends_where_the_decay_comes_down_to_zero():
    # exp(-0.25 / 0.001) is 0 in float32, and -inf · 0 is no number.
    segments = [(0, 10), (0, 5), (5, 10)]
    ours = suppressed(segments, [0.5, 0.4, 0.3], method="soft", sigma=1e-3, min_score=0.0)
    assert ours == [0.5, 0.0, 0.0]


def test_none_keeps_all():
    assert suppressed([(0, 1), (0, 1)], [0.5, 0.25], method="none") == [0.5, 0.25]


@pytest.mark.parametrize("method", ["hard", "soft", "none"])
def test_no_items(method):
    assert suppressed([], [], method=method) == []


ITEM = st.tuples(
    st.integers(0, 12), st.integers(1, 8), st.integers(1, 6), st.integers(0, 2)
)  # start, length, score, group: whole numbers, so that ties and touching ends are common


@settings(max_examples=50, deadline=None)
@given(st.lists(ITEM, max_size=14), st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0]))
def test_hard_against_the_greedy_loop(items, threshold):
    items = sorted(items, key=lambda item: item[3])
    segments = [(start, start + length) for start, length, _, _ in items]
    scores, groups = [item[2] for item in items], [item[3] for item in items]
    ours = suppressed(segments, scores, groups, method="hard", threshold=threshold)
    assert ours == greedy(segments, scores, groups, method="hard", threshold=threshold)


@settings(max_examples=30, deadline=None)
@given(st.lists(ITEM, max_size=10), st.integers(0, 10**6), st.sampled_from([0.001, 0.3, 2.0]))
def test_soft_against_the_greedy_loop(items, seed, sigma):
    items = sorted(items, key=lambda item: item[3])
    segments = [(start, start + length) for start, length, _, _ in items]
    groups = [item[3] for item in items]
    scores = np.random.default_rng(seed).uniform(size=len(items)).astype(np.float32)
    options = {"method": "soft", "sigma": sigma, "min_score": 1e-3}
    ours = suppressed(segments, scores, groups, **options)
    np.testing.assert_allclose(ours, greedy(segments, scores, groups, **options), rtol=1e-4)
