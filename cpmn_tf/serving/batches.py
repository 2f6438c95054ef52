"""Requests of several callers in one batch: which go together, and whose answer is what.

Videos are padded to the longest of their batch, so that requests are sorted by length and a batch
ends where padding would cost more than :data:`PADDING` of it: a short video does not pay for a long
one. A video's detections do not depend on its batch (``status`` and masks in the graph see to it).
"""

from collections.abc import Mapping, Sequence

import numpy as np

PADDING = 0.2  # of a batch's units, at most
MOST_UNITS = 100_000  # of a batch, padding included, for the sake of memory

# Signatures whose inputs and outputs are one row per video, so that requests can be joined.
BATCHED = ("serving_default", "detect", "detect_with_class_scores")


def divide(videos: Sequence[int], units: Sequence[int]) -> list[list[int]]:
    """Which requests are run together, shortest first.

    Args:
      videos: of each request.
      units: that each request is padded to already. A request that is longer than
        :data:`MOST_UNITS` is a batch by itself.

    Returns:
      Indices of requests, batch by batch.
    """
    batches: list[list[int]] = []
    held = own = 0  # videos of the last batch, and its units before it is padded
    for index in sorted(range(len(units)), key=lambda index: units[index]):
        held, own = held + videos[index], own + videos[index] * units[index]
        padded = held * units[index]
        if not batches or padded > MOST_UNITS or padded - own > PADDING * padded:
            batches.append([])
            held, own = videos[index], videos[index] * units[index]
        batches[-1].append(index)
    return batches


def of_video(
    features: Mapping[str, np.ndarray], rate: float, duration: float
) -> dict[str, np.ndarray]:
    """The inputs of the signature ``detect`` for one video; ``score`` takes no ``durations``.

    Args:
      features: [units, G] float32 by stream.
      rate: units per second.
      duration: seconds.
    """
    units = len(next(iter(features.values())))
    return {name: values[np.newaxis] for name, values in features.items()} | {
        "lengths": np.array([units], np.int32),
        "rates": np.array([rate], np.float32),
        "durations": np.array([duration], np.float32),
    }


def joined(requests: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The inputs of a batch: those of all requests, features padded with zeros to the longest.

    Args:
      requests: [videos, units, G] features and [videos, ...] other inputs by name; equal names.
    """
    if len(requests) == 1:
        return dict(requests[0])
    return {name: _stacked([request[name] for request in requests]) for name in requests[0]}


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if arrays[0].ndim < 3:  # lengths, rates, durations, class scores
        return np.concatenate(arrays)
    videos, units = sum(len(array) for array in arrays), max(array.shape[1] for array in arrays)
    batch = np.empty((videos, units, *arrays[0].shape[2:]), arrays[0].dtype)
    begin = 0
    for array in arrays:
        rows = batch[begin : begin + len(array)]
        rows[:, : array.shape[1]] = array
        rows[:, array.shape[1] :] = 0
        begin += len(array)
    return batch


def parted(outputs: Mapping[str, np.ndarray], videos: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Each request's rows of a batch's outputs.

    Columns of padding that only other requests needed are taken off, so that an answer does not
    depend on its neighbours.

    Args:
      outputs: [videos, ...] by name, with ``counts`` among them.
      videos: of each request, in the order of :func:`joined`.
    """
    ends = np.cumsum(videos)
    parts = []
    for begin, end in zip(ends - videos, ends, strict=True):
        most = int(outputs["counts"][begin:end].max(initial=0))
        rows = {name: values[begin:end] for name, values in outputs.items()}
        parts.append({k: v if v.ndim < 2 else v[:, :most] for k, v in rows.items()})
    return parts
