"""How fast a video's curves become detections, against the loop that published code has.

The loop (:func:`peers`) is a video's post-processing as W-TALC, STPN and their successors have it,
written from that description: in Python over classes and thresholds, a curve's runs found by
differences, each run's score a slice's mean, greedy suppression vectorised over the boxes that are
left of a class. Both have the settings of `plus` (ten classes, four thresholds) and must find the
same. Curves are noise, smoothed over 9 units of a second.

    python -m experiments.benchmarks.localization
"""

import statistics
import time

import numpy as np
import tensorflow as tf

from cpmn_tf.config import LocalizationConfig, preset
from cpmn_tf.localization.detect import Trace, detections_of

CLASSES, SMOOTH = 10, 9
UNITS = {1_000: 15, 10_000: 5, 100_000: 1}  # and rounds


def curves(units: int) -> np.ndarray:
    """[classes, units] float32."""
    noise = np.random.default_rng(units).normal(size=(CLASSES, units + SMOOTH - 1))
    running = np.cumsum(np.pad(noise, [[0, 0], [1, 0]]), axis=1)
    return ((running[:, SMOOTH:] - running[:, :-SMOOTH]) / SMOOTH).astype(np.float32)


def peers(
    tcas: np.ndarray, class_scores: np.ndarray, config: LocalizationConfig
) -> list[tuple[int, float, float, float]]:
    """(class, start and end in seconds, score) of one video, by a loop.

    Args:
      tcas: [classes, units].
      class_scores: [classes].
      config: thresholds between minimum and maximum, mean, class weight, hard suppression.
    """
    found = []
    for label, curve in enumerate(tcas):
        boxes = []
        low, high = curve.min(), curve.max()
        for share in config.thresholds:
            above = np.pad(curve > low + np.float32(share) * (high - low), 1).astype(np.int8)
            edges = np.diff(above)
            for start, end in zip(
                *(np.flatnonzero(edges == sign) for sign in (1, -1)), strict=True
            ):
                score = curve[start:end].mean() + config.class_weight * class_scores[label]
                boxes.append((start, end, score))
        left = np.array(boxes)
        left = left[left[:, 1] - left[:, 0] >= config.min_seconds]
        while len(left):
            best = left[:, 2].argmax()
            start, end, score = left[best]
            found.append((label, start, end, score))
            overlap = np.minimum(left[:, 1], end) - np.maximum(left[:, 0], start)
            overlap = np.maximum(overlap, 0)
            union = left[:, 1] - left[:, 0] + (end - start) - overlap
            keep = overlap / union <= config.nms_threshold
            keep[best] = False
            left = left[keep]
    return sorted(found, key=lambda row: -row[3])


def trace_of(tcas: np.ndarray, class_scores: np.ndarray) -> Trace:
    """A video whose M, Φ and what Eq. 7 averages are all the same curves."""
    classes, units = tcas.shape
    rows = tf.stack([tf.zeros([classes], tf.int32), tf.range(classes)], axis=1)
    own = tf.constant(tcas)[:, tf.newaxis]
    return Trace(
        class_scores=tf.constant(class_scores)[tf.newaxis],
        rows=rows,
        p_class=tf.constant(class_scores),
        original=own,
        mining=own,
        cascaded=own,
        attention=tf.ones_like(own),
        phi=own,
        act=own[:, 0],
        lengths=tf.constant([units]),
        unit_seconds=tf.constant([1.0]),
        status=tf.constant([0]),
    )


def compare(units: int, rounds: int) -> tuple[float, float, int]:
    """Seconds of ours and of the loop, taken in turns, medians; and how many detections."""
    tcas = curves(units)
    class_scores = np.linspace(1, 2, CLASSES, dtype=np.float32)
    config = preset("plus").localization
    trace, durations = trace_of(tcas, class_scores), tf.constant([float(units)])
    found = detections_of(trace, durations, config)  # traces, and warms up
    ours, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        found = detections_of(trace, durations, config)
        found.scores.numpy()
        middle = time.perf_counter()
        loop = peers(tcas, class_scores, config)
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    counted = int(found.counts[0])
    if counted != len(loop):
        raise RuntimeError(f"{counted} detections against {len(loop)}")
    np.testing.assert_allclose(found.scores[0], [row[3] for row in loop], rtol=0, atol=1e-4)
    return statistics.median(ours), statistics.median(theirs), counted


def main() -> None:
    """Measures and prints."""
    for units, rounds in UNITS.items():
        ours, theirs, found = compare(units, rounds)
        print(
            f"T = {units}: {found} detections; the loop takes {theirs / ours:.2f} times as long "
            f"({theirs:.4f} against {ours:.4f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
