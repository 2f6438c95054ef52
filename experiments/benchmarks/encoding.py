"""How fast videos are encoded, stage by stage and as a whole, and what memory a long one takes.

- *decode*: reading a video's units, converted, resized and cropped, without flow;
- *flow*: DIS of the same frames' pairs;
- *network*: a small convolutional network per stream on the same units' images;
- *whole*: `encode`, which runs the first two in a thread beside the third; ``whole_per_sum`` is
  its rate against 1/Σ(1/rate) of the stages: 1 is what one core would do that takes them in turns;
- *memory*: the peak of a process that encodes a video of one minute, and one of MINUTES (60).

The video is a moving texture of 10 seconds (340×256, 25 frames per second, H.264), repeated.

    python -m experiments.benchmarks.encoding [MINUTES]
"""

import multiprocessing
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import av
import numpy as np
import tensorflow as tf

from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.encoding.encode import EncodingSettings, encode
from cpmn_tf.encoding.flow import open_flow
from cpmn_tf.encoding.units import read_units
from experiments.benchmarks.large_sets import memory

FPS, SECONDS, ROUNDS, BATCH = 25, 10, 3, 16
SETTINGS = EncodingSettings(unit_frames=5)


class SmallNetwork:
    """Two convolutions and an average: a network of one stream."""

    def __init__(self, size: int, channels: int):
        self.size, self.channels, self.width = size, channels, 64
        rng = np.random.default_rng(0)
        shapes = (7, 7, channels, 32), (3, 3, 32, 64)
        self._kernels = [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]
        self._call = tf.function(self._features, reduce_retracing=True)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._call(images).numpy()

    def describe(self) -> dict:
        return {"name": "two convolutions"}

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        values = tf.cast(images, tf.float32) / 128 - 1
        for kernel, stride in zip(self._kernels, (4, 2), strict=True):
            values = tf.nn.relu(tf.nn.conv2d(values, kernel, stride, "SAME"))
        return tf.reduce_mean(values, (1, 2))


def write_video(folder: pathlib.Path, seconds: int) -> pathlib.Path:
    """Writes a moving texture, and repeats it until it lasts ``seconds``."""
    once = folder / "once.mp4"
    if not once.exists():
        noise = np.random.default_rng(0).integers(0, 255, (32, 43, 3), np.uint8)
        texture = np.repeat(np.repeat(noise, 8, 0), 8, 1)[:, :340]
        with av.open(str(once), "w") as file:
            stream = file.add_stream("libx264", FPS, width=340, height=256, pix_fmt="yuv420p")
            for number in range(FPS * SECONDS):
                image = np.roll(texture, (number, 2 * number), (0, 1))
                file.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            file.mux(stream.encode(None))
    path = folder / f"{seconds}.mp4"
    with av.open(str(path), "w") as file:
        copied = None
        for turn in range(seconds // SECONDS):
            with av.open(str(once)) as source:
                stream = source.streams.video[0]
                copied = copied or file.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.pts += turn * int(SECONDS / stream.time_base)
                        packet.dts += turn * int(SECONDS / stream.time_base)
                        packet.stream = copied
                        file.mux(packet)
    return path


def networks(size: int) -> dict[str, SmallNetwork]:
    """A small network per stream, warmed up."""
    nets = {"rgb": SmallNetwork(size, 3), "flow": SmallNetwork(size, 10)}
    for net in nets.values():
        net(np.zeros((BATCH, size, size, net.channels), np.uint8))
    return nets


def seconds_of(task: Callable[[], object]) -> float:
    """Median over the rounds."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        task()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure_speed(path: pathlib.Path, size: int) -> dict[str, float]:
    """Frames per second of each stage alone and of the whole."""
    nets = networks(size)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    compute = open_flow("dis")

    def still(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        pairs.append((first, second))
        return np.full((*first.shape, 2), 128, np.uint8)

    def decode() -> list[dict[str, np.ndarray]]:
        pairs.clear()
        with VideoFile(path) as video:
            return list(read_units(video, nets, unit_frames=5, compute_flow=still, crops=1))

    units = decode()

    def network() -> None:
        for start in range(0, len(units), BATCH):
            for name, net in nets.items():
                net(np.concatenate([unit[name] for unit in units[start : start + BATCH]]))

    tasks = {
        "decode": decode,
        "flow": lambda: [compute(*pair) for pair in list(pairs)],
        "network": network,
        "whole": lambda: list(encode({"video": path}, nets, SETTINGS, batch_size=BATCH)),
    }
    frames = len(units) * SETTINGS.unit_frames
    rates = {name: frames / seconds_of(task) for name, task in tasks.items()}
    bound = 1 / sum(1 / rates[name] for name in ("decode", "flow", "network"))
    figures = {f"{name}_frames_per_second": rate for name, rate in rates.items()}
    return {**figures, "whole_per_sum": rates["whole"] / bound}


def peak(path: str, size: int) -> tuple[float, float]:
    """Encodes a video; the seconds taken and the process's peak memory, MiB."""
    nets = networks(size)
    start = time.perf_counter()
    list(encode({"video": path}, nets, SETTINGS, batch_size=BATCH))
    taken = time.perf_counter() - start
    return taken, memory("VmHWM")


def measure_memory(folder: pathlib.Path, minutes: int, size: int) -> dict[str, float]:
    """Seconds and peak memory of one minute and of ``minutes``, each in a process of its own."""
    figures = {}
    for count in (1, minutes):
        path = write_video(folder, 60 * count)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            taken, used = pool.apply(peak, (str(path), size))
        figures[f"minutes_{count}_seconds"] = taken
        figures[f"minutes_{count}_peak_mebibytes"] = used
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        results = measure_speed(write_video(place, 20), 224)
        results |= measure_memory(place, int(sys.argv[1]) if len(sys.argv) > 1 else 60, 56)
        for key, value in results.items():
            print(f"{key}: {value:.4g}")
