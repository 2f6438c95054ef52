"""A video file's frames at a constant rate, read once from begin to end.

Tick k takes the frame that is shown k/fps seconds after the first frame: the last one whose time
stamp is not later. A video of a variable rate then gives the same ticks as the same pictures at a
constant rate, and unit j of n_u ticks is [j·n_u/fps, (j+1)·n_u/fps). What a file has that others
have not (frames that are broken, have no time stamp, are interlaced or turned) is put right, and
said in :attr:`VideoFile.notes`. An alpha channel is left out.
"""

import contextlib
import heapq
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from cpmn_tf.errors import UserError

# Stamps are rounded to the container's clock, Matroska's to milliseconds: a frame that is late by
# one step of the clock is still in time.
_SLACK = Fraction(1, 1000)
# AVI stamps frames as they are stored, by which B-frames are off by a place or two; damage moves
# single stamps by more. Stamps farther apart are another clock's.
_DISORDER, _NEAR = 4, 10  # frames; seconds
_LONGEST = 600  # seconds that a picture may stand still; clocks that jump farther were reset
_TRUNCATED = 0.5  # seconds by which a video may be shorter than its header says


class VideoFile:
    """An open video file; :meth:`ticks` runs through it once, and what was found is known after.

    Attributes:
      path: of the file, as it was given.
      fps: ticks per second.
      count: ticks until now.
      duration: seconds from the first frame to the end of the last one.
      repeated, skipped: ticks that show the frame of the tick before; frames that no tick shows.
    """

    def __init__(self, path: str | os.PathLike, *, fps: float | None = None):
        """Opens the file.

        Args:
          path: of any container and codec that FFmpeg reads.
          fps: ticks per second; by default the stream's average rate.

        Raises:
          UserError: naming the file, if it is no video, or says no rate and ``fps`` is None.
        """
        self.path = os.fspath(path)
        try:  # an absolute path, for `12:30.mp4` would name a protocol
            self._container = av.open(os.path.abspath(path), metadata_errors="replace")
        except (FFmpegError, OSError) as error:
            text = f"{path}: cannot be read as a video ({error.strerror}); check the file"
            raise UserError(text) from None
        stream = self._container.streams.best("video")
        cover = av.stream.Disposition.attached_pic  # of music
        if not isinstance(stream, av.VideoStream) or stream.disposition & cover:
            self.close()
            raise UserError(f"{path}: holds no video, only other streams; leave it out")
        decoder: object = stream.codec_context
        if decoder is None:
            self.close()
            raise UserError(f"{path}: is in a format that FFmpeg cannot decode; convert the file")
        stream.thread_type = "AUTO"
        self._stream = stream
        rate = stream.average_rate or stream.guessed_rate or fps
        if not rate:
            self.close()
            raise UserError(f"{path}: does not say its frames per second; give `fps`")
        self._period = 1 / Fraction(rate)
        self.fps = Fraction(fps).limit_denominator(1001) if fps else Fraction(rate)
        self._announced = self._header_duration()
        self.count = self.repeated = self.skipped = 0
        self.duration = Fraction(0)
        self._frames = self._broken = self._unstamped = self._jumps = self._interlaced = 0
        self._turned = 0
        self._form: tuple[int, int] | None = None
        # One each: FFmpeg's scaler takes megabytes, and frames would make their own.
        self._to_rgb, self._to_grey = VideoReformatter(), VideoReformatter()

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def ticks(self) -> Iterator[av.VideoFrame]:
        """Yields the frame of each tick: the same object again where a frame is repeated.

        Raises:
          UserError: naming the file, if no frame can be decoded.
        """
        slack = min(self._stream.time_base or _SLACK, _SLACK)
        shown, uses = None, 0
        for time, frame in self._timed():
            while shown is not None and self.count / self.fps + slack < time:
                self.count += 1
                uses += 1
                yield shown
            if shown is not None:
                self.repeated += max(uses - 1, 0)
                self.skipped += not uses
            shown, uses = frame, 0
        self.duration = time
        if not self._frames:
            raise UserError(f"{self.path}: no frame can be decoded; check the file")

    def notes(self) -> list[str]:
        """What was put right, and what is missing; complete once the ticks have run through."""
        counted = {
            f"{self._broken} broken frames or packets left out": self._broken,
            f"{self._unstamped} frames without time stamps, placed by the rate": self._unstamped,
            f"time stamps jump {self._jumps} times, passed over": self._jumps,
            f"{self._interlaced} interlaced frames, deinterlaced": self._interlaced,
            f"turned by {self._turned % 360}°, as the file says": self._turned,
        }
        notes = [text for text, count in counted.items() if count]
        missing = self._announced - self.duration
        if missing > _TRUNCATED:
            notes.append(f"{float(missing):.1f} s less than its header says: truncated or broken")
        return notes

    def _header_duration(self) -> Fraction:
        """Seconds that the file's header says, truncated or not; 0 if it says none."""
        stream, length = self._stream, self._container.duration or 0
        if stream.duration is not None and stream.time_base is not None:
            return max(stream.duration * stream.time_base, stream.frames * self._period)
        return max(Fraction(length, av.time_base), stream.frames * self._period)

    def rgb(self, frame: av.VideoFrame, short: int) -> np.ndarray:
        """A frame as uint8 [height, width, 3], RGB, upright, the shorter side ``short`` pixels."""
        return self._upright(frame, self._to_rgb.reformat(frame, format="rgb24"), short)

    def grey(self, frame: av.VideoFrame, short: int) -> np.ndarray:
        """A frame as uint8 [height, width], its luminance, upright, the shorter side ``short``."""
        return self._upright(frame, self._to_grey.reformat(frame, format="gray"), short)

    def _upright(self, frame: av.VideoFrame, converted: av.VideoFrame, short: int) -> np.ndarray:
        """Resized as TSN's tools do (bilinear), and turned counter-clockwise by its rotation."""
        image = converted.to_ndarray()
        height, width = self._form = self._form or image.shape[:2]  # some change in mid-stream
        scale = short / min(height, width)
        size = (max(round(width * scale), short), max(round(height * scale), short))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        self._turned = self._turned or frame.rotation
        return np.ascontiguousarray(np.rot90(resized, round(frame.rotation / 90)))

    def _clock(self, frame: av.VideoFrame) -> Fraction:
        """Seconds that a frame's stamps count; a decoder's last frames may not say it."""
        return frame.time_base or self._stream.time_base or self._period

    def _timed(self) -> "Iterator[tuple[Fraction, av.VideoFrame | None]]":
        """Frames with the seconds since the first one; at last the end, with None."""
        time, length, shift = -self._period, self._period, None
        for stamp, frame in self._stamped(self._deinterlaced(self._decoded())):
            expected = time + self._period
            if stamp is None:
                self._unstamped += 1
                time = expected
            else:
                if shift is None:
                    shift = expected - stamp
                elif not time <= stamp + shift <= time + _LONGEST:
                    self._jumps += 1
                    shift = expected - stamp
                time = stamp + shift
            self._frames += 1
            length = (frame.duration or 0) * self._clock(frame) or self._period
            yield time, frame
        yield time + length, None

    def _stamped(
        self, frames: Iterator[av.VideoFrame]
    ) -> Iterator[tuple[Fraction | None, av.VideoFrame]]:
        """Frames, which a decoder gives in order, with their stamps in order: seconds, or None."""
        waiting: deque[av.VideoFrame] = deque()
        stamps: list[Fraction] = []
        last = Fraction(0)
        for frame in frames:
            stamp = None if frame.pts is None else frame.pts * self._clock(frame)
            while waiting and (
                len(waiting) == _DISORDER or stamp is None or abs(stamp - last) > _NEAR
            ):
                yield heapq.heappop(stamps), waiting.popleft()
            if stamp is None:
                yield None, frame
            else:
                waiting.append(frame)
                heapq.heappush(stamps, stamp)
                last = stamp
        while waiting:
            yield heapq.heappop(stamps), waiting.popleft()

    def _deinterlaced(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Frames through FFmpeg's bwdif from the first one on that is flagged as interlaced."""
        graph: av.filter.Graph | None = None
        form = None
        for frame in frames:
            if graph is None and not frame.interlaced_frame:
                yield frame
                continue
            self._interlaced += frame.interlaced_frame
            if graph is None or form != (frame.width, frame.height, frame.format.name):
                if graph is not None:
                    yield from _through(graph, None)
                graph = self._filter(frame)
                form = frame.width, frame.height, frame.format.name
            yield from _through(graph, frame)
        if graph is not None:
            yield from _through(graph, None)

    def _filter(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=self._clock(frame),
        )
        graph.link_nodes(
            source,
            graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            graph.add("buffersink"),
        ).configure()
        return graph

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """The frames that can be decoded; what cannot is counted."""
        packets = self._container.demux(self._stream)
        ended = False
        while not ended:
            packet = None  # ends the decoder
            with contextlib.suppress(StopIteration):
                try:
                    packet = next(packets)
                except FFmpegError:  # the file ends in the middle of something
                    self._broken += 1
            ended = packet is None or packet.size == 0
            try:
                for frame in self._stream.codec_context.decode(packet):
                    if frame.is_corrupt:
                        self._broken += 1
                    else:
                        yield frame
            except FFmpegError:
                self._broken += 1


def _through(graph: av.filter.Graph, frame: "av.VideoFrame | None") -> Iterator[av.VideoFrame]:
    """What comes out of a filter when ``frame`` goes in; None ends it."""
    graph.vpush(frame)
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()
