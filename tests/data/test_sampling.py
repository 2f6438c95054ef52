"""Which units are seen: no window loses one, every one can be drawn, time is never stretched."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.data import sampling

# The largest float64 below 1, which is the last value that a uniform draw can give.
LAST_DRAW = np.nextafter(1.0, 0.0)


def windows_by_hand(length: int, window: int, stride: int) -> list[int]:
    """Starts of sliding windows, one after another; the last one ends with the video."""
    starts, start = [], 0
    while start + window < length:
        starts.append(start)
        start += min(stride, window)
    return [*starts, max(length - window, 0)]


@pytest.mark.parametrize(
    "window, stride", [(64, 32), (64, 64), (64, 100), (5, 3), (7, 1), (1, 1), (16, 15)]
)
def test_windows_of_every_length_lose_no_unit(window, stride):
    lengths = np.arange(1, 301)
    starts, used = sampling.window_starts(tf.constant(lengths, tf.int32), window, stride, 300)
    for length, row, mask in zip(lengths, starts.numpy(), used.numpy(), strict=True):
        mine = row[mask]
        assert mine.tolist() == windows_by_hand(length, window, stride)
        seen = np.zeros(length, bool)
        for start in mine:
            seen[start : start + window] = True
        assert seen.all()
        assert mine[-1] + window == max(length, window)  # aligned to the video's end
        assert mine.min() >= 0


@pytest.mark.parametrize("window, stride", [(64, 32), (64, 64), (5, 9)])
def test_windows_of_a_batch_are_those_of_each_video(window, stride):
    lengths = np.array([1, 2, 5, 63, 64, 65, 95, 96, 97, 127, 128, 129, 200])
    starts, used = sampling.window_starts(tf.constant(lengths, tf.int32), window, stride, 200)
    for index, length in enumerate(lengths):
        alone, all_used = sampling.window_starts(
            tf.constant([length], tf.int32), window, stride, int(length)
        )
        assert all_used.numpy().all()
        np.testing.assert_array_equal(alone[0], starts[index][used[index]])


def test_windows_by_hand():
    # 150 units, windows of 64 every 32: 0, 32, 64 end at 128; 96 would end at 160 > 150, so the
    # last one starts at 150 - 64 = 86.
    starts, used = sampling.window_starts(tf.constant([150, 64, 3]), 64, 32, 150)
    assert starts[0].numpy().tolist() == [0, 32, 64, 86]
    assert used.numpy().tolist() == [[True] * 4, [True] + [False] * 3, [True] + [False] * 3]
    assert starts[1:, 0].numpy().tolist() == [0, 0]


def draw(lengths, count, value):
    positions, valid = sampling.sparse_positions(
        tf.constant(lengths, tf.int32), count, tf.fill([len(lengths), count], value)
    )
    return positions.numpy(), valid.numpy()


def test_sparse_draws_reach_each_end_of_each_segment():
    count, lengths = 16, np.arange(1, 301)
    (low, valid), (high, _) = (draw(lengths, count, np.float64(u)) for u in (0.0, LAST_DRAW))
    for length, first, last, mask in zip(lengths, low, high, valid, strict=True):
        if length <= count:  # taken whole
            assert first[mask].tolist() == last[mask].tolist() == list(range(length))
            assert not first[~mask].any()
            continue
        edges = np.arange(count + 1) * length // count
        assert mask.all()
        np.testing.assert_array_equal(first, edges[:-1])
        np.testing.assert_array_equal(last, edges[1:] - 1)
        assert last[-1] == length - 1  # the last unit is in reach


@pytest.mark.parametrize("length", [17, 40, 300])
def test_sparse_draws_reach_every_unit(length):
    count, tries = 16, 400
    draws = tf.random.stateless_uniform([tries, count], [7, length], dtype=tf.float64)
    positions, valid = sampling.sparse_positions(tf.fill([tries], length), count, draws)
    assert valid.numpy().all()
    assert np.unique(positions).tolist() == list(range(length))
    assert (np.diff(positions, axis=1) > 0).all()  # one unit per segment, in order


def test_sparse_draws_of_a_long_video_do_not_overflow():
    # 3e6 · 1000 units is beyond int32.
    positions, _ = draw([3_000_000], 1000, LAST_DRAW)
    np.testing.assert_array_equal(positions[0], np.arange(1, 1001) * 3000 - 1)


def test_uniform_takes_the_centres():
    # 10 units in 4 segments of 2.5: centres 1.25, 3.75, 6.25, 8.75 lie in units 1, 3, 6, 8.
    # 7 units in 4 segments of 1.75: centres 0.875, 2.625, 4.375, 6.125.
    positions, valid = sampling.uniform_positions(tf.constant([10, 7, 4, 2]), 4)
    assert positions.numpy().tolist() == [[1, 3, 6, 8], [0, 2, 4, 6], [0, 1, 2, 3], [0, 1, 0, 0]]
    assert valid.numpy().tolist()[2:] == [[True] * 4, [True, True, False, False]]


def test_uniform_centres_of_every_length():
    count, lengths = 64, np.arange(1, 301)
    positions, valid = sampling.uniform_positions(tf.constant(lengths, tf.int32), count)
    for length, row, mask in zip(lengths, positions.numpy(), valid.numpy(), strict=True):
        wanted = (
            np.arange(length)
            if length <= count
            else np.floor((np.arange(count) + 0.5) * length / count)
        )
        np.testing.assert_array_equal(row[mask], wanted)


def test_interval_takes_every_nth_unit():
    positions, valid = sampling.interval_positions(tf.constant([7, 1, 6]), 3)
    assert positions.numpy().tolist() == [[0, 3, 6], [0, 0, 0], [0, 3, 0]]
    assert valid.numpy().tolist() == [[True] * 3, [True, False, False], [True, True, False]]


def test_gathered_padding_is_zero():
    features = tf.reshape(tf.range(1.0, 9.0), [1, 4, 2])
    picked = sampling.gather_units(
        features, tf.constant([[3, 0, 0]]), tf.constant([[True, True, False]])
    )
    assert picked.numpy().tolist() == [[[7, 8], [1, 2], [0, 0]]]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_interpolation_is_that_of_numpy(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    count, size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 12))
    counts = rng.integers(1, count + 1, 2)
    positions = np.sort(rng.choice(30, [count], replace=False)).astype(np.float32)
    positions = np.stack([positions, positions])
    for row, valid in zip(positions, counts, strict=True):
        row[valid:] = 0  # as uniform_positions pads
    values = rng.normal(size=(2, count, 3)).astype(np.float32)
    queries = rng.uniform(-5, 35, size=(2, size)).astype(np.float32)
    ours = sampling.interpolate(
        tf.constant(values), tf.constant(positions), tf.constant(counts, tf.int32), queries
    )
    for row in range(2):
        n = counts[row]
        for channel in range(3):
            wanted = np.interp(queries[row], positions[row, :n], values[row, :n, channel])
            np.testing.assert_allclose(ours[row, :, channel], wanted, atol=1e-5)


def test_interpolation_gives_back_the_samples_and_holds_the_ends():
    values = tf.constant([[[1.0], [4.0], [2.0]]])
    positions = tf.constant([[2.0, 4.0, 8.0]])
    queries = tf.constant([[-100.0, 0.0, 2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 1000.0]])
    ours = sampling.interpolate(values, positions, tf.constant([3]), queries)
    # 3 is halfway from 1 to 4; 5 is a quarter of the way from 4 to 2.
    assert ours[0, :, 0].numpy().tolist() == [1, 1, 1, 2.5, 4, 3.5, 2, 2, 2]


@pytest.mark.parametrize("length, size", [(1, 4), (2, 5), (10, 4), (64, 64), (100, 64), (33, 64)])
def test_resizing_keeps_the_span_and_never_extrapolates(length, size):
    rng = np.random.default_rng(length)
    values = rng.normal(size=(1, length + 3, 2)).astype(np.float32)
    values[:, length:] = 1e6  # padding must not be seen
    resized = sampling.resize(
        tf.constant(values), tf.constant([length]), tf.constant([size]), size
    ).numpy()[0]
    # New unit i covers [i, i + 1) · length / size of the old ones; old unit j lies at j + 0.5.
    centres = (np.arange(size) + 0.5) * length / size
    for channel in range(2):
        wanted = np.interp(centres, np.arange(length) + 0.5, values[0, :length, channel])
        np.testing.assert_allclose(resized[:, channel], wanted, atol=1e-5)
    assert resized.min() >= values[:, :length].min()
    assert resized.max() <= values[:, :length].max()
    if length == size:
        np.testing.assert_array_equal(resized, values[0, :length])


def test_resizing_a_batch_to_sizes_of_its_own():
    values = np.zeros((2, 4, 1), np.float32)
    values[:, :, 0] = [0, 1, 2, 3]
    resized = sampling.resize(tf.constant(values), tf.constant([4, 2]), tf.constant([2, 3]), 4)
    # 4 to 2: centres 1 and 3 lie halfway between old centres 0.5 and 1.5, 2.5 and 3.5.
    # 2 to 3: centres 1/3, 1 and 5/3; the outer ones lie beyond the old centres 0.5 and 1.5.
    np.testing.assert_allclose(resized[..., 0], [[0.5, 2.5, 0, 0], [0, 0.5, 1, 0]], atol=1e-6)


def planted(lengths: list[int], *, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Shots of the given lengths, each around a mean of its own."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(len(lengths), 8)) * 10
    features = np.repeat(means, lengths, axis=0)
    return features + noise * rng.normal(size=features.shape)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("lengths", [[20, 30, 10], [2, 40, 2], [50, 3, 3, 50], [5, 1, 9, 20]])
def test_shot_boundaries_are_the_planted_ones(lengths, noise):
    # A shot of one unit has two boundaries side by side, of which one peak is found.
    found = sampling.shot_boundaries(planted(lengths, noise=noise)).tolist()
    wanted = np.cumsum(lengths)[:-1].tolist()
    if 1 in lengths:
        assert set(found) < set(wanted)
        assert found[-1] == wanted[-1]
    else:
        assert found == wanted


def test_a_boundary_next_to_either_end_is_found():
    features = np.zeros((30, 2))
    features[0], features[29] = 5, 7
    assert sampling.shot_boundaries(features).tolist() == [1, 29]


@pytest.mark.parametrize("units", [1, 2, 40])
def test_constant_features_are_one_shot(units):
    assert sampling.shot_boundaries(np.ones((units, 3))).tolist() == []
    positions = sampling.shot_positions(np.ones((units, 3)), 16, (0,))
    assert len(positions) == min(units, 16)


def test_each_shot_gives_its_equal_share():
    # 100 units in shots of 50, 40, 6 and 4; 24 are wanted: 6 of each, but the last has 4 and so
    # gives all. Of the 2 left over, one goes to each of the two shots that still have units.
    features = planted([50, 40, 6, 4])
    positions = sampling.shot_positions(features, 24, (1, 2))
    edges = [0, 50, 90, 96, 100]
    assert np.histogram(positions, edges)[0].tolist() == [7, 7, 6, 4]
    # Within a shot the draws are sparse: one from each of its 7 equal segments.
    segments = np.arange(8) * 50 // 7
    assert np.histogram(positions[:7], segments)[0].tolist() == [1] * 7


def test_more_shots_than_units_wanted_spread_over_the_video():
    positions = sampling.shot_positions(planted([5] * 20), 4, (0,))
    # 20 shots of 5 units, 4 wanted: one unit of shots 0, 5, 10 and 15.
    assert (positions // 5).tolist() == [0, 5, 10, 15]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.integers(1, 60),
    st.integers(0, 2**31),
)
def test_shot_positions_are_ascending_unique_and_of_the_exact_count(lengths, count, seed):
    features = planted(lengths, noise=0.5, seed=seed)
    positions = sampling.shot_positions(features, count, (seed, 3))
    assert len(positions) == min(count, len(features))
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0
    assert positions[-1] < len(features)
    np.testing.assert_array_equal(positions, sampling.shot_positions(features, count, (seed, 3)))


def test_shot_draws_reach_every_unit():
    features = planted([13, 8, 20])
    drawn = [sampling.shot_positions(features, 12, (seed,)) for seed in range(150)]
    assert np.unique(np.concatenate(drawn)).tolist() == list(range(41))


# Groups.


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 4), max_size=3).map(sorted), max_size=30),
    st.integers(2, 4),
    st.integers(0, 99),
)
def test_groups_are_a_permutation_that_shares_classes(labels, size, seed):
    order = sampling.draw_groups(labels, size, (seed, 0))
    assert sorted(order.tolist()) == list(range(len(labels)))
    np.testing.assert_array_equal(order, sampling.draw_groups(labels, size, (seed, 0)))
    groups = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    without = [
        video
        for group in groups
        if not set.intersection(*(set(labels[video]) for video in group))
        for video in group
    ]
    # What is left over is less than a group per class and video without a class.
    bare = sum(not label for label in labels)
    assert len(without) <= 5 * (size - 1) + bare


def test_groups_are_drawn_anew():
    labels = [[number % 2] for number in range(20)]
    orders = {tuple(sampling.draw_groups(labels, 2, seed)) for seed in ((0, 0), (0, 1), (1, 0))}
    assert len(orders) == 3
    for order in orders:
        assert all(one % 2 == two % 2 for one, two in zip(order[::2], order[1::2], strict=True))
        assert {one % 2 for one in order[:8:2]} == {0, 1}  # classes are mixed


def test_no_videos_make_no_groups():
    assert sampling.draw_groups([], 2, (0,)).tolist() == []
