"""Video-level classification: how well class scores rank the videos that hold a class."""

import numpy as np


def video_map(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the average precision over videos.

    AP is the mean, over the videos that hold the class, of the precision at each one's rank.
    Ties are broken against the class, so that constant scores gain nothing.

    Args:
      scores: [videos, classes].
      labels: [videos, classes], non-zero where a video holds a class.

    Returns:
      A fraction; NaN if no class has a video.
    """
    labels = np.asarray(labels) > 0
    results = []
    for score, holds in zip(np.asarray(scores, np.float64).T, labels.T, strict=True):
        if holds.any():
            ranked = holds[np.lexsort((holds, -score))]
            precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
            results.append(precision[ranked].mean())
    return float(np.mean(results)) if results else float("nan")
