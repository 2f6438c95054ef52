"""A copy of a video that shows its detections: a time line under the picture, and what is now."""

import math
import os
import pathlib
from collections.abc import Sequence
from fractions import Fraction

import av
import matplotlib.font_manager
import numpy as np
from av.error import FFmpegError
from PIL import Image, ImageDraw, ImageFont

from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced
from cpmn_tf.formats.subtitles import Found

_ROWS, _ROW = 6, 18  # classes that have a row of the time line; pixels
_LEAST = 320  # pixels of width; smaller pictures are enlarged, for the text's sake
_COLOURS = ("#4c9be8", "#f08a3c", "#5fbf6f", "#d8615f", "#a583d1", "#b58d6a")
_GROUND, _TEXT = "#161616", "#f2f2f2"


def save_annotated_video(
    path: str | os.PathLike,
    video: str | os.PathLike,
    found: Sequence[Found],
    *,
    fps: float,
    duration: float,
) -> None:
    """Writes the video as H.264 with its detections, without sound.

    Args:
      path: the file, of the container that its suffix names, such as .mp4 or .mkv.
      video: the file that was localized in.
      found: (label, start, end, score) of what is shown, seconds. Classes beyond the sixth best
        have no row of the time line, but are named while they last.
      fps: frames per second, those at which the video was encoded.
      duration: seconds, the time line's length.

    Raises:
      UserError: if the video cannot be read, or no such file can be written.
    """
    if os.path.exists(path) and os.path.samefile(path, video):
        raise UserError(f"{path}: is the video itself; name another file for its copy")
    with replaced(path) as temporary, VideoFile(video, fps=fps) as source:
        try:
            with av.open(os.fspath(temporary), "w") as container:
                stream = container.add_stream("libx264", rate=source.fps)
                stream.pix_fmt, stream.time_base = "yuv420p", 1 / Fraction(source.fps)
                band, short = None, 0
                for tick, frame in enumerate(source.ticks()):
                    short = short or _short_side(frame)  # the first one's: some change in size
                    picture = _picture(source, frame, short)
                    if band is None:
                        band = _Band(picture.shape[1], duration, found)
                        stream.width = picture.shape[1]
                        stream.height = picture.shape[0] + band.height
                    image = np.concatenate([picture, band.at(tick / float(source.fps))])
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(stream.encode())
        except UserError:  # of the source
            raise
        except (FFmpegError, ValueError) as error:
            ending = pathlib.Path(path).suffix
            text = f"{path}: cannot be written as H.264 in {ending or 'no container'} ({error})"
            raise UserError(f"{text}; call it .mp4") from error


def _short_side(frame: av.VideoFrame) -> int:
    """Pixels of a picture's shorter side, in its own size, or larger if it is narrow."""
    turned = frame.rotation % 180 != 0
    width = frame.height if turned else frame.width
    short = min(frame.height, frame.width)
    return max(short, math.ceil(short * _LEAST / width))


def _picture(source: VideoFile, frame: av.VideoFrame, short: int) -> np.ndarray:
    """A frame upright: [height, width, 3] uint8, both even."""
    upright = source.rgb(frame, short)
    return upright[: len(upright) // 2 * 2, : upright.shape[1] // 2 * 2]


class _Band:
    """What is under the picture: a line that names what is now, and a row per class."""

    def __init__(self, width: int, duration: float, found: Sequence[Found]):
        best: dict[str, float] = {}
        for label, _, _, score in found:
            best[label] = max(score, best.get(label, score))
        self._rows = sorted(best, key=lambda label: -best[label])[:_ROWS]
        self._found, self._width, self._duration = found, width, duration
        self._left = min(width // 3, 180)
        self.height = (len(self._rows) + 1) * _ROW + _ROW // 3 * 2
        face = matplotlib.font_manager.findfont("DejaVu Sans")
        self._font = ImageFont.truetype(face, 12)
        self._still = Image.new("RGB", (width, self.height), _GROUND)
        draw = ImageDraw.Draw(self._still)
        for number, row in enumerate(self._rows):
            top = (number + 1) * _ROW
            draw.text((4, top + 1), self._fitting(row, self._left - 8), _TEXT, self._font)
            for label, start, end, _ in found:
                if label == row:
                    box = (self._x(start), top + 3, max(self._x(end), self._x(start) + 1), top + 14)
                    draw.rectangle(box, fill=_COLOURS[number])

    def at(self, seconds: float) -> np.ndarray:
        """[height, width, 3] uint8 with the present time marked."""
        image = self._still.copy()
        draw = ImageDraw.Draw(image)
        now = sorted(
            ((score, label) for label, start, end, score in self._found if start <= seconds < end),
            reverse=True,
        )
        named = ", ".join(f"{label} {score:.2f}" for score, label in now)
        text = self._fitting(f"{seconds:6.1f} s   {named}", self._width - 8)
        draw.text((4, 1), text, _TEXT, self._font)
        x = self._x(min(seconds, self._duration))
        draw.line((x, _ROW, x, self.height), fill=_TEXT, width=2)
        return np.asarray(image)

    def _x(self, seconds: float) -> int:
        room = self._width - self._left - 6
        return self._left + round(room * min(seconds / self._duration, 1.0))

    def _fitting(self, text: str, width: int) -> str:
        """The text, its end left out where it is longer than ``width`` pixels."""
        if self._font.getlength(text) <= width:
            return text
        while text and self._font.getlength(f"{text}…") > width:
            text = text[:-1]
        return f"{text}…"
