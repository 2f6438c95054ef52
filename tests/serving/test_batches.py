"""Which requests run together, how they are joined, and whose rows are whose."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cpmn_tf.serving import batches

COUNTS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3000)), min_size=1, max_size=20)


def padding(videos: list[int], units: list[int]) -> float:
    padded = sum(videos) * max(units)
    return 1 - sum(np.multiply(videos, units)) / padded


def test_a_short_video_does_not_pay_for_a_long_one():
    assert batches.divide([1, 1, 1, 1], [900, 60, 850, 64]) == [[1, 3], [2, 0]]
    # 64 + 80 units in a batch of 2 x 80: a tenth is padding; in 2 x 110, 21 %.
    assert batches.divide([1, 1], [64, 80]) == [[0, 1]]
    assert batches.divide([1, 1], [64, 110]) == [[0], [1]]


def test_memory_bounds_a_batch_but_not_a_video():
    most = batches.MOST_UNITS
    assert batches.divide([1, 1, 1], [most, most // 2, most // 2]) == [[1, 2], [0]]
    assert batches.divide([2], [most]) == [[0]]


@given(COUNTS)
def test_every_request_is_in_one_batch_and_padding_is_bounded(requests):
    videos, units = map(list, zip(*requests, strict=True))
    divided = batches.divide(videos, units)
    assert sorted(itertools.chain(*divided)) == list(range(len(requests)))
    for group in divided:
        assert padding([videos[i] for i in group], [units[i] for i in group]) <= batches.PADDING


def request(videos: int, units: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.normal(size=(videos, units, 3)).astype(np.float32),
        "lengths": np.full(videos, units, np.int32),
        "class_scores": rng.random((videos, 2), np.float32),
    }


def test_features_are_padded_with_zeros_to_the_longest():
    requests = [request(1, 4, 0), request(2, 7, 1)]
    joined = batches.joined(requests)
    assert joined["rgb"].shape == (3, 7, 3) and joined["rgb"].dtype == np.float32
    np.testing.assert_array_equal(joined["rgb"][0, :4], requests[0]["rgb"][0])
    assert not joined["rgb"][0, 4:].any()
    np.testing.assert_array_equal(joined["rgb"][1:], requests[1]["rgb"])
    assert joined["lengths"].tolist() == [4, 7, 7]
    assert joined["class_scores"].shape == (3, 2)


def test_one_request_is_not_copied():
    alone = request(2, 5, 0)
    assert batches.joined([alone])["rgb"] is alone["rgb"]


def test_each_request_has_its_rows_without_the_columns_of_others():
    outputs = {
        "counts": np.array([1, 3, 0], np.int32),
        "labels": np.array([[5, -1, -1], [1, 2, 3], [-1, -1, -1]], np.int32),
        "segments": np.arange(18.0).reshape(3, 3, 2),
    }
    first, second = batches.parted(outputs, [1, 2])
    assert first["labels"].tolist() == [[5]] and first["segments"].tolist() == [[[0, 1]]]
    assert second["labels"].tolist() == [[1, 2, 3], [-1, -1, -1]]
    assert second["counts"].tolist() == [3, 0]
    (nothing,) = batches.parted({name: value[2:] for name, value in outputs.items()}, [1])
    assert nothing["labels"].shape == (1, 0) and nothing["segments"].shape == (1, 0, 2)
