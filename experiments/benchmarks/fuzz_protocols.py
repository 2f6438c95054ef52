"""Both protocols against the toolkits' loops in plain Python, on small drawn splits.

    python -m experiments.benchmarks.fuzz_protocols   # 50,000 seeds, two minutes; make fuzz

The loops go as ActivityNet's eval_detection.py and TH14evaldet's TH14eventdetpr.m do, except that
tied scores go by video, then by start and end or, with every other seed, by the order of the file.
The splits hold what files hold: no instance, duplicates, which every third seed drops, zero
lengths, ambiguous intervals, classes and videos that the truth does not know, ties of scores and of
overlaps, rows in any order. Seeds are tests: one that fails stays one.
"""

import collections
import dataclasses
import sys
import time

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import PROTOCOLS, evaluate
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

SEEDS = 50_000
CLASSES = ("jump", "run", "swim", "dive")
TIOU = (0.1, 0.25, 0.3, 0.5, 0.6, 0.75, 1.0)

Segment = tuple[str, float, float]  # video, start, end
Scored = tuple[float, str, float, float]  # −score, video, start, end: sorts by rank


def draw(seed: int) -> tuple[Annotations, Detections, tuple[float, ...]]:
    """Truth, detections and thresholds of a seed."""
    generator = np.random.default_rng(seed)
    names = ["b", "a", "Zoë", "-v 1"][: generator.integers(1, 5)]
    # Beyond 16 instances of a class in a video, quicksort decides which of equal overlaps is first.
    crowded = generator.random() < 0.1
    # 0.1 · 3 is not 0.3: rounding meets thresholds.
    step = 1.0 if crowded else generator.choice([1.0, 0.1, 0.37])
    most = 25 if crowded else generator.choice([3, 12])  # few moments make many ties
    classes = 1 if crowded else generator.integers(1, 4)  # of the four, the last have no instance

    def moment() -> float:
        return float(generator.integers(0, most) * step)

    def segment() -> tuple[float, float]:
        first, last = sorted((moment(), moment()))
        return first, last

    def some(most: int) -> range:
        return range(generator.integers(0, most) if generator.random() < 0.8 else 0)

    videos = {}
    for name in names:
        instances = [Instance(*segment(), CLASSES[generator.integers(classes)]) for _ in some(6)]
        for place in range(most if crowded else 0):
            instances.append(Instance(float(place), float(place + 1), CLASSES[0]))
        again = [item for item in instances if generator.random() < 0.1]  # given twice, or nearly
        late = generator.choice([0.0, 0.004], len(again)).tolist()
        instances += [
            dataclasses.replace(item, start=item.start - shift, end=item.end + shift)
            for item, shift in zip(again, late, strict=True)
        ]
        ambiguous = tuple(segment() for _ in some(3))
        videos[name] = Video(name, "test", instances=tuple(instances), ambiguous=ambiguous)
    scores = generator.choice([-1.5, -0.0, 0.0, 0.5, 0.5 + 2**-40, 2.0], 3)
    rows = []
    for _ in some(80 if crowded else 40):
        video = [*names, "unlisted"][generator.integers(len(names) + 1)]
        near = videos[video].instances if video in videos else ()
        label = (*CLASSES, "unknown")[generator.integers(5)]
        start, end = segment()
        if near and generator.random() < 0.6:
            aim = near[generator.integers(len(near))]
            label, start = aim.label, aim.start
            end = aim.end if generator.random() < 0.5 else max(start, end)
        score = generator.random() if generator.random() < 0.5 else generator.choice(scores)
        rows.append((video, label, start, end, float(score)))
    rows += [row for row in rows if generator.random() < 0.1]
    tiou = generator.choice(TIOU, 7 if crowded else generator.integers(1, 4), replace=False)
    shuffled = [rows[place] for place in generator.permutation(len(rows))]
    return Annotations(videos, CLASSES), Detections.from_rows(names, shuffled), tuple(tiou.tolist())


def activitynet(instances: list[Segment], found: list[Scored], threshold: float) -> float:
    """AP of one class, its detections in the order of their rank, as ActivityNet's loop has it."""
    lock: set[int] = set()
    hits = []
    for _, video, start, end in found:
        numbers = [n for n, instance in enumerate(instances) if instance[0] == video]
        overlaps = []
        for n in numbers:
            _, first, last = instances[n]
            shared = max(min(end, last) - max(start, first), 0.0)
            union = (last - first) + (end - start) - shared
            overlaps.append(shared / union if union else float("nan"))
        # Of long doubles, NumPy's quicksort is that of the published figures; NaN comes last.
        order = np.argsort(np.array(overlaps, np.longdouble), kind="quicksort")[::-1]
        hit = False
        for place in order.tolist():
            if overlaps[place] < threshold:
                break
            if numbers[place] not in lock:
                lock.add(numbers[place])
                hit = True
                break
        hits.append(hit)
    ranked = list(zip(hits, precision_of(hits), strict=True))
    # Interpolated: at each recall, the best precision at that recall or above.
    best = [max(value for _, value in ranked[n:]) for n, (hit, _) in enumerate(ranked) if hit]
    return sum(best) / len(instances)


