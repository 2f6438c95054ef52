"""The canonical order, against sorting by all columns."""

import numpy as np
import pytest

from cpmn_tf.evaluation.canonical import Segments, canonical_order


@pytest.mark.parametrize("classes", [3, 2**31 - 1])
def test_canonical_order_is_that_of_the_columns(classes):
    """Also with class numbers beyond 16 bits, scores a last bit apart, and extreme ones."""
    generator = np.random.default_rng(0)
    number = 20_000
    scores = np.array([0.0, -0.0, -1.5, 2.0, 2.0 + 2**-51, 1.0, 1 + 2**-20, 1e-300, -1e300])
    score = generator.normal(size=number)
    score[::10] = scores[generator.integers(0, len(scores), number // 10)]
    label = generator.integers(0, 3, number) * ((classes - 1) // 2)
    video, start, end = generator.integers(0, 4, (3, number))
    integers = (column.astype(np.int32) for column in (video, label))
    ordered = canonical_order(Segments(*integers, start.astype(float), end.astype(float)), score)
    expected = np.lexsort((end, start, video, -score, label))
    for column in (label, score, video, start, end):
        np.testing.assert_array_equal(column[ordered], column[expected])


def test_zero_and_minus_zero_tie():
    column, times = np.zeros(2, np.int32), np.array([5.0, 4.0])
    rows = Segments(column, column, times, times)
    assert canonical_order(rows, np.array([0.0, -0.0])).tolist() == [1, 0]
