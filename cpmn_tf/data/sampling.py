"""Which units of a video a module sees, and how a sequence changes its length. Pure functions.

Units are counted from 0. All but :func:`shot_positions` and :func:`draw_groups` are TensorFlow ops
on batches, so that training, inference and the exported graph place units identically.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.signal
import tensorflow as tf


def valid_units(lengths: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """[batch] lengths in units to a [batch, size] bool mask, True where a unit exists."""
    return tf.sequence_mask(lengths, size)


def uniform_positions(lengths: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The centre unit of each of ``count`` equal segments (uniform sampling, Section 3.5).

    A video of at most ``count`` units is taken whole and padded.

    Args:
      lengths: [batch] int32, units.
      count: P.

    Returns:
      positions [batch, count] int32 (0 in padding) and valid [batch, count] bool.
    """
    lengths = tf.cast(lengths, tf.int64)[:, tf.newaxis]
    order = tf.range(count, dtype=tf.int64)[tf.newaxis]
    centres = (2 * order + 1) * lengths // (2 * count)
    return _whole_if_short(centres, order, lengths, count)


def sparse_positions(
    lengths: tf.Tensor, count: int, draws: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One random unit from each of ``count`` equal segments (sparse sampling, Section 3.4).

    Args:
      lengths: [batch] int32, units.
      count: P.
      draws: [batch, count] float64, uniform in [0, 1).

    Returns:
      positions [batch, count] int32 (0 in padding) and valid [batch, count] bool.
    """
    lengths = tf.cast(lengths, tf.int64)[:, tf.newaxis]
    order = tf.range(count, dtype=tf.int64)[tf.newaxis]
    first, stop = order * lengths // count, (order + 1) * lengths // count
    # A draw is below 1, so that every unit from first to stop - 1 can be reached and none beyond.
    width = tf.cast(stop - first, tf.float64)
    drawn = first + tf.cast(tf.floor(draws * width), tf.int64)
    return _whole_if_short(drawn, order, lengths, count)


def interval_positions(lengths: tf.Tensor, interval: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Every ``interval``-th unit from the first (uniform sampling by σ, Section 3.4).

    Returns:
      positions [batch, ceil(max length / interval)] int32 and their bool mask.
    """
    lengths = tf.cast(lengths, tf.int32)[:, tf.newaxis]
    positions = tf.range(0, tf.reduce_max(lengths), interval)[tf.newaxis]
    valid = positions < lengths
    return tf.where(valid, positions, 0), valid


def _whole_if_short(
    positions: tf.Tensor, order: tf.Tensor, lengths: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    short = lengths <= count
    valid = tf.logical_or(~short, order < lengths)
    positions = tf.where(short, tf.where(valid, order, 0), positions)
    return tf.cast(positions, tf.int32), valid


def shot_boundaries(features: np.ndarray) -> np.ndarray:
    """First units of all shots but the first: peaks of the distance between neighbouring units.

    A peak must rise by at least one standard deviation of all distances, so that noise does
    not cut a shot.

    Args:
      features: [units, channels].

    Returns:
      Ascending int64 positions, each in 1 … units - 1.
    """
    distance = np.linalg.norm(np.diff(np.asarray(features, np.float64), axis=0), axis=1)
    if distance.size < 2 or not distance.std() > 0:
        return np.zeros(0, np.int64)
    # Zeros around them let a peak be at either end too.
    padded = np.concatenate([[0.0], distance, [0.0]])
    peaks, _ = scipy.signal.find_peaks(padded, prominence=distance.std())
    return peaks.astype(np.int64)


def shot_positions(features: np.ndarray, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """Units drawn per shot: the same number from each shot, as far as it is long enough.

    Shot-based sampling (Section 3.4).

    Within a shot the draws are sparse: one random unit from each of its equal segments.

    Args:
      features: [units, channels].
      count: P; a video of at most ``count`` units is taken whole.
      seed: any non-negative integers.

    Returns:
      [min(count, units)] ascending int32 positions.
    """
    units = len(features)
    if units <= count:
        return np.arange(units, dtype=np.int32)
    edges = np.concatenate([[0], shot_boundaries(features), [units]])
    quotas = _fair_quotas(np.diff(edges), count)
    rng = np.random.default_rng(seed)
    drawn = []
    for start, length, quota in zip(edges[:-1], np.diff(edges), quotas, strict=True):
        if quota:
            cuts = np.arange(quota + 1) * length // quota
            drawn.append(start + rng.integers(cuts[:-1], cuts[1:]))
    return np.concatenate(drawn).astype(np.int32)


def _fair_quotas(lengths: np.ndarray, total: int) -> np.ndarray:
    """Splits ``total`` among shots as evenly as their lengths allow; short shots give all."""
    quotas = np.zeros(len(lengths), np.int64)
    while (left := total - quotas.sum()) > 0:
        open_shots = np.flatnonzero(quotas < lengths)
        if left < len(open_shots):  # fewer units than shots: spread them over the video
            quotas[open_shots[np.arange(left) * len(open_shots) // left]] += 1
            break
        share = left // len(open_shots)
        quotas[open_shots] = np.minimum(quotas[open_shots] + share, lengths[open_shots])
    return quotas


def draw_groups(labels: Sequence[Sequence[int]], size: int, seed: tuple[int, ...]) -> np.ndarray:
    """An order of videos in which each ``size`` from the first on share a class, as far as it goes.

    Every video is there once. Videos are taken in a random order, each with the next ones that are
    left of one of its classes, drawn among those that have enough. Those without enough partners
    fill groups of their own, which share a class only by chance; the last group may be short.

    Args:
      labels: each video's classes.
      size: videos per group.
      seed: any non-negative integers.

    Returns:
      [videos] int64, a permutation.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels)).tolist()
    waiting: dict[int, list[int]] = {}
    for video in reversed(order):
        for label in labels[video]:
            waiting.setdefault(label, []).append(video)
    grouped = np.zeros(len(labels), bool)
    groups, alone = [], []
    for video in order:
        if grouped[video]:
            continue
        group = [video]
        for label in rng.permutation(labels[video]).tolist():
            left = waiting[label]
            partners: list[int] = []
            while left and len(partners) < size - 1:
                other = left.pop()
                if other != video and not grouped[other]:
                    partners.append(other)
            if len(partners) == size - 1:
                group += partners
                break
            left += reversed(partners)
        grouped[group] = True
        if len(group) == size:
            groups.append(group)
        else:
            alone.append(video)
    groups += [alone[start : start + size] for start in range(0, len(alone) - size + 1, size)]
    drawn = [groups[index] for index in rng.permutation(len(groups))]
    rest = alone[len(alone) - len(alone) % size :]
    return np.array([*itertools.chain(*drawn), *rest], np.int64)


def join_streams(features: Mapping[str, tf.Tensor], branch: str) -> tf.Tensor:
    """A branch's features, given [..., G] by stream: of ``rgb+flow`` both, side by side."""
    return tf.concat([features[name] for name in branch.split("+")], axis=-1)


def gather_units(features: tf.Tensor, positions: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """features [batch, units, channels] at positions [batch, count]; zeros where not valid."""
    picked = tf.gather(features, positions, batch_dims=1)
    return tf.where(valid[..., tf.newaxis], picked, tf.zeros([], picked.dtype))


def interpolate(
    values: tf.Tensor, positions: tf.Tensor, counts: tf.Tensor, queries: tf.Tensor
) -> tf.Tensor:
    """Linear interpolation along time; beyond the first and last position the end value holds.

    Args:
      values: [batch, count, channels] at
      positions: [batch, count] float32, strictly ascending among the first
      counts: [batch] int32 entries, at least 1; the rest is padding.
      queries: [batch, size] float32 times in the positions' unit.

    Returns:
      [batch, size, channels] in the dtype of ``values``.
    """
    last = counts[:, tf.newaxis] - 1
    size = tf.shape(positions)[1]
    ascending = tf.where(tf.range(size)[tf.newaxis] <= last, positions, positions.dtype.max)
    above = tf.searchsorted(ascending, queries, side="right")
    left = tf.clip_by_value(above - 1, 0, last)
    right = tf.minimum(left + 1, last)
    at_left = tf.gather(positions, left, batch_dims=1)
    gap = tf.gather(positions, right, batch_dims=1) - at_left
    weight = tf.clip_by_value(tf.math.divide_no_nan(queries - at_left, gap), 0.0, 1.0)
    weight = tf.cast(weight[..., tf.newaxis], values.dtype)
    low, high = (tf.gather(values, index, batch_dims=1) for index in (left, right))
    return low + weight * (high - low)


def resize(values: tf.Tensor, lengths: tf.Tensor, sizes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes each sequence linearly so that old and new cover the same span of time.

    New unit i covers [i·l/n, (i+1)·l/n) of the old units and takes the value at its centre.

    Args:
      values: [batch, units, channels].
      lengths: [batch] int32, l, the valid units of each.
      sizes: [batch] int32, n, the units wanted of each.
      size: scalar, units of the result, at least every one of ``sizes``.

    Returns:
      [batch, size, channels], zeros beyond ``sizes``.
    """
    scale = tf.cast(lengths, tf.float32) / tf.cast(sizes, tf.float32)
    order = tf.range(size)[tf.newaxis]
    queries = (tf.cast(order, tf.float32) + 0.5) * scale[:, tf.newaxis] - 0.5
    shape = tf.shape(values)
    units = tf.broadcast_to(tf.range(shape[1], dtype=tf.float32)[tf.newaxis], shape[:2])
    resized = interpolate(values, units, lengths, queries)
    inside = (order < sizes[:, tf.newaxis])[..., tf.newaxis]
    return tf.where(inside, resized, tf.zeros([], resized.dtype))


def window_starts(
    lengths: tf.Tensor, window: int, stride: int, size: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sliding windows (Section 3.4) that lose no unit: the last is aligned to the video's end.

    Args:
      lengths: [batch] int32, units.
      window: T_w, units.
      stride: units; above ``window`` it is taken as ``window``, since a gap would lose units.
      size: padded length of the batch, at least every length.

    Returns:
      starts [batch, windows] int32 and used [batch, windows] bool. A video shorter than the
      window has one window, starting at 0.
    """
    stride = min(stride, window)
    longest = tf.maximum(size - window, 0)
    order = tf.range(1 + (longest + stride - 1) // stride)[tf.newaxis]
    room = tf.maximum(lengths - window, 0)[:, tf.newaxis]
    used = order < 1 + (room + stride - 1) // stride
    return tf.minimum(order * stride, room), used
