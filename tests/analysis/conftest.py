"""Data and matching that the tests of the analysis share."""

import numpy as np
import pytest

from cpmn_tf.evaluation import PROTOCOLS
from cpmn_tf.evaluation.canonical import prepare
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

TIOU = (0.3, 0.5)


@pytest.fixture(scope="session")
def random_data():
    """A function that draws truth and detections by a seed."""

    def make(seed, videos=12, detections=150):
        """Videos with instances of two classes and ambiguous intervals; all scores differ."""
        generator = np.random.default_rng(seed)
        database, rows = {}, []
        for number in range(videos):
            starts = generator.uniform(0, 80, 4)
            database[f"v{number:02d}"] = Video(
                f"v{number:02d}",
                "test",
                instances=tuple(
                    Instance(float(start), float(start + length), label)
                    for start, length, label in zip(
                        starts,
                        generator.uniform(2, 15, 4),
                        ("run", "jump", "run", "jump"),
                        strict=True,
                    )
                ),
                ambiguous=((10.0, 14.0),) if number % 3 == 0 else (),
                duration=100.0,
            )
        for _ in range(detections):
            video = database[f"v{generator.integers(videos):02d}"]
            item = video.instances[generator.integers(4)]
            start, end = np.sort(np.array([item.start, item.end]) + generator.normal(0, 3, 2))
            label = ("run", "jump")[generator.integers(2)]
            rows.append((video.id, label, float(start), float(end), float(generator.random())))
        return Annotations(database, ("run", "jump")), Detections.from_rows((), rows)

    return make


@pytest.fixture(scope="session")
def matched():
    """What a protocol, by its name, makes of truth and detections."""

    def match(annotations, detections, protocol, tiou=TIOU):
        return PROTOCOLS[protocol].match(prepare(annotations, detections), tiou)

    return match
