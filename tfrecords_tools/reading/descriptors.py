"""Unit-level descriptors of three-axis motion signals: time statistics and spectrum."""

import itertools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

WINDOW = 64  # samples around a unit: 1.28 s at 50 samples per second
BANDS = (1, 2, 3, 4, 6, 9, 13, 19, 33)  # edges of the spectral bands, in bins of 0.78 Hz


def mirror(samples: np.ndarray) -> np.ndarray:
    """One arm's signals as if the other arm had worn the watch, [n, 6] to [n, 6].

    The arms are mirror images, and the watch's x axis runs across the mirror: acceleration changes
    its sign along x, and the angular velocity, an axial vector, around y and z.
    """
    return samples * np.array([-1, 1, 1, 1, -1, -1])


def describe(signals: np.ndarray, *, unit_frames: int) -> np.ndarray:
    """Describes about a second around each unit.

    For each of x, y, z and the magnitude, over ``WINDOW`` samples centred on the unit (the ends are
    continued by reflection): mean, standard deviation, minimum, maximum, mean absolute difference
    between neighbours, rate of crossings of the mean, and the logarithm of the energy in eight
    bands of the Hann-windowed spectrum without the mean; and the three axes' correlations.

    Args:
      signals: [n, 3], one row a sample, n a multiple of ``unit_frames``.
      unit_frames: samples per unit.

    Returns:
      [n / unit_frames, 59] float64, not standardised.
    """
    count = len(signals) // unit_frames
    signals = np.column_stack([signals, np.linalg.norm(signals, axis=1)])
    before = (WINDOW - unit_frames) // 2
    padding = ((before, WINDOW), (0, 0))
    padded = np.pad(signals, padding, mode="reflect" if len(signals) > WINDOW else "symmetric")
    windows = sliding_window_view(padded, WINDOW, axis=0)[::unit_frames][:count]  # [T, 4, WINDOW]
    centred = windows - windows.mean(axis=-1, keepdims=True)
    deviation = centred.std(axis=-1)
    statistics = [
        windows.mean(axis=-1),
        deviation,
        windows.min(axis=-1),
        windows.max(axis=-1),
        np.abs(np.diff(windows, axis=-1)).mean(axis=-1),
        (np.diff(np.signbit(centred), axis=-1)).mean(axis=-1),
    ]
    power = np.abs(np.fft.rfft(centred * np.hanning(WINDOW), axis=-1)) ** 2
    energy = np.stack(
        [power[..., low:high].sum(axis=-1) for low, high in itertools.pairwise(BANDS)], axis=-1
    )
    pairs = ((0, 1), (0, 2), (1, 2))
    scaled = centred / np.maximum(deviation, 1e-6)[..., None]
    correlations = [(scaled[:, a] * scaled[:, b]).mean(axis=-1) for a, b in pairs]
    columns = [*statistics, np.log(energy + 1e-4).reshape(count, -1), np.stack(correlations, -1)]
    return np.concatenate(columns, axis=-1)
