"""Simulated two-stream class scores along real or drawn timelines, of THUMOS14's size.

**Nothing here was seen by a camera.** THUMOS14's own features are not to be had on the machines
this is developed on; this is the rehearsal of its scale and of its difficulties, never its results.
Timelines (durations, frames per second, instances, ambiguous intervals) are those of
``--annotations``, such as THUMOS14's, or drawn from THUMOS14's published statistics. Along them a
video's units get scores like UntrimmedNet's fc-action layer, G=101 per stream, n_u=5 frames:

- an instance has a discriminative *core* of 30-60 % of its length, in which its class's own score
  stands out, and weaker, different *flanks* before and after it, whose pattern is in part that of
  four other classes too (a run-up looks alike in many sports);
- the video is a row of shots; those that hold an instance, half of the others, and a tenth of
  any other video's, show the class's *scene*, in which its own score is raised without the action;
- all other shots show one of 60 unrelated backgrounds (``--difficulty=sceneless``: all shots do);
- instances, shots and videos vary in strength, and correlated noise of standard deviation 1 is
  added to every score.

Strengths are in that unit. The stream ``rgb`` sees the scene well, ``flow`` the action. All
parameters were fixed before the first method was compared on the simulation and stay as they are.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import scipy.signal
import scipy.stats

from cpmn_tf.errors import Problem, UserError
from cpmn_tf.formats.annotations import Annotations, Instance, Video, load_annotations
from tfrecords_tools.sources import SourceSettings, SourceVideo

WIDTH = 101  # G: scores per stream, UCF101's classes
UNIT_FRAMES = 5
FPS = 30.0  # where the annotations do not say
MAX_FRAMES = 1_000_000  # of a video: 9 hours, and half a GiB while its scores are made
STREAMS = ("rgb", "flow")
BACKGROUNDS = 60
GROUP = 5  # classes whose flanks look alike in part
SUBSETS = {"validation": 200, "test": 213}
CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Strengths:
    """How far each part of a stream rises above noise of standard deviation 1."""

    core: float
    flank: float
    scene: float
    background: float = 2.5


STANDARD = {
    "rgb": Strengths(core=3.0, flank=1.5, scene=2.5),
    "flow": Strengths(core=4.0, flank=2.0, scene=1.0),
}
# Factors of the action's strength; core and flank alike, so that none favours a stage.
DIFFICULTIES = {"easier": 1.5, "standard": 1.0, "harder": 0.67, "sceneless": 1.0}


@dataclasses.dataclass(frozen=True)
class Templates:
    """What a stream's scores look like: unit vectors, [classes or backgrounds, G]."""

    core: np.ndarray
    before: np.ndarray
    after: np.ndarray
    scene: np.ndarray
    background: np.ndarray


