"""Eq. 7-8 and the outer-inner contrast, against sums written out."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.localization import scoring
from cpmn_tf.localization.proposals import Proposals


def proposals(*items: tuple[int, int, int]) -> Proposals:
    return Proposals(*tf.constant(np.array(items, np.int32).reshape(-1, 3).T))


def outer_by_hand(curve: np.ndarray, start: int, end: int, ratio: float) -> float:
    """Mean of the flanks' units, one by one; 0 if there are none."""
    flank = max(math.ceil((end - start) * ratio), 1)
    units = [*range(max(start - flank, 0), start), *range(end, min(end + flank, len(curve)))]
    return float(np.mean([float(curve[unit]) for unit in units])) if units else 0.0


def test_equations_7_and_8_by_hand():
    act = tf.constant([[0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 0.0, 0.0]])
    scores = scoring.confidence(
        act,
        tf.constant([0.5, 0.25]),
        proposals((0, 0, 1), (0, 1, 4), (1, 0, 4)),
        tf.constant([4, 4]),
        LocalizationConfig(),
    )
    # 0.25 · 0.5; (0.5 + 0.75 + 1) / 3 · 0.5 = 0.375; (1 + 1) / 4 · 0.25.
    np.testing.assert_allclose(scores, [0.125, 0.375, 0.125])


def test_outer_inner_by_hand():
    act = tf.constant([[0.0, 0.25, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]])
    ours = scoring.confidence(
        act,
        tf.constant([0.5]),
        proposals((0, 2, 6), (0, 0, 8), (0, 0, 2)),
        tf.constant([8]),
        LocalizationConfig(confidence="outer_inner", outer_ratio=0.5),
    )
    # [2, 6): flanks of 2 units, (0 + 0.25 + 0.5 + 0) / 4 = 0.1875; (1 - 0.1875) · 0.5.
    # [0, 8): nothing lies outside; mean 4.75 / 8 = 0.59375; · 0.5.
    # [0, 2): one flank of 1 unit on the right; (0.125 - 1) · 0.5.
    np.testing.assert_allclose(ours, [0.40625, 0.296875, -0.4375])


def test_flanks_end_with_the_video_and_not_with_the_padding():
    act = tf.constant([[1.0, 1.0, 0.5, 9.0, 9.0]])
    mean = scoring.outer_mean(act, proposals((0, 0, 2)), tf.constant([3]), 1.0)
    np.testing.assert_allclose(mean, [0.5])


def test_an_empty_range_has_mean_zero():
    assert scoring.range_mean(tf.ones([1, 3]), *proposals((0, 2, 2))).numpy().tolist() == [0]


def test_no_proposals():
    config = LocalizationConfig()
    ours = scoring.confidence(tf.ones([1, 3]), tf.ones([1]), proposals(), tf.constant([3]), config)
    assert ours.shape == (0,)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_against_numpy(data):
    seed, units = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 25))
    ratio = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))
    rng = np.random.default_rng(seed)
    act = rng.normal(size=(2, units)).astype(np.float32)
    lengths = rng.integers(1, units + 1, 2)
    items = []
    for _ in range(5):
        row = int(rng.integers(2))
        start = int(rng.integers(lengths[row]))
        items.append((row, start, int(rng.integers(start, lengths[row])) + 1))
    p_class = rng.uniform(size=2).astype(np.float32)
    for method, statistic, weight in itertools.product(
        ("product", "outer_inner"), ("mean", "max"), (0.0, 0.7)
    ):
        ours = scoring.confidence(
            tf.constant(act),
            tf.constant(p_class),
            proposals(*items),
            tf.constant(lengths, tf.int32),
            LocalizationConfig(
                confidence=method,
                outer_ratio=ratio,
                p_act_statistic=statistic,
                class_weight=weight,
            ),
        )
        for score, (row, start, end) in zip(ours.numpy(), items, strict=True):
            wanted = getattr(act[row, start:end].astype(np.float64), statistic)()
            if method == "outer_inner":
                wanted -= outer_by_hand(act[row, : lengths[row]], start, end, ratio)
            wanted = wanted + weight * p_class[row] if weight else wanted * p_class[row]
            assert score == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("start, end", [(19_999, 20_000), (19_997, 19_999), (0, 20_000)])
def test_a_short_proposal_at_the_end_of_a_long_video_is_exact(start, end):
    # Running sums reach 20 000; in float32 they are known to 1e-3 only.
    act = np.random.default_rng(0).uniform(0.9, 1.1, (1, 20_000)).astype(np.float32)
    found = proposals((0, start, end))
    ours = scoring.range_mean(tf.constant(act), *found)
    np.testing.assert_allclose(ours, [act[0, start:end].astype(np.float64).mean()], rtol=1e-7)


def test_thin_flanks_of_a_long_proposal_are_exact():
    act = np.random.default_rng(1).uniform(0.9, 1.1, (1, 20_000)).astype(np.float32)
    ours = scoring.outer_mean(tf.constant(act), proposals((0, 1, 19_999)), [20_000], 0.0)
    np.testing.assert_allclose(ours, [outer_by_hand(act[0], 1, 19_999, 0.0)], rtol=1e-6)