def thumos14(
    instances: list[Segment], found: list[Scored], ambiguous: list[Segment], threshold: float
) -> float:
    """AP of one class as TH14eventdetpr has it."""

    def overlap(one: Segment, other: Segment) -> float:
        shared = min(one[2], other[2]) - max(one[1], other[1])
        return shared / (max(one[2], other[2]) - min(one[1], other[1])) if shared > 0 else 0.0

    judged: list[tuple[Scored, bool]] = []
    for video in {row[1] for row in found}:
        det = [row for row in found if row[1] == video]  # by score
        free = [True] * len(det)
        for instance in (row for row in instances if row[0] == video):
            left = [n for n in range(len(det)) if free[n]]
            overlaps = [overlap(instance, det[n][1:]) for n in left]
            if left and max(overlaps) > threshold:
                free[left[overlaps.index(max(overlaps))]] = False
        near = [row for row in ambiguous if row[0] == video]
        for n, row in enumerate(det):
            if not free[n] or sum(overlap(other, row[1:]) for other in near) == 0:
                judged.append((row, not free[n]))
    judged.sort(key=lambda pair: pair[0][:2])
    hits = [hit for _, hit in judged]
    precision = zip(precision_of(hits), hits, strict=True)
    return sum(value for value, hit in precision if hit) / len(instances)


def without_duplicates(rows: list[Segment]) -> list[Segment]:
    """Leaves out, in place, what starts and ends within 0.01 s of another that starts earlier."""
    by_start = sorted(range(len(rows)), key=lambda n: (rows[n], n))
    gone = {
        n
        for place, n in enumerate(by_start)
        for other in by_start[:place]
        if rows[n][0] == rows[other][0]
        and abs(rows[n][1] - rows[other][1]) <= 0.01
        and abs(rows[n][2] - rows[other][2]) <= 0.01
    }
    return [row for n, row in enumerate(rows) if n not in gone]


def precision_of(hits: list[bool]) -> list[float]:
    """The share of hits up to each rank."""
    return [sum(hits[:rank]) / rank for rank in range(1, len(hits) + 1)]


def check(seed: int) -> str:
    """Judges one drawn split by both protocols and by the loops; says what kind of split it was.

    Raises:
      AssertionError: if they differ; names the seed.
    """
    annotations, detections, tiou = draw(seed)
    videos = annotations.videos.values()
    truth = collections.defaultdict(list)
    for _, video in sorted(annotations.videos.items()):
        for item in video.instances:
            truth[item.label].append((video.id, item.start, item.end))
    columns = (detections.score, detections.video, detections.start, detections.end)
    found = collections.defaultdict(list)
    for label, score, video, start, end in zip(detections.label, *columns, strict=True):
        row = (-float(score), detections.videos[video], float(start), float(end))
        found[detections.classes[label]].append(row)
    drop, in_file_order = seed % 3 == 0, seed % 2 == 0
    for name in [*truth]:
        rows = without_duplicates(truth[name]) if drop else truth[name]
        truth[name] = rows if in_file_order else sorted(rows)
        # By score and video; Python's sorting keeps the order of the file.
        found[name].sort(key=(lambda row: row[:2]) if in_file_order else None)
    options = {"order": "file" if in_file_order else "sorted", "drop_duplicates": drop}
    ambiguous = [(video.id, *interval) for video in videos for interval in video.ambiguous]
    for protocol in PROTOCOLS:
        try:
            result = evaluate(annotations, detections, protocol=protocol, tiou=tiou, **options)
        except UserError as error:
            assert not truth and "no instance" in str(error), f"seed {seed}: {error}"
            return "nothing to find"
        assert list(result.per_class) == [name for name in CLASSES if name in truth], seed
        for name, values in result.per_class.items():
            rows, ranked = truth[name], found[name]
            for value, threshold in zip(values, tiou, strict=True):
                if protocol == "activitynet":
                    wanted = activitynet(rows, ranked, threshold)
                else:
                    wanted = thumos14(rows, ranked, ambiguous, threshold)
                text = f"seed {seed}, {protocol}, {name}, tIoU {threshold}: {value}, not {wanted}"
                assert abs(value - wanted) < 1e-12, text
        mean = np.mean([*result.per_class.values()], axis=0)
        np.testing.assert_allclose(result.map, mean, rtol=1e-12, err_msg=f"seed {seed}")
        unlisted = sum(row[1] not in annotations.videos for name in truth for row in found[name])
        assert result.counts.unlisted_detections == unlisted, seed
        judged = sum(len(found[name]) for name in truth)
        left = sum(map(len, truth.values()))
        assert result.counts.instances == left, seed
        assert result.counts.unscored_detections == len(detections) - judged, seed
    return "some found" if result.average_map else "nothing found"


if __name__ == "__main__":
    begin = time.monotonic()
    kinds = collections.Counter(map(check, range(int(sys.argv[1]) if sys.argv[1:] else SEEDS)))
    print(f"{kinds.total()} splits, no difference: {dict(kinds)}; {time.monotonic() - begin:.0f} s")
