"""What is wrong with a video, by hand."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.localization import status as faults

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "serving.md"


def sound(features, lengths, rates):
    """What `sound_inputs` gives, as arrays, and under XLA the same."""
    given = (
        {name: tf.constant(values, tf.float32) for name, values in features.items()},
        tf.constant(lengths),
        tf.constant(rates, tf.float32),
    )
    results = [run(*given) for run in (faults.sound_inputs, xla)]
    for one, other in zip(*map(tf.nest.flatten, results), strict=True):
        np.testing.assert_array_equal(one, other)
    features, *others = results[0]
    return {name: values.numpy() for name, values in features.items()}, *map(np.array, others)


xla = tf.function(faults.sound_inputs, jit_compile=True)


@pytest.mark.parametrize(
    ("length", "rate", "code"),
    [
        (2, 5.0, 0),
        (3, 5.0, 0),
        (1, 5.0, 0),
        (0, 5.0, faults.LENGTH),
        (-1, 5.0, faults.LENGTH),
        (4, 5.0, faults.LENGTH),
        (2, 0.0, faults.RATE),
        (2, -1.0, faults.RATE),
        (2, np.nan, faults.RATE),
        (2, np.inf, faults.RATE),
        (3, 1.2e-38, 0),  # 2.5e38 seconds are a float32
        (3, 1e-40, faults.RATE),  # 3e40 seconds are none
        (0, 0.0, faults.LENGTH),  # the first of two
    ],
)
def test_lengths_and_rates(length, rate, code):
    features = {"rgb": np.ones((2, 3, 2)), "flow": np.ones((2, 5, 1))}
    features, lengths, rates, status = sound(features, [3, length], [4.0, rate])
    assert status.tolist() == [0, code]
    assert lengths.tolist() == [3, 1 if code else length]
    np.testing.assert_array_equal(rates, np.float32([4.0, 1.0 if code else rate]))
    assert features["rgb"][0].tolist() == [[1, 1]] * 3
    there = 0 if code else length
    assert features["rgb"][1, :, 0].tolist() == [1] * there + [0] * (3 - there)
    assert features["flow"][1, :, 0].tolist() == [1] * there + [0] * (5 - there)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_count_within_the_length(value):
    flow = np.ones((3, 3, 2))
    flow[0, 1, 1] = flow[1, 2, 0] = value
    features = {"rgb": np.full((3, 3, 1), 7.0), "flow": flow}
    features, lengths, _, status = sound(features, [2, 2, 3], [4.0, 4.0, 4.0])
    assert status.tolist() == [faults.FEATURES, 0, 0]
    assert lengths.tolist() == [1, 2, 3]
    assert features["flow"][..., 0].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert features["rgb"][..., 0].tolist() == [[0, 0, 0], [7, 7, 0], [7, 7, 7]]


def test_a_batch_without_units():
    features, lengths, _, status = sound({"rgb": np.zeros((2, 0, 3))}, [0, 1], [1.0, 1.0])
    assert status.tolist() == [faults.LENGTH] * 2
    assert features["rgb"].tolist() == [[[0, 0, 0]]] * 2 and lengths.tolist() == [1, 1]


def test_every_code_is_on_the_page_of_serving():
    page = PAGE.read_text("utf-8")
    for code, text in enumerate(faults.STATUS[1:], start=1):
        wrong, what_to_do = text.split("; ")
        assert f"\n| {code} | {wrong} | {what_to_do} |\n" in page
    assert faults.explain("a", 2).startswith("video 'a': its rate is not")
