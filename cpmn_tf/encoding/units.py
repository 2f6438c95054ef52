"""What the networks see of each unit (Section 3.2): its centre frame, and the flow around it."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Protocol

import av
import numpy as np

from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.encoding.flow import STILL, Flow


class StreamEncoder(Protocol):
    """A network of one stream, with its own preprocessing.

    Attributes:
      size: side of the square that it sees, pixels.
      channels: 3 of RGB, or 2·L of L frame pairs' flow, x and y in turns.
      width: G, values per unit.
    """

    size: int
    channels: int
    width: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features, float32 [n, G], of uint8 [n, size, size, channels]; flow: 128 is no motion."""

    def describe(self) -> dict:
        """What makes its features what they are, as plain values."""


def short_side(size: int) -> int:
    """Pixels of a frame's shorter side for a network's square: TSN's 256 for 224, in proportion."""
    return round(size * 256 / 224)


def read_units(
    video: VideoFile,
    streams: Mapping[str, StreamEncoder],
    *,
    unit_frames: int,
    compute_flow: Flow,
    crops: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields what the networks see of each unit (Section 3.2), by stream.

    Unit j covers ticks [j·n_u, (j+1)·n_u); its centre is tick j·n_u + ⌊n_u/2⌋. The L frame pairs
    start ⌊L/2⌋ ticks before the centre; at the video's ends the first and the last pair stand for
    those beyond. A last unit of fewer than n_u ticks is left out, as the paper's l_v/n_u units
    are whole. Only frames that some unit needs are converted, and only those that a later unit
    needs are kept.

    Args:
      video: opened anew.
      streams: the networks by stream.
      unit_frames: n_u, ticks of a unit.
      compute_flow: of :func:`~cpmn_tf.encoding.flow.open_flow`.
      crops: 1, the centre, or 10: the corners, the centre, and their mirror images.

    Yields:
      uint8 [crops, size, size, channels] by stream, unit after unit.
    """
    pairs = max((net.channels // 2 for net in streams.values() if net.channels != 3), default=0)
    lead, centre = pairs // 2, unit_frames // 2
    held = _Held(video, streams, compute_flow)

    def images(start: int, last: int) -> dict[str, np.ndarray]:
        return {
            name: cropped(held.image(net, start + centre, last), net.size, crops, net.channels != 3)
            for name, net in streams.items()
        }

    start = tick = 0  # of the unit that comes next; of the frame that comes next
    for tick, frame in enumerate(video.ticks()):
        if (tick - centre + lead) % unit_frames <= pairs:
            held.add(tick, frame, pairs > 0, tick % unit_frames == centre)
        # The last pair's second frame must be there, and so must the whole unit.
        while max(start + centre - lead + pairs, start + unit_frames - 1) <= tick:
            yield images(start, tick)
            start += unit_frames
            held.drop_before(start + centre - lead - 1)  # that pair may be the video's last
    while start + unit_frames <= video.count:
        yield images(start, tick)
        start += unit_frames


class _Held:
    """The frames and the flow that units still need, by tick."""

    def __init__(self, video: VideoFile, streams: Mapping[str, StreamEncoder], compute: Flow):
        self._video, self._compute = video, compute
        nets = streams.values()
        self._rgb_sides = {short_side(net.size) for net in nets if net.channels == 3}
        self._flow_sides = {short_side(net.size) for net in nets if net.channels != 3}
        self._rgb: dict[tuple[int, int], np.ndarray] = {}  # by tick and shorter side
        self._grey: dict[tuple[int, int], np.ndarray] = {}
        self._flow: dict[tuple[int, int], np.ndarray] = {}  # of a tick and the next
        self._last: tuple[object, dict[int, np.ndarray]] = (None, {})

    def add(self, tick: int, frame: av.VideoFrame, moving: bool, centre: bool) -> None:
        """Converts a frame to what is needed of it."""
        if moving:
            if frame is not self._last[0]:  # a repeated frame is the same array, without motion
                self._last = (
                    frame,
                    {side: self._video.grey(frame, side) for side in self._flow_sides},
                )
            self._grey |= {(tick, side): image for side, image in self._last[1].items()}
        if centre:
            self._rgb |= {(tick, side): self._video.rgb(frame, side) for side in self._rgb_sides}

    def drop_before(self, first: int) -> None:
        """Forgets what no later unit needs."""
        for held in (self._rgb, self._grey, self._flow):
            for key in [key for key in held if key[0] < first]:
                del held[key]

    def image(self, net: StreamEncoder, centre: int, last: int) -> np.ndarray:
        """What a network sees, uncropped, of the unit around a tick; ``last`` is the last tick."""
        side = short_side(net.size)
        if net.channels == 3:
            return self._rgb[centre, side]
        pairs = net.channels // 2
        first = centre - pairs // 2
        ends = (max(min(tick, last - 1), 0) for tick in range(first, first + pairs))
        return np.concatenate([self._pair(tick, side) for tick in ends], axis=-1)

    def _pair(self, tick: int, side: int) -> np.ndarray:
        if (tick, side) not in self._flow:
            first, second = self._grey[tick, side], self._grey.get((tick + 1, side))
            if second is None or first is second:  # a single frame does not move
                flow = np.full((*first.shape, 2), STILL, np.uint8)
            else:
                flow = self._compute(first, second)
            self._flow[tick, side] = flow
        return self._flow[tick, side]


def cropped(image: np.ndarray, size: int, crops: int, flow: bool) -> np.ndarray:
    """Squares of an image [height, width, channels]: [crops, size, size, channels].

    Ten crops are the corners, the centre, and their mirror images, in which the x component of
    flow (every other channel) is 255 - value.
    """
    down, right = image.shape[0] - size, image.shape[1] - size
    places = [(down // 2, right // 2)]
    if crops == 10:
        places = [*itertools.product((0, down), (0, right)), *places]
    squares = np.stack([image[y : y + size, x : x + size] for y, x in places])
    if crops == 1:
        return squares
    mirrored = squares[:, :, ::-1].copy()
    if flow:
        mirrored[..., ::2] = 255 - mirrored[..., ::2]
    return np.concatenate([squares, mirrored])
