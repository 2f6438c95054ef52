"""The embedded data set: untrimmed recordings of shoulder exercises, composed from real recordings.

Ten people did seven shoulder exercises with a smartwatch on each arm in turn: accelerometer and
gyroscope, 50 samples per second, one set per person, arm and exercise (D. Burns et al., Shoulder
physiotherapy exercise recognition, 2018; shipped in the package seglearn, BSD). This module
composes untrimmed recordings from those sets, by two recipes, each frozen before the first training
on what it makes. A recording is one person's, one arm's; the arms take turns; people 1-6 train,
people 7-10 test. What is cut from a set is cut at random.

``long``, few and long instances before a background of other exercises:

- a recording holds one (70 %) or two (30 %) of the exercises PEN, ABD, FEL, IR, ER, in 2 to 6
  instances; of two exercises both occur;
- an instance's length is log-normal, median 7 s and sigma 0.6, clipped to 2-25 s;
- each instance is preceded, and the last followed, by 3-25 s of TRAP or ROW, which carry no label
  (a cut is never longer than the set it is cut from, of which the shortest lasts 18.9 s; the last
  one gives up to 0.08 s so that the recording ends with a whole unit);
- 16 recordings of each person train, 10 of each test.

``short``, many and short instances of all seven exercises:

- a recording lasts 15-40 s and holds 2 to 5 of the exercises, each in 1 to 3 instances, in any
  order;
- an instance's length is log-normal, median 2 s and sigma 0.4, clipped to 1-4 s;
- each instance is preceded, and the last followed, by 1-10 s without label. The sets neither begin
  nor end with stillness or with a transition from one exercise to the next (they are as lively in
  their first and last seconds as in between), so that such gaps cannot be had; *in their place a
  gap is mixed from two exercises*, any two of the seven, which take turns every half second, as a
  switch between two recordings would;
- number, lengths and gaps are drawn evenly, and again where they do not fit together;
- 66 or 67 recordings of each person train, 400 in all, and 15 of each test.
"""

import dataclasses
import importlib.util
import pathlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

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
TURN = FPS // 2  # samples of one exercise in a mixed gap
ARMS = ("left", "right")
STREAMS = {"accelerometer": slice(0, 3), "gyroscope": slice(3, 6)}  # columns of the samples

Sets = Mapping[tuple[int, str, str], np.ndarray]
Own = Mapping[str, np.ndarray]  # one person's, one arm's sets, by exercise
Piece = tuple[str | None, np.ndarray]  # of a recording: its label, if any, and samples [n, 6]


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


def _cut(rng: np.random.Generator, values: np.ndarray, length: int) -> np.ndarray:
    """A random cut of that many samples, or of the whole set where it is shorter."""
    length = min(length, len(values))
    start = rng.integers(len(values) - length + 1)
    return values[start : start + length]


def _labels(rng: np.random.Generator) -> list[str]:
    """The exercises of one recording's instances, in order; recipe ``long``."""
    kinds = rng.choice(CLASSES, size=2 if rng.random() < 0.3 else 1, replace=False)
    count = rng.integers(2, 7)
    labels = [*kinds, *rng.choice(kinds, size=count - len(kinds))]
    return [str(label) for label in rng.permutation(labels)]


def long_pieces(own: Own, rng: np.random.Generator) -> Iterator[Piece]:
    """One recording by the recipe ``long``, piece by piece."""

    def background() -> Piece:
        kind = BACKGROUND[rng.integers(len(BACKGROUND))]
        return None, _cut(rng, own[kind], round(rng.uniform(3, 25) * FPS))

    for label in _labels(rng):
        yield background()
        seconds = np.clip(rng.lognormal(np.log(7), 0.6), 2, 25)
        yield label, _cut(rng, own[label], round(seconds * FPS))
    yield background()


