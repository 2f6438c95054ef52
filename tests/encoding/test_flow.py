"""The direction, size and quantisation of optical flow."""

import numpy as np
import pytest

pytest.importorskip("cv2")

import cv2

from cpmn_tf.encoding.description import METHODS
from cpmn_tf.encoding.flow import STILL, open_flow, quantise


def test_quantised_by_hand():
    flow = np.array([[[-25, -20], [0, 20], [25, 3], [-2, 0.05]]], np.float32)
    # (3 + 20)·255/40 = 146.6; (-2 + 20)·255/40 = 114.75; (0.05 + 20)·255/40 = 127.8.
    expected = [[[0, 0], [128, 255], [255, 147], [115, 128]]]
    np.testing.assert_array_equal(quantise(flow), expected)
    assert quantise(flow).dtype == np.uint8


@pytest.mark.parametrize("method", METHODS)
def test_a_texture_that_moves_right_and_up(method):
    """By 3 pixels in x and -2 in y: what was at (y, x) is at (y - 2, x + 3) afterwards."""
    noise = np.random.default_rng(0).uniform(0, 255, (140, 180)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    places = (slice(20, 120), slice(20, 160)), (slice(22, 122), slice(17, 157))
    first, second = (np.ascontiguousarray(texture[place]) for place in places)
    inner = open_flow(method)(first, second)[15:-15, 15:-15]
    assert inner.dtype == np.uint8
    np.testing.assert_allclose(np.median(inner, (0, 1)), [147, 115], atol=2)  # a third of a pixel
    assert (np.abs(inner - np.array([147.0, 115.0])) < 4).mean() > 0.9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(16, 16), (37, 41)])
def test_small_pictures_that_stand_still(method, size):
    image = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    np.testing.assert_array_equal(open_flow(method)(image, image), np.full((*size, 2), STILL))
