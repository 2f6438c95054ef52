"""Optical flow between two frames, in the 8 bits that TSN's and UntrimmedNet's networks know.

Their tool, dense_flow, computes TV-L1 with OpenCV's default parameters, which are those here, of
frames that are resized already, bounds both components to ±20 pixels and spreads them over 0…255.
DIS is much faster.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from cpmn_tf.errors import UserError

BOUND = 20.0  # pixels per frame
STILL = 128  # no motion

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def open_flow(method: str) -> Flow:
    """A function of two uint8 [height, width] grey frames, that gives their quantised flow.

    Args:
      method: ``dis`` (dense inverse search, the preset ``fast``) or ``tvl1``.

    Raises:
      UserError: if this OpenCV is without TV-L1.
    """
    compute: Any
    if method == "dis":
        compute = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc
    else:
        if not hasattr(cv2, "optflow"):
            raise UserError(
                "this OpenCV is without TV-L1; install opencv-contrib-python-headless instead of "
                "opencv-python, or give `flow=dis`"
            )
        compute = cv2.optflow.DualTVL1OpticalFlow.create().calc
    return lambda first, second: quantise(compute(first, second, None))


def quantise(flow: np.ndarray) -> np.ndarray:
    """Flow in pixels [height, width, 2] (x, y) as uint8: round((v + 20)·255/40), v within ±20."""
    bounded = np.clip(flow, -BOUND, BOUND)
    return np.rint((bounded + BOUND) * (255 / (2 * BOUND))).astype(np.uint8)
