"""How fast `evaluate` is, against ActivityNet's algorithm, and how much memory it takes.

    python -m experiments.benchmarks.evaluation   # about a minute

The algorithm is that of ActivityNet's eval_detection.py (see :func:`activitynet_loop`): a loop over
the detections of each class, tIoU vectorised over the video's instances, free instances looked for
in falling tIoU at each threshold. Dictionaries of arrays spare it the original's pandas look-ups,
which take most of the original's time. Both are timed from the same objects to mAP,
which must be equal.
"""

import subprocess
import sys
import time

import numpy as np

from cpmn_tf.evaluation import PROTOCOLS, evaluate
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

VIDEOS, CLASSES, DETECTIONS = 5000, 200, 200_000
ACTIVITYNET_TIOU = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


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
        precision, recall = hits / (hits + misses), hits / total
        rows.append([interpolated_precision(*pair) for pair in zip(precision, recall, strict=True)])
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
    truth: dict = {}
    for video in annotations.videos.values():
        for item in sorted(video.instances):
            truth.setdefault(item.label, {}).setdefault(video.id, []).append((item.start, item.end))
    for by_video in truth.values():
        first = 0
        for video, rows in by_video.items():
            by_video[video] = (np.arange(first, first + len(rows)), np.array(rows))
            first += len(rows)
    found = {}
    for number, label in enumerate(detections.classes):
        rows = np.flatnonzero(detections.label == number)
        segments = np.stack([detections.start[rows], detections.end[rows]], axis=1)
        videos = [detections.videos[place] for place in detections.video[rows]]
        found[label] = (videos, segments, detections.score[rows])
    return truth, found


def synthetic(
    number: int, videos: int = VIDEOS, classes: int = CLASSES
) -> tuple[Annotations, Detections]:
    """A data set of ActivityNet's shape; 85 % of the detections are of their video's class."""
    generator = np.random.default_rng(0)
    names = tuple(f"class {place:03d}" for place in range(classes))
    durations = generator.uniform(30, 240, videos)
    database = {}
    for place, duration in enumerate(durations.tolist()):
        starts = np.sort(generator.uniform(0, 0.8, 1 + generator.poisson(0.6))) * duration
        ends = np.minimum(starts + generator.uniform(0.02, 0.5, len(starts)) * duration, duration)
        name, label = f"v_{place:05d}", names[place % classes]
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        instances = tuple(Instance(start, end, label) for start, end in spans)
        database[name] = Video(name, "validation", (label,), instances, duration=duration)
    video = np.sort(generator.integers(0, videos, number)).astype(np.int32)
    other = generator.integers(0, classes, number)
    label = np.where(generator.random(number) < 0.85, video % classes, other).astype(np.int32)
    last = durations[video]
    start = generator.uniform(0, 0.9, number) * last
    end = np.minimum(start + generator.uniform(0.02, 0.6, number) * last, last)
    score = generator.random(number)
    found = Detections(tuple(database), names, video, label, start, end, score)
    return Annotations(database, names), found


def show_speed() -> None:
    """Both evaluators in turn on the same detections; the best processor time of each."""
    annotations, detections = synthetic(DETECTIONS)
    times: dict[str, list[float]] = {"evaluate": [], "loop": []}
    for repeat in range(12):
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
        f"speed, {DETECTIONS} detections, {VIDEOS} videos, {CLASSES} classes, "
        f"{len(ACTIVITYNET_TIOU)} thresholds, equal mAP: "
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


if __name__ == "__main__":
    show_speed()
    for count in (0, 250_000, 500_000, 1_000_000):
        for name in PROTOCOLS:
            show_memory(count, name)
