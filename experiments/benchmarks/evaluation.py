"""How fast `evaluate` is, against ActivityNet's algorithm, and how much memory it takes.

    python -m experiments.benchmarks.evaluation            # both, about a minute
    python -m experiments.benchmarks.evaluation --memory   # memory alone

The algorithm is that of ActivityNet's eval_detection.py (see :func:`activitynet_loop`): a loop over
the detections of each class, tIoU vectorised over the video's instances, free instances looked for
in falling tIoU at each threshold. Dictionaries of arrays spare it the original's pandas look-ups,
which take most of the original's time. Both are timed from the same objects to mAP.
Where THUMOS14's files are (``CPMN_THUMOS14_DIR``), both first give the golden values.
"""

import subprocess
import sys
import time

import numpy as np

from cpmn_tf.commands import cli
from cpmn_tf.evaluation import PROTOCOLS, evaluate
from cpmn_tf.formats.annotations import (
    Annotations,
    Detections,
    Instance,
    Video,
    load_annotations,
    load_detections,
)
from experiments.harness.thumos14_data import thumos14_dir

ACTIVITYNET_TIOU = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
GOLDEN = "52.12 44.20 34.70 26.06 17.70 10.09 4.99"


def activitynet_loop(truth: dict, found: dict, tiou: tuple[float, ...]) -> np.ndarray:
    """[T] mAP by ActivityNet's algorithm, step by step as its code goes.

    Args:
      truth: class to video to (numbers [n] within the class, segments [n, 2]).
      found: class to (videos, segments [m, 2], scores [m]).
      tiou: thresholds.
    """
    rows = []
    for label, by_video in truth.items():
        videos, segments, scores = found.get(label, ([], np.zeros((0, 2)), np.zeros(0)))
        total = sum(len(numbers) for numbers, _ in by_video.values())
        locked = np.full((len(tiou), total), -1.0)
        hit = np.zeros((len(tiou), len(videos)))
        miss = np.zeros((len(tiou), len(videos)))
        for rank, row in enumerate(np.argsort(-scores, kind="stable")):
            if videos[row] not in by_video:
                miss[:, rank] = 1
                continue
            numbers, instances = by_video[videos[row]]
            overlap = segment_iou(segments[row], instances)
            order = overlap.argsort()[::-1]
            for place, threshold in enumerate(tiou):
                for instance in order:
                    if overlap[instance] < threshold:
                        miss[place, rank] = 1
                        break
                    if locked[place, numbers[instance]] >= 0:
                        continue
                    hit[place, rank] = 1
                    locked[place, numbers[instance]] = rank
                    break
                if miss[place, rank] == 0 and hit[place, rank] == 0:
                    miss[place, rank] = 1
        hits, misses = np.cumsum(hit, axis=1), np.cumsum(miss, axis=1)
        rows.append(
            [
                interpolated_precision(one / (one + other), one / total)
                for one, other in zip(hits, misses, strict=True)
            ]
        )
    return np.mean(rows, axis=0)


def segment_iou(target: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """[n] tIoU of one segment with n others as ActivityNet computes it."""
    first = np.maximum(target[0], candidates[:, 0])
    last = np.minimum(target[1], candidates[:, 1])
    shared = (last - first).clip(0)
    union = (candidates[:, 1] - candidates[:, 0]) + (target[1] - target[0]) - shared
    return shared.astype(float) / union


def interpolated_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """VOC's interpolated AP as ActivityNet computes it (its loop over ranks vectorised)."""
    precision = np.hstack([[0], precision, [0]])
    recall = np.hstack([[0], recall, [1]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[step] - recall[step - 1]) * precision[step]))


def grouped(annotations: Annotations, detections: Detections) -> tuple[dict, dict]:
    """The arguments of :func:`activitynet_loop`."""
    lists: dict = {}
    for video in annotations.videos.values():
        for item in sorted(video.instances):
            lists.setdefault(item.label, {}).setdefault(video.id, []).append((item.start, item.end))
    truth: dict = {}
    for label, by_video in lists.items():
        first = 0
        for video, rows in by_video.items():
            numbers = np.arange(first, first + len(rows))
            truth.setdefault(label, {})[video] = (numbers, np.array(rows))
            first += len(rows)
    found = {}
    for number, label in enumerate(detections.classes):
        rows = np.flatnonzero(detections.label == number)
        segments = np.stack([detections.start[rows], detections.end[rows]], axis=1)
        videos = [detections.videos[place] for place in detections.video[rows]]
        found[label] = (videos, segments, detections.score[rows])
    return truth, found


