"""SYNTHETIC videos of moving shapes: clips of one action, and untrimmed videos with time stamps.

A textured shape is before a textured background. Between actions it drifts. Of the six actions
three are told by their motion alone: a shape of any colour but three goes from side to side, up and
down, or turns. The other three are one motion, the shape grows and shrinks, and the shape's colour
tells them apart. No camera saw any of it.
"""

import dataclasses
import math
import pathlib
from fractions import Fraction

import av
import cv2
import numpy as np

from cpmn_tf.files import replaced

FPS = 15
WIDTH, HEIGHT = 96, 80  # pixels
MOTIONS = ("side to side", "up and down", "turning")
COLOURS = {
    "pulsing, red": (230, 40, 40),
    "pulsing, green": (40, 200, 60),
    "pulsing, blue": (50, 80, 240),
}
# Of shapes whose colour says nothing.
OTHER_COLOURS = ((220, 200, 60), (200, 70, 200), (60, 200, 210), (200, 200, 200), (60, 60, 60))
ACTIONS = (*MOTIONS, *COLOURS)
SHAPES = ("square", "triangle", "cross")


@dataclasses.dataclass(frozen=True)
class Part:
    """A stretch of a video: ``action`` is None between actions; ``seconds`` is its length."""

    action: str | None
    seconds: float


def untrimmed(rng: np.random.Generator) -> list[Part]:
    """The parts of an untrimmed video: one to three actions in two to four instances."""
    actions = rng.choice(ACTIONS, rng.integers(1, 4), replace=False)
    extra = rng.choice(actions, rng.integers(0, 2))
    parts = [Part(None, rng.uniform(2, 5))]
    for action in rng.permutation([*actions, *extra]):
        parts += [Part(str(action), rng.uniform(2, 5)), Part(None, rng.uniform(2, 5))]
    return parts


def instances(parts: list[Part]) -> list[dict]:
    """The actions' instances as ActivityNet writes them, in seconds."""
    found, start = [], 0.0
    for part in parts:
        end = start + part.seconds
        if part.action:
            found.append({"segment": [round(start, 3), round(end, 3)], "label": part.action})
        start = end
    return found


def write_video(path: pathlib.Path, parts: list[Part], rng: np.random.Generator) -> None:
    """Draws a video and writes it as MPEG-4, under a temporary name first."""
    with replaced(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.time_base = 800_000, Fraction(1, FPS)
        ground = _texture(rng, HEIGHT, WIDTH, (90, 90, 90))
        for image in _frames(parts, ground, rng):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _frames(parts: list[Part], ground: np.ndarray, rng: np.random.Generator):
    """Yields [height, width, 3] uint8; frame n shows the part that second n / FPS is in."""
    ends = np.cumsum([part.seconds for part in parts])
    drawn = None
    for number in range(round(float(ends[-1]) * FPS)):
        index = min(int(np.searchsorted(ends, number / FPS, side="right")), len(parts) - 1)
        if drawn is None or drawn[0] != index:
            drawn = index, _Shape(parts[index].action, rng)
        yield drawn[1].on(ground, number / FPS)


class _Shape:
    """A shape in one part: where it is, how large and how it is turned, by time."""

    def __init__(self, action: str | None, rng: np.random.Generator):
        self._action = action
        colour = COLOURS.get(action or "")
        if colour is None:
            colour = OTHER_COLOURS[rng.integers(len(OTHER_COLOURS))]
        self._texture = _texture(rng, 48, 48, colour)
        self._mask = _mask(str(rng.choice(SHAPES)))
        self._centre = rng.uniform((30, 28), (WIDTH - 30, HEIGHT - 28))
        self._phase, self._angle = rng.uniform(0, 2 * math.pi, 2)
        self._rate = rng.uniform(0.7, 1.1)  # periods per second
        self._drift = rng.uniform(0.05, 0.12, 2), rng.uniform(0, 2 * math.pi, 2)

    def on(self, ground: np.ndarray, seconds: float) -> np.ndarray:
        """The picture at a time."""
        wave = math.sin(2 * math.pi * self._rate * seconds + self._phase)
        rates, phases = self._drift
        x, y = self._centre + 5 * np.sin(2 * math.pi * rates * seconds + phases)
        angle, scale = self._angle, 0.55
        if self._action == MOTIONS[0]:
            x += 9 * wave
        elif self._action == MOTIONS[1]:
            y += 9 * wave
        elif self._action == MOTIONS[2]:
            angle += 2 * math.pi * 0.6 * self._rate * seconds
        elif self._action:
            scale *= 1 + 0.35 * wave
        turn = cv2.getRotationMatrix2D((24, 24), math.degrees(angle), scale)
        turn[:, 2] += x - 24, y - 24
        size = WIDTH, HEIGHT
        shape = cv2.warpAffine(self._texture, turn, size, borderMode=cv2.BORDER_REFLECT)
        alpha = cv2.warpAffine(self._mask, turn, size)[..., np.newaxis] / 255
        return np.round(ground * (1 - alpha) + shape * alpha).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int, colour: tuple) -> np.ndarray:
    """[height, width, 3] uint8 blotches of a colour, without which flow would see borders only."""
    small = rng.uniform(-55, 55, (height // 6 + 1, width // 6 + 1)).astype(np.float32)
    blotches = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.array(colour) + blotches[..., np.newaxis], 0, 255).astype(np.uint8)


def _mask(shape: str) -> np.ndarray:
    """[48, 48] uint8, 255 inside."""
    mask = np.zeros((48, 48), np.uint8)
    if shape == "square":
        mask[8:40, 8:40] = 255
    elif shape == "triangle":
        cv2.fillPoly(mask, [np.array([(24, 4), (44, 42), (4, 42)], np.int32)], 255)
    else:
        mask[18:30, 4:44] = mask[4:44, 18:30] = 255
    return mask
