"""Videos to features: one pass over each, decoding and flow in a thread beside the networks.

Batches are filled across videos. What is held is a queue of a batch's units, the frames that units
still need, and the features of the videos in work: memory does not grow with a video's frames.
"""

import contextlib
import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import cv2
import numpy as np
from av.error import FFmpegError

import cpmn_tf
from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.encoding.description import CROPS, METHODS
from cpmn_tf.encoding.flow import BOUND, open_flow
from cpmn_tf.encoding.inputs import find_videos
from cpmn_tf.encoding.outputs import FeatureFolder
from cpmn_tf.encoding.units import StreamEncoder, read_units, short_side
from cpmn_tf.errors import Problem, UserError, raise_first
from cpmn_tf.shards import share

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodingSettings:
    """How units are drawn from videos.

    Attributes:
      unit_frames: n_u, frames per unit.
      fps: frames per second that are drawn; None: each video's own average rate.
      flow: ``dis`` or ``tvl1``.
      crops: 1, the centre, or 10, whose features are averaged.

    >>> from cpmn_tf.encoding.encode import EncodingSettings
    >>> EncodingSettings(unit_frames=16, flow="tvl1")
    EncodingSettings(unit_frames=16, fps=None, flow='tvl1', crops=1)
    """

    unit_frames: int
    fps: float | None = None
    flow: str = METHODS[0]
    crops: int = CROPS[0]

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
          UserError: naming the argument and the allowed range.
        """
        if self.unit_frames < 1:
            raise UserError(f"`unit_frames` is {self.unit_frames}; give a number from 1 on")
        if self.fps is not None and not 0.01 <= self.fps <= 1000:
            raise UserError(f"`fps` is {self.fps}; give a number from 0.01 to 1000")
        for name, known in (("flow", METHODS), ("crops", CROPS)):
            if getattr(self, name) not in known:
                shown = ", ".join(map(str, known))
                raise UserError(f"`{name}` is {getattr(self, name)!r}; give one of {shown}")

    def describe(self, streams: Mapping[str, StreamEncoder]) -> dict[str, Any]:
        """All that makes features what they are, as plain values for ``encoder.json``."""
        pairs = {name: net.channels // 2 for name, net in streams.items() if net.channels != 3}
        flow = {"method": self.flow, "frames": pairs, "bound": BOUND} if pairs else None
        return {
            "streams": {name: net.describe() for name, net in streams.items()},
            "unit_frames": self.unit_frames,
            "fps": self.fps,
            "flow": flow,
            "short_side": {name: short_side(net.size) for name, net in streams.items()},
            "crop": {name: net.size for name, net in streams.items()},
            "crops": self.crops,
            "cpmn_tf": cpmn_tf.__version__,
            "opencv": cv2.__version__,
        }


@dataclasses.dataclass(frozen=True)
class EncodedVideo:
    """A video's features, and what was found of it.

    Attributes:
      id: the video's.
      fps: frames drawn per second.
      duration: seconds from the first frame to the end of the last.
      frames: that were drawn; T is ⌊frames/n_u⌋.
      repeated, skipped: drawn frames that are the one before; the file's frames never drawn.
      notes: what else is worth telling.
      features: [T, G] float32 per stream.

    >>> import numpy as np
    >>> from cpmn_tf.encoding.encode import EncodedVideo
    >>> features = {"rgb": np.zeros([2, 101], np.float32)}
    >>> print(EncodedVideo("clip", 25.0, 1.28, 32, 1, 0, (), features))
    clip: 2 units, 32 frames at 25 per second, 1.280 s; 1 repeated, 0 skipped
    """

    id: str
    fps: float
    duration: float
    frames: int
    repeated: int
    skipped: int
    notes: tuple[str, ...]
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        units = len(next(iter(self.features.values())))
        line = (
            f"{self.id}: {units} units, {self.frames} frames at {self.fps:.6g} per second, "
            f"{self.duration:.3f} s; {self.repeated} repeated, {self.skipped} skipped"
        )
        return "; ".join([line, *self.notes])


@dataclasses.dataclass(frozen=True)
class EncodedFolder:
    """What :func:`encode_videos` did: ids of videos, and the error of each that failed.

    >>> from cpmn_tf.encoding.encode import EncodedFolder
    >>> EncodedFolder(["clip"], [], {"other": "other.mp4: holds no video"}).failed
    {'other': 'other.mp4: holds no video'}
    """

    encoded: list[str]
    finished: list[str]
    failed: dict[str, str]


def encode_videos(
    videos: Iterable[str | os.PathLike],
    *,
    output_dir: str | os.PathLike,
    streams: Mapping[str, StreamEncoder],
    settings: EncodingSettings,
    batch_size: int = 16,
    shard: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> EncodedFolder:
    """Encodes videos into a folder; those that are finished there are not encoded again.

    Args:
      videos: files, folders and lists; see :func:`~cpmn_tf.encoding.inputs.find_videos`.
      output_dir: of ``features/STREAM/ID.npy``, ``videos.csv`` and ``encoder.json``.
      streams: the networks by stream.
      settings: how units are drawn.
      batch_size: units per call of a network.
      shard: K/N, such as ``3/64``: only every N-th video is encoded, from the K-th on;
        other processes take the others, into the same folder.
      report: takes a line for each video.

    Raises:
      UserError: if the folder's features were made otherwise, if two videos have one id, or if the
        disk refuses. A video that cannot be read is in the result, and the others go on.
    """
    found = find_videos(videos)
    if shard is not None:
        found = dict(share(list(found.items()), shard))
    folder = FeatureFolder(output_dir, settings.describe(streams))
    finished = [key for key in found if folder.finished(key)]
    todo = {key: path for key, path in found.items() if key not in finished}
    failed: dict[str, str] = {}

    def problem(kind: str, message: str, video: str = "") -> None:
        failed[video] = message
        report(f"not encoded: {message}")

    encoded = []
    for video in encode(todo, streams, settings, batch_size=batch_size, problem=problem):
        folder.add(video)
        encoded.append(video.id)
        report(str(video))
    return EncodedFolder(encoded, finished, failed)


def encode(
    videos: Mapping[str, str | os.PathLike],
    streams: Mapping[str, StreamEncoder],
    settings: EncodingSettings,
    *,
    batch_size: int = 16,
    problem: Problem = raise_first,
) -> Iterator[EncodedVideo]:
    """Yields videos with their features, in the order in which they are given.

    Args:
      videos: files by id.
      streams: the networks by stream.
      settings: how units are drawn.
      batch_size: units per call of a network.
      problem: called for each video that cannot be read, which is left out if it returns.
    """
    rows: dict[str, list[dict[str, np.ndarray]]] = {key: [] for key in videos}
    batch: list[tuple[str, dict[str, np.ndarray]]] = []
    ended: list[EncodedVideo] = []

    def run() -> None:
        for (key, _), row in zip(batch, _features(streams, [x for _, x in batch]), strict=True):
            rows[key].append(row)
        batch.clear()

    def complete(video: EncodedVideo) -> bool:
        return len(rows[video.id]) == video.frames // settings.unit_frames

    def finish(video: EncodedVideo) -> EncodedVideo:
        units = rows.pop(video.id)
        features = {name: np.stack([unit[name] for unit in units]) for name in streams}
        return dataclasses.replace(video, features=features)

    with ahead(_read(videos, streams, settings), batch_size) as items:
        for key, item in items:
            if isinstance(item, UserError):
                del rows[key]
                batch[:] = [unit for unit in batch if unit[0] != key]
                problem("unreadable", str(item), key)
            elif isinstance(item, EncodedVideo):
                ended.append(item)
            else:
                batch.append((key, item))
                if len(batch) == batch_size:
                    run()
            while ended and complete(ended[0]):
                yield finish(ended.pop(0))
    if batch:
        run()
    yield from map(finish, ended)


Read = tuple[str, dict[str, np.ndarray] | EncodedVideo | UserError]


def _read(
    videos: Mapping[str, str | os.PathLike],
    streams: Mapping[str, StreamEncoder],
    settings: EncodingSettings,
) -> Iterator[Read]:
    """Yields (id, a unit's images) and at a video's end what it is, or why it cannot be read."""
    wanted = {"unit_frames": settings.unit_frames, "crops": settings.crops}
    compute_flow = open_flow(settings.flow)
    for key, path in videos.items():
        try:
            with VideoFile(path, fps=settings.fps) as video:
                for images in read_units(video, streams, compute_flow=compute_flow, **wanted):
                    yield key, images
                yield key, _found(key, video, settings.unit_frames)
        except UserError as error:
            yield key, error
        except FFmpegError as error:  # of a picture that FFmpeg cannot convert
            yield key, UserError(f"{path}: cannot be decoded ({error.strerror}); convert the file")


def _found(key: str, video: VideoFile, unit_frames: int) -> EncodedVideo:
    """What a video is that was read to its end.

    Raises:
      UserError: if it is shorter than a unit.
    """
    fps, rest = float(video.fps), video.count % unit_frames
    if video.count < unit_frames:
        raise UserError(
            f"{video.path}: has {video.count} frames at {fps:.6g} per second, fewer than a unit's "
            f"{unit_frames}; leave it out, or give a larger `fps`"
        )
    notes = video.notes()
    if rest:
        notes.append(f"the last {rest} frames are no whole unit")
    return EncodedVideo(
        id=key,
        fps=fps,
        duration=float(video.duration),
        frames=video.count,
        repeated=video.repeated,
        skipped=video.skipped,
        notes=tuple(notes),
    )


def _features(
    streams: Mapping[str, StreamEncoder], units: list[dict[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """Each unit's [G] by stream, averaged over its crops."""
    rows: list[dict[str, np.ndarray]] = [{} for _ in units]
    for name, net in streams.items():
        images = np.concatenate([unit[name] for unit in units])
        values = np.asarray(net(images), np.float32).reshape(len(units), -1, net.width).mean(1)
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


@contextlib.contextmanager
def ahead(items: Iterator[Item], most: int) -> Iterator[Iterator[Item]]:
    """Runs an iterator in a thread of its own, by ``most`` items ahead of who takes them.

    An error of the iterator is raised where its items are taken. Leaving the block ends the thread.
    """
    made: queue.SimpleQueue[tuple[Item | None, BaseException | None]] = queue.SimpleQueue()
    free, stopped = threading.Semaphore(most), threading.Event()

    def make() -> None:
        error: BaseException | None = None
        try:
            while not stopped.is_set():
                made.put((next(items), None))
                free.acquire()
        except BaseException as raised:
            error = raised
        made.put((None, error))

    def taken() -> Iterator[Item]:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            free.release()
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=make, name="decoding", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        free.release()
        thread.join()