def synthetic(number: int, *, videos: int = 5000, classes: int = 200, seed: int = 0):
    """A data set of ActivityNet's shape; 85 % of the detections are of their video's class."""
    generator = np.random.default_rng(seed)
    names = tuple(f"class {place:03d}" for place in range(classes))
    duration = generator.uniform(30, 240, videos)
    database = {}
    for place in range(videos):
        begins = np.sort(generator.uniform(0, 0.8, 1 + generator.poisson(0.6))) * duration[place]
        lengths = generator.uniform(0.02, 0.5, len(begins)) * duration[place]
        name, label = f"v_{place:05d}", names[place % classes]
        instances = tuple(
            Instance(float(begin), float(min(begin + length, duration[place])), label)
            for begin, length in zip(begins, lengths, strict=True)
        )
        database[name] = Video(
            name, "validation", (label,), instances, duration=float(duration[place])
        )
    video = np.sort(generator.integers(0, videos, number)).astype(np.int32)
    other = generator.integers(0, classes, number)
    label = np.where(generator.random(number) < 0.85, video % classes, other).astype(np.int32)
    start = generator.uniform(0, 0.9, number) * duration[video]
    end = np.minimum(
        start + generator.uniform(0.02, 0.6, number) * duration[video], duration[video]
    )
    detections = Detections(
        tuple(database), names, video, label, start, end, generator.random(number)
    )
    return Annotations(database, names), detections


def show_golden() -> None:
    """Both evaluators on STPN's published detections."""
    data = thumos14_dir()
    if data is None:
        print("golden values: skipped; CPMN_THUMOS14_DIR names the folder of THUMOS14's files")
        return
    annotations = load_annotations(data / "stpn_groundtruth_210.json")
    detections = load_detections(data / "stpn_detections.json")
    result = evaluate(annotations, detections, protocol="activitynet")
    loop = activitynet_loop(*grouped(annotations, detections), result.tiou)
    for name, values in (("evaluate", result.map), ("ActivityNet's loop", loop)):
        figures = " ".join(f"{100 * value:.2f}" for value in values)
        print(f"golden values, {name}: {figures} ({'as' if figures == GOLDEN else 'NOT as'} known)")


def show_speed(number: int, repeats: int = 12) -> None:
    """Both evaluators in turn on the same detections; the best processor time of each."""
    annotations, detections = synthetic(number)
    times = {"evaluate": [], "loop": []}
    for repeat in range(repeats):
        begin = time.process_time()
        result = evaluate(annotations, detections, protocol="activitynet", tiou=ACTIVITYNET_TIOU)
        times["evaluate"].append(time.process_time() - begin)
        if repeat % 6 == 0:  # the slow one less often, between runs of the other
            begin = time.process_time()
            loop = activitynet_loop(*grouped(annotations, detections), ACTIVITYNET_TIOU)
            times["loop"].append(time.process_time() - begin)
    np.testing.assert_allclose(result.map, loop, rtol=0, atol=1e-12)
    fast, slow = min(times["evaluate"]), min(times["loop"])
    print(
        f"speed, {number} detections, {len(annotations.videos)} videos, "
        f"{len(annotations.classes)} classes, {len(ACTIVITYNET_TIOU)} thresholds, equal mAP: "
        f"evaluate {fast:.3f} s, ActivityNet's loop {slow:.2f} s, {slow / fast:.0f} times"
    )


def show_memory(number: int, protocol: str) -> None:
    """Prints the peak memory of a process that makes so many detections and evaluates them."""
    program = (
        "import resource; from experiments.benchmarks.evaluation import *; "
        f"evaluate(*synthetic({number}), protocol={protocol!r}, tiou=ACTIVITYNET_TIOU); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    command = [sys.executable, "-c", program]
    peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(f"memory, {number} detections, {protocol}: {peak} MiB")


def define_flags(values: cli.Flags) -> None:
    """Flags of the benchmark."""
    values.integer("detections", "Detections of the speed's data.", default=200_000)
    values.boolean("memory", "Measure memory only.")


def run(values: cli.Flags) -> None:
    """Measures what the flags ask for."""
    if not values.memory:
        show_golden()
        show_speed(values.detections)
    for number in (0, 250_000, 500_000, 1_000_000):
        for protocol in PROTOCOLS:
            show_memory(number, protocol)


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.benchmarks.evaluation", __doc__, define_flags, run))
