"""The embedded data set: untrimmed recordings of shoulder exercises, composed from real recordings.

Ten people did seven shoulder exercises with a smartwatch on each arm in turn: accelerometer and
gyroscope, 50 samples per second, one set per person, arm and exercise (D. Burns et al., Shoulder
physiotherapy exercise recognition, 2018; shipped in the package seglearn, BSD). This module
composes untrimmed recordings from those sets, by a recipe frozen before the first training:

- a recording is one person's, one arm's; the arms take turns;
- it holds one (70 %) or two (30 %) of the exercises PEN, ABD, FEL, IR, ER, in 2 to 6 instances cut
  at random from that person's sets of that arm; of two exercises both occur;
- an instance's length is log-normal, median 7 s and sigma 0.6, clipped to 2-25 s;
- each instance is preceded, and the last followed, by 3-25 s of TRAP or ROW, which carry no label
  (a cut is never longer than the set it is cut from, of which the shortest lasts 18.9 s; the last
  one gives up to 0.08 s so that the recording ends with a whole unit);
- people 1-6 train (16 recordings each), people 7-10 test (10 each).
"""

import importlib.util
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from cpmn_tf.errors import Problem, UserError
from cpmn_tf.files import file_sha256
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from tfrecords_tools.reading.descriptors import describe, mirror
from tfrecords_tools.sources import SourceSettings, SourceVideo

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
FPS = 50  # samples per second
UNIT_FRAMES = 5  # samples per unit: ten units per second
CLASSES = ("PEN", "ABD", "FEL", "IR", "ER")
BACKGROUND = ("TRAP", "ROW")
ARMS = ("left", "right")
# Recordings of each person, by subset.
PEOPLE = {"training": dict.fromkeys(range(1, 7), 16), "testing": dict.fromkeys(range(7, 11), 10)}
STREAMS = {"accelerometer": slice(0, 3), "gyroscope": slice(3, 6)}  # columns of the samples

Sets = Mapping[tuple[int, str, str], np.ndarray]


def find_data() -> pathlib.Path:
    """The data file inside the installed package seglearn, which is not imported.

    Raises:
      UserError: if the package is not installed.
    """
    spec = importlib.util.find_spec("seglearn")
    if spec is None or spec.origin is None:
        raise UserError(
            "the package seglearn, which holds the watch data, is not installed; "
            "run: pip install 'cpmn-tf[watch]'"
        )
    return pathlib.Path(spec.origin).parent / "data" / "watch_dataset.npy"


def load_sets(path: pathlib.Path) -> Sets:
    """Reads the sets: [n, 6] ax ay az wx wy wz by (person, arm, exercise).

    The file is a pickle, so that it is unpickled only if it is the very file known.

    Raises:
      UserError: if it cannot be read or is another file.
    """
    if file_sha256(path) != SHA256:
        raise UserError(
            f"{path}: is not the watch data of seglearn 1.2.5 (SHA-256 differs); run: "
            "pip install --force-reinstall 'seglearn==1.2.5'"
        )
    content = np.load(path, allow_pickle=True).item()
    names = content["y_labels"]
    columns = (content["X"], content["subject"], content["side"], content["y"])
    return {
        (int(person), ARMS[int(side)], names[int(label)]): values
        for values, person, side, label in zip(*columns, strict=True)
    }


def _cut(rng: np.random.Generator, values: np.ndarray, seconds: float) -> np.ndarray:
    """A random cut of that length, or of the whole set where it is shorter."""
    length = min(round(seconds * FPS), len(values))
    start = rng.integers(len(values) - length + 1)
    return values[start : start + length]


def _labels(rng: np.random.Generator) -> list[str]:
    """The exercises of one recording's instances, in order."""
    kinds = rng.choice(CLASSES, size=2 if rng.random() < 0.3 else 1, replace=False)
    count = rng.integers(2, 7)
    labels = [*kinds, *rng.choice(kinds, size=count - len(kinds))]
    return [str(label) for label in rng.permutation(labels)]


def compose(
    sets: Sets, person: int, arm: str, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Instance, ...]]:
    """Composes one recording by the recipe.

    Returns:
      Samples [n, 6], n a multiple of ``UNIT_FRAMES``, and the instances in seconds.
    """
    pieces: list[np.ndarray] = []
    instances: list[Instance] = []

    def background() -> None:
        kind = BACKGROUND[rng.integers(len(BACKGROUND))]
        pieces.append(_cut(rng, sets[person, arm, kind], rng.uniform(3, 25)))

    for label in _labels(rng):
        background()
        seconds = np.clip(rng.lognormal(np.log(7), 0.6), 2, 25)
        start = sum(map(len, pieces))
        pieces.append(_cut(rng, sets[person, arm, label], seconds))
        end = start + len(pieces[-1])
        instances.append(Instance(start / FPS, end / FPS, label))
    background()
    samples = np.concatenate(pieces)
    return samples[: len(samples) // UNIT_FRAMES * UNIT_FRAMES], tuple(instances)


class WatchSource:
    """The composed recordings; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(self, *, seed: int):
        """Composes and describes all recordings; the same seed gives the same recordings."""
        sets = load_sets(find_data())
        self.notes = ["recordings are composed from real recordings (see the README)"]
        self.facts = {
            "source": "watch",
            "description": "untrimmed recordings of shoulder exercises, composed from real "
            "recordings of ten people wearing a smartwatch",
            "seed": seed,
            "fps": FPS,
            "unit_frames": UNIT_FRAMES,
        }
        self._descriptors: dict[str, dict[str, np.ndarray]] = {}
        videos = {}
        for subset, people in PEOPLE.items():
            for person, count in people.items():
                for index in range(count):
                    arm = ARMS[index % 2]
                    rng = np.random.default_rng([seed, person, index])
                    samples, instances = compose(sets, person, arm, rng)
                    key = f"person{person:02d}_{arm}_{index:03d}"
                    worn = mirror(samples) if arm == "left" else samples
                    self._descriptors[key] = {
                        name: describe(worn[:, columns], unit_frames=UNIT_FRAMES)
                        for name, columns in STREAMS.items()
                    }
                    labels = tuple(dict.fromkeys(item.label for item in instances))
                    duration = len(samples) / FPS
                    videos[key] = Video(
                        key, subset, labels, instances, duration=duration, fps=float(FPS)
                    )
        self.annotations = Annotations(videos, CLASSES)

    def videos(self, splits: Mapping[str, str]) -> Iterator[SourceVideo]:
        """Yields the recordings, standardised with the statistics of the split ``training``."""
        fitted = [
            values for key, values in self._descriptors.items() if splits.get(key) == "training"
        ]
        if not fitted:
            raise UserError("no recording is left in the split training; fix `holdout`")
        scales = {}
        for name in STREAMS:
            units = np.concatenate([values[name] for values in fitted])
            scales[name] = units.mean(axis=0), np.maximum(units.std(axis=0), 1e-6)
        for key, values in self._descriptors.items():
            if key in splits:
                # To a ten-thousandth, well below the noise, so that float16 makes nothing zero.
                features = {
                    name: np.round((values[name] - mean) / deviation, 4).astype(np.float32)
                    for name, (mean, deviation) in scales.items()
                }
                yield SourceVideo(id=key, rate=FPS / UNIT_FRAMES, features=features)


REQUIRED = ()
OPTIONAL = ("seed",)


def open_source(settings: SourceSettings, problem: Problem) -> WatchSource:
    """Composes the data set of ``settings.seed``; nothing can be wrong with its videos."""
    return WatchSource(seed=settings.seed)