def make_templates(rng: np.random.Generator, classes: int) -> Templates:
    """Draws one stream's templates; class c's own score is in a column of its own."""
    width = max(WIDTH, classes)
    own = np.eye(width)[rng.permutation(width)[:classes]]
    groups = np.repeat(_sparse(rng, -(-classes // GROUP), width), GROUP, axis=0)[:classes]

    def flank() -> np.ndarray:
        return _unit(0.3 * own + 0.6 * groups + 0.7 * _sparse(rng, classes, width))

    return Templates(
        core=_unit(0.7 * own + 0.7 * _sparse(rng, classes, width)),
        before=flank(),
        after=flank(),
        scene=_unit(0.4 * own + 0.9 * _sparse(rng, classes, width)),
        background=_sparse(rng, BACKGROUNDS, width),
    )


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _sparse(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Random unit vectors with about a tenth of the columns filled."""
    values = rng.normal(size=(rows, width)) * (rng.random((rows, width)) < 0.1)
    values[np.arange(rows), rng.integers(width, size=rows)] += 1e-3  # none is empty
    return _unit(values)


def draw_timelines(
    rng: np.random.Generator, classes_per_video: tuple[int, int] | None = None
) -> Annotations:
    """200 and 213 videos drawn from THUMOS14's published statistics.

    Log-normal durations (median 150 s, 5th to 95th percentile 31 to 700 s), instances (median
    3.0 s, 0.8 to 10.7 s; classes differ) and numbers of instances per minute (median 3.4); 85 % of
    the videos show one class, the others two.

    Args:
      rng: what all is drawn by.
      classes_per_video: least and most classes, drawn evenly, instead of the one or two. Where an
        instance of each takes more than 0.8 of the video, all its instances are shorter.
    """
    classes = tuple(f"class_{number:02d}" for number in range(CLASSES))
    quantiles = scipy.stats.norm.ppf((np.arange(CLASSES) + 0.5) / CLASSES)
    typical = 3.0 * np.exp(0.5 * rng.permutation(quantiles))
    videos = {}
    for subset, count in SUBSETS.items():
        for number in range(count):
            key = f"simulated_{subset}_{number:04d}"
            duration = float(np.clip(rng.lognormal(np.log(150), 0.95), 9, 1500))
            if classes_per_video is None:
                number_of_kinds = 2 if rng.random() < 0.15 else 1
            else:
                least, most = classes_per_video
                number_of_kinds = int(rng.integers(least, most + 1))
            kinds = rng.choice(CLASSES, size=number_of_kinds, replace=False)
            wanted = max(len(kinds), round(duration / 60 * rng.lognormal(np.log(3.4), 0.9)))
            labels = np.concatenate([kinds, rng.choice(kinds, size=wanted - len(kinds))])
            lengths = typical[labels] * rng.lognormal(0, 0.6, wanted)
            if classes_per_video is not None:
                lengths *= min(1.0, 0.79 * duration / lengths[: len(kinds)].sum())
            fitting = np.cumsum(lengths) <= 0.8 * duration
            labels = labels[fitting] if fitting.any() else labels[:1]
            lengths = lengths[fitting] if fitting.any() else np.array([0.5 * duration])
            # In random order, with random gaps between them.
            order = rng.permutation(len(labels))
            gaps = rng.dirichlet(np.ones(len(labels) + 1)) * (duration - lengths.sum())
            labels, lengths = labels[order], lengths[order]
            starts = np.cumsum(gaps[:-1]) + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
            instances = tuple(
                Instance(round(start, 1), min(round(start + length, 1), duration), classes[label])
                for start, length, label in zip(
                    starts.tolist(), lengths.tolist(), labels, strict=True
                )
            )
            names = tuple(dict.fromkeys(item.label for item in instances))
            videos[key] = Video(key, subset, names, instances, duration=duration, fps=FPS)
    return Annotations(videos, classes)


class SimulatedSource:
    """Simulated features; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(self, *, annotations: Annotations, seed: int, difficulty: str, timelines: str):
        """Draws the templates; features are made video by video.

        Args:
          annotations: the timelines; every video needs a duration.
          seed: of templates and videos; a video's features depend on it and on its id alone.
          difficulty: one of ``DIFFICULTIES``.
          timelines: where they come from, in words.

        Raises:
          UserError: naming a video without duration.
        """
        for video in annotations.videos.values():
            if video.duration is None:
                raise UserError(
                    f"{timelines}: video {video.id!r} has no duration; add it to simulate"
                )
            if video.duration * max(video.fps or FPS, UNIT_FRAMES) > MAX_FRAMES:
                raise UserError(
                    f"{timelines}: video {video.id!r} would have more than {MAX_FRAMES} frames; "
                    "correct its duration or fps"
                )
        self.annotations = annotations
        self.counts = Counter[tuple[str, str]]()
        self.notes = [f"features are SIMULATED along {timelines}; no camera saw them"]
        self.facts = {
            "source": "simulated",
            "description": f"simulated two-stream class scores along {timelines}",
            "seed": seed,
            "difficulty": difficulty,
            "unit_frames": UNIT_FRAMES,
        }
        self._seed, self._scale = seed, DIFFICULTIES[difficulty]
        self._scenes = difficulty != "sceneless"
        self._index = {name: place for place, name in enumerate(annotations.classes)}
        self._templates = {
            name: make_templates(np.random.default_rng([seed, place]), len(self._index))
            for place, name in enumerate(STREAMS)
        }

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
        """Yields the videos; nothing is fitted to data."""
        for video in self.annotations.videos.values():
            if video.id in (splits if wanted is None else wanted):
                rate = (video.fps or FPS) / UNIT_FRAMES
                yield SourceVideo(id=video.id, rate=rate, features=self._features(video, rate))

    def _features(self, video: Video, rate: float) -> dict[str, np.ndarray]:
        digest = hashlib.sha256(video.id.encode()).digest()[:8]
        rng = np.random.default_rng([self._seed, int.from_bytes(digest, "little")])
        units = max(1, int((video.duration or 0.0) * rate))
        centres = (np.arange(units) + 0.5) / rate
        acts = [self._act(rng, item, centres) for item in video.instances]
        shots = self._shots(rng, video, centres)
        return {name: self._stream(rng, name, units, acts, shots) for name in STREAMS}

    def _act(self, rng: np.random.Generator, instance: Instance, centres: np.ndarray) -> tuple:
        """An instance: its class, strength, and the units of flank, core and flank."""
        length = instance.end - instance.start
        core = length * rng.uniform(0.3, 0.6)
        start = instance.start + (length - core) * rng.uniform(0.2, 0.8)
        inside = (centres >= instance.start) & (centres < instance.end)
        middle = (centres >= start) & (centres < start + core)
        if not middle.any():  # shorter than a unit
            middle[np.argmin(np.abs(centres - start - core / 2))] = True
        before = inside & (centres < start) & ~middle
        after = inside & ~before & ~middle
        return self._index[instance.label], rng.lognormal(0, 0.25), before, middle, after

    def _shots(self, rng: np.random.Generator, video: Video, centres: np.ndarray) -> list[tuple]:
        """Each shot's units and what it shows: ('scene' or 'background', index), its strength."""
        seconds = max(min(centres[-1], video.duration or 0.0), 1.0)  # a unit may be longer
        lengths = rng.lognormal(np.log(5), 0.7, size=int(seconds) + 10)
        edges = np.searchsorted(np.cumsum(lengths), centres)
        own = [self._index[label] for label in video.labels]
        shots = []
        for number in np.unique(edges):
            where = edges == number
            first, last = centres[where][[0, -1]]
            held = [
                self._index[item.label]
                for item in video.instances
                if item.start < last and item.end > first
            ]
            chance, foreign = rng.random(), int(rng.integers(len(self._index)))
            shown = "background", int(rng.integers(BACKGROUNDS))
            if not self._scenes:
                pass  # a background in every shot
            elif held:
                shown = "scene", held[0]
            elif own and chance < 0.5:
                shown = "scene", own[int(rng.integers(len(own)))]
            elif chance >= 0.9:
                shown = "scene", foreign
            shots.append((where, *shown, rng.lognormal(0, 0.25)))
        return shots

    def _stream(
        self, rng: np.random.Generator, name: str, units: int, acts: list, shots: list
    ) -> np.ndarray:
        templates, strengths = self._templates[name], STANDARD[name]
        # First-order correlation 0.6 between neighbouring units, standard deviation 1.
        white = rng.normal(size=(units, templates.core.shape[1]))
        values = scipy.signal.lfilter([0.8], [1.0, -0.6], white, axis=0)
        values += rng.normal(scale=0.3, size=values.shape[1])  # the video's own offset
        for where, kind, index, strength in shots:
            template = getattr(templates, kind)[index]
            values[where] += getattr(strengths, kind) * strength * template
        for label, strength, before, core, after in acts:
            strength *= self._scale
            values[core] += strengths.core * strength * templates.core[label]
            for part, template in ((before, templates.before), (after, templates.after)):
                values[part] += strengths.flank * strength * template[label]
        # Four decimals are far below the noise, so that float16 makes nothing zero.
        return np.round(values, 4).astype(np.float32)


REQUIRED = ()
OPTIONAL = ("annotations", "seed", "difficulty", "classes_per_video")


def _range(text: str) -> tuple[int, int]:
    """Least and most classes of a video, of a number (``1``) or a range (``3-5``)."""
    least, dash, most = text.partition("-")
    try:
        bounds = int(least), int(most if dash else least)
    except ValueError:
        bounds = 0, 0
    if not 1 <= bounds[0] <= bounds[1] <= CLASSES:
        raise UserError(
            f"`classes_per_video={text}` is no number and no range of numbers from 1 to {CLASSES}; "
            "write it as 1 or 3-5"
        )
    return bounds


def open_source(settings: SourceSettings, problem: Problem) -> SimulatedSource:
    """Simulates along the timelines of ``settings.annotations``, or along drawn ones.

    Raises:
      UserError: if a timeline has no duration, there is no such difficulty, or
        ``classes_per_video`` is no range or is given with timelines that are not drawn.
    """
    if settings.difficulty not in DIFFICULTIES:
        known = ", ".join(DIFFICULTIES)
        raise UserError(f"`difficulty={settings.difficulty}` is none of {known}")
    classes = settings.classes_per_video
    if settings.annotations is None:
        rng = np.random.default_rng([settings.seed, 2])
        annotations = draw_timelines(rng, None if classes is None else _range(classes))
        timelines = "timelines drawn from THUMOS14's published statistics"
        if classes is not None:
            timelines += f" (classes per video: {classes})"
    elif classes is not None:
        raise UserError(
            "`classes_per_video` is for timelines that are drawn; leave out it or `annotations`"
        )
    else:
        annotations = load_annotations(settings.annotations)
        timelines = f"the timelines of {settings.annotations}"
    return SimulatedSource(
        annotations=annotations,
        seed=settings.seed,
        difficulty=settings.difficulty,
        timelines=timelines,
    )
