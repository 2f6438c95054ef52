"""Runs of units above a share of the maximum, against scipy.ndimage.label."""

import numpy as np
import scipy.ndimage
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cpmn_tf.localization.proposals import propose


def runs(curve: np.ndarray, threshold: float, low: float = 0.0) -> list[tuple[int, int]]:
    """(start, end) of each run of ``curve`` above a share of its maximum, end excluded."""
    if not curve.max() > low:
        return []
    labelled, _ = scipy.ndimage.label(curve > low + np.float32(threshold) * (curve.max() - low))
    return [(part.start, part.stop) for (part,) in scipy.ndimage.find_objects(labelled)]


def proposed(curves, lengths=None, thresholds=(0.2,), threshold_range="max"):
    """(row, start, end) of what is proposed for [rows, streams, units], and the silent counts."""
    curves = np.asarray(curves, np.float32)
    lengths = [curves.shape[2]] * len(curves) if lengths is None else lengths
    valid = tf.sequence_mask(lengths, curves.shape[2])
    found, silent = propose(tf.constant(curves), valid, thresholds, threshold_range)
    return list(zip(*(part.numpy().tolist() for part in found), strict=True)), silent.numpy()


def test_by_hand():
    # The cut is 0.2 · 5 = 1: strictly above it are units 1-2 and 5.
    found, silent = proposed([[[1, 2, 5, 1, 0.5, 1.5]]])
    assert found == [(0, 1, 3), (0, 5, 6)]
    assert silent.tolist() == [0]


def test_first_and_last_unit_are_not_lost():
    found, _ = proposed([[[1, 0, 0, 0, 1]]])
    assert found == [(0, 0, 1), (0, 4, 5)]


def test_a_run_may_fill_the_video_or_be_its_only_unit():
    assert proposed([[[2, 2, 2]]])[0] == [(0, 0, 3)]
    assert proposed([[[3]]])[0] == [(0, 0, 1)]


def test_streams_are_not_merged():
    found, _ = proposed([[[0, 1, 1, 0], [0, 0, 1, 1]], [[1, 0, 0, 0], [1, 0, 0, 0]]])
    assert found == [(0, 1, 3), (0, 2, 4), (1, 0, 1), (1, 0, 1)]


def test_runs_of_neighbouring_curves_do_not_join():
    # The last unit of one curve and the first of the next lie side by side in memory.
    found, _ = proposed([[[0, 0, 1], [1, 0, 0]]])
    assert found == [(0, 2, 3), (0, 0, 1)]


def test_padding_is_neither_cut_nor_counted():
    found, silent = proposed([[[1, 1, 9, 9]], [[-1, -1, 9, 9]]], lengths=[2, 2])
    assert found == [(0, 0, 2)]
    assert silent.tolist() == [0, 1]


def test_silent_curves_propose_nothing_and_are_counted():
    # 20 % of a negative maximum lies above the whole curve, and nothing is above 20 % of 0.
    found, silent = proposed([[[-1, -0.1, -2], [0, 0, 0]], [[0, 1, 0], [-1, -1, -1]]])
    assert found == [(1, 1, 2)]
    assert silent.tolist() == [2, 1]


def test_the_comparison_is_strict_at_both_bounds():
    assert proposed([[[0, 1, 2]]], thresholds=(0.0,))[0] == [(0, 1, 3)]
    assert proposed([[[0, 1, 2]]], thresholds=(0.5,))[0] == [(0, 2, 3)]
    assert proposed([[[0, 1, 2]]], thresholds=(1.0,))[0] == []


def test_cut_between_minimum_and_maximum_by_hand():
    # Halfway from -5 to -1 is -3; padding is neither end.
    found, silent = proposed([[[-5, -2, -1, -4, 9]]], [4], (0.5,), "min_max")
    assert (found, silent.tolist()) == ([(0, 1, 3)], [0])
    # A constant curve proposes nothing, even a positive one, and is counted.
    found, silent = proposed([[[2, 2, 2], [0, 0, 1]]], None, (0.0,), "min_max")
    assert (found, silent.tolist()) == ([(0, 2, 3)], [1])


def test_no_rows():
    found, silent = propose(tf.zeros([0, 2, 5]), tf.zeros([0, 5], tf.bool))
    assert [len(part) for part in found] == [0, 0, 0]
    assert silent.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 20)),
        elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0]),
    ),
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.9, 1.0]), min_size=1, max_size=3),
    st.booleans(),
    st.data(),
)
def test_against_scipy(curves, thresholds, min_max, data):
    rows, _, units = curves.shape
    lengths = data.draw(st.lists(st.integers(1, units), min_size=rows, max_size=rows))
    kind = "min_max" if min_max else "max"
    found, silent = proposed(curves, lengths, tuple(thresholds), kind)
    cut = [[curve[:length] for curve in row] for row, length in zip(curves, lengths, strict=True)]
    lows = [[curve.min() if min_max else np.float32(0) for curve in row] for row in cut]
    wanted = [
        (row, start, end)
        for row in range(rows)
        for curve, low in zip(cut[row], lows[row], strict=True)
        for threshold in thresholds
        for start, end in runs(curve, threshold, low)
    ]
    assert found == wanted
    assert silent.tolist() == [
        sum(curve.max() <= low for curve, low in zip(*both, strict=True))
        for both in zip(cut, lows, strict=True)
    ]