def _plan(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, their lengths and the gaps around them, in samples; recipe ``short``."""
    while True:
        kinds = rng.choice(CLASSES + BACKGROUND, size=rng.integers(2, 6), replace=False)
        labels = rng.permutation(np.repeat(kinds, rng.integers(1, 4, size=len(kinds))))
        seconds = np.clip(rng.lognormal(np.log(2), 0.4, size=len(labels)), 1, 4)
        lengths = np.rint(seconds * FPS).astype(int)
        total = UNIT_FRAMES * rng.integers(150, 401)
        # Every gap has a second; what is left is divided at random places.
        spare = total - lengths.sum() - FPS * (len(labels) + 1)
        if spare >= 0:
            places = np.sort(rng.integers(spare + 1, size=len(labels)))
            gaps = FPS + np.diff(places, prepend=0, append=spare)
            if gaps.max() <= 10 * FPS:
                return labels, lengths, gaps


def short_pieces(own: Own, rng: np.random.Generator) -> Iterator[Piece]:
    """One recording by the recipe ``short``, piece by piece."""

    def mixed(length: int) -> Piece:
        kinds = rng.choice(CLASSES + BACKGROUND, size=2, replace=False)
        one, other = (_cut(rng, own[kind], length) for kind in kinds)
        turns = np.arange(length) // TURN % 2
        return None, np.where(turns[:, None] == 0, one, other)

    labels, lengths, gaps = _plan(rng)
    for label, length, gap in zip(labels.tolist(), lengths, gaps[:-1], strict=True):
        yield mixed(gap)
        yield label, _cut(rng, own[label], length)
    yield mixed(gaps[-1])


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What recordings are composed of, and how many there are of each person, by subset."""

    classes: tuple[str, ...]
    pieces: Callable[[Own, np.random.Generator], Iterator[Piece]]
    people: Mapping[str, Mapping[int, int]]
    description: str
    note: str


RECIPES = {
    "long": Recipe(
        CLASSES,
        long_pieces,
        {"training": dict.fromkeys(range(1, 7), 16), "testing": dict.fromkeys(range(7, 11), 10)},
        "untrimmed recordings of shoulder exercises",
        "recordings are composed from real recordings (see the README)",
    ),
    "short": Recipe(
        CLASSES + BACKGROUND,
        short_pieces,
        {
            "training": dict.fromkeys(range(1, 5), 67) | dict.fromkeys(range(5, 7), 66),
            "testing": dict.fromkeys(range(7, 11), 15),
        },
        "untrimmed recordings of short instances of shoulder exercises",
        "recordings are composed from real recordings, and the gaps between instances mixed from "
        "two exercises each (see the README)",
    ),
}


def join(pieces: Iterable[Piece]) -> tuple[np.ndarray, tuple[Instance, ...]]:
    """Puts the pieces of a recording in a row.

    Returns:
      Samples [n, 6], n a multiple of ``UNIT_FRAMES``, and the instances in seconds.
    """
    parts: list[np.ndarray] = []
    instances: list[Instance] = []
    start = 0
    for label, part in pieces:
        end = start + len(part)
        if label is not None:
            instances.append(Instance(start / FPS, end / FPS, label))
        parts.append(part)
        start = end
    return np.concatenate(parts)[: start // UNIT_FRAMES * UNIT_FRAMES], tuple(instances)


def compose(
    sets: Sets, recipe: Recipe, seed: int
) -> Iterator[tuple[str, str, str, np.ndarray, tuple[Instance, ...]]]:
    """Composes all recordings of a recipe.

    Yields:
      Subset, id and arm of a recording, and its samples and instances as of :func:`join`.
    """
    for subset, people in recipe.people.items():
        for person, count in people.items():
            for index in range(count):
                arm = ARMS[index % 2]
                own = {name: sets[person, arm, name] for name in CLASSES + BACKGROUND}
                rng = np.random.default_rng([seed, person, index])
                samples, instances = join(recipe.pieces(own, rng))
                yield subset, f"person{person:02d}_{arm}_{index:03d}", arm, samples, instances


class WatchSource:
    """The composed recordings; see :class:`tfrecords_tools.sources.Source`."""

    def __init__(self, *, seed: int, recipe: str = "long"):
        """Composes and describes all recordings; the same seed gives the same recordings."""
        chosen = RECIPES[recipe]
        self.counts = Counter[tuple[str, str]]()
        self.notes = [chosen.note]
        self.facts = {
            "source": "watch",
            "description": f"{chosen.description}, composed from real recordings of ten people "
            "wearing a smartwatch",
            "recipe": recipe,
            "seed": seed,
            "fps": FPS,
            "unit_frames": UNIT_FRAMES,
        }
        self._descriptors: dict[str, dict[str, np.ndarray]] = {}
        videos = {}
        for subset, key, arm, samples, instances in compose(load_sets(find_data()), chosen, seed):
            worn = mirror(samples) if arm == "left" else samples
            self._descriptors[key] = {
                name: describe(worn[:, columns], unit_frames=UNIT_FRAMES)
                for name, columns in STREAMS.items()
            }
            labels = tuple(dict.fromkeys(item.label for item in instances))
            duration = len(samples) / FPS
            videos[key] = Video(key, subset, labels, instances, duration=duration, fps=float(FPS))
        self.annotations = Annotations(videos, chosen.classes)

    def videos(
        self, splits: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> Iterator[SourceVideo]:
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
            if key in (splits if wanted is None else wanted):
                # To a ten-thousandth, well below the noise, so that float16 makes nothing zero.
                features = {
                    name: np.round((values[name] - mean) / deviation, 4).astype(np.float32)
                    for name, (mean, deviation) in scales.items()
                }
                yield SourceVideo(id=key, rate=FPS / UNIT_FRAMES, features=features)


REQUIRED = ()
OPTIONAL = ("seed", "recipe")


def open_source(settings: SourceSettings, problem: Problem) -> WatchSource:
    """Composes the data set of ``settings.seed``; nothing can be wrong with its videos.

    Raises:
      UserError: if there is no such recipe.
    """
    if settings.recipe not in RECIPES:
        raise UserError(f"`recipe={settings.recipe}` is none of {', '.join(RECIPES)}")
    return WatchSource(seed=settings.seed, recipe=settings.recipe)
