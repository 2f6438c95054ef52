"""Bootstrap against evaluation of the drawn videos."""

import dataclasses

import numpy as np
import pytest

from cpmn_tf.analysis.bootstrap import bootstrap_map, draws, interval
from cpmn_tf.evaluation import evaluate
from cpmn_tf.evaluation.protocols import PROTOCOLS
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

TIOU = (0.3, 0.5)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bootstrap_of_every_video_once_is_the_evaluation(protocol, matched, random_data):
    annotations, detections = random_data(1)
    matching = matched(annotations, detections, protocol)
    drawn = bootstrap_map(matching, np.ones((1, 12)))
    expected = evaluate(annotations, detections, protocol=protocol, tiou=TIOU).map
    np.testing.assert_allclose(drawn[0], expected, atol=1e-12)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_bootstrap_equals_evaluation_of_the_drawn_videos(protocol, matched, random_data):
    annotations, detections = random_data(2)
    generator = np.random.default_rng(3)
    weights = generator.integers(0, 4, 12)
    videos, rows = {}, []
    for (name, video), weight in zip(annotations.videos.items(), weights, strict=True):
        for copy in range(weight):
            videos[f"{name}-{copy}"] = dataclasses.replace(video, id=f"{name}-{copy}")
    for place in range(len(detections)):
        name = detections.videos[detections.video[place]]
        for copy in range(weights[int(name[1:])]):
            label = detections.classes[detections.label[place]]
            times = (detections.start[place], detections.end[place], detections.score[place])
            rows.append((f"{name}-{copy}", label, *map(float, times)))
    drawn = evaluate(
        Annotations(videos, annotations.classes),
        Detections.from_rows((), rows),
        protocol=protocol,
        tiou=TIOU,
    )
    matching = matched(annotations, detections, protocol)
    maps = bootstrap_map(matching, weights[None])
    np.testing.assert_allclose(maps[0], drawn.map, atol=1e-12)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_sample_leaves_out_classes_that_it_has_no_instance_of(protocol, matched):
    videos = {
        "a": Video("a", "t", instances=(Instance(0.0, 10.0, "run"),)),
        "b": Video("b", "t", instances=(Instance(0.0, 10.0, "jump"),)),
    }
    found = Detections.from_rows((), [("a", "run", 0.0, 10.0, 1.0)])
    matching = matched(Annotations(videos, ("jump", "run")), found, protocol)
    weights = np.array([[1, 1], [2, 0], [0, 2]])  # run alone is found, jump alone is not
    maps = bootstrap_map(matching, weights)
    assert maps.tolist() == [[0.5, 0.5], [1.0, 1.0], [0.0, 0.0]]


def test_the_interval_holds_the_middle_95_percent():
    values = np.arange(1001) / 1000
    bounds = interval(np.stack([values, values / 2], axis=1))
    assert bounds.low == pytest.approx([0.025, 0.0125])
    assert bounds.high == pytest.approx([0.975, 0.4875])
    assert (bounds.average_low, bounds.average_high) == pytest.approx((0.01875, 0.73125))


def test_draws_are_as_many_as_videos_and_depend_on_the_seed_alone():
    holds = np.ones(7, bool)
    weights, redrawn = draws(holds, samples=50, seed=1)
    assert (weights.sum(axis=1) == 7).all() and redrawn == 0
    np.testing.assert_array_equal(weights, draws(holds, samples=50, seed=1)[0])
    assert (weights != draws(holds, samples=50, seed=2)[0]).any()


def test_draws_without_an_instance_are_drawn_again():
    """The draws are those of a split in which every video has one, less the empty ones."""
    everything, _ = draws(np.ones(3, bool), samples=1000, seed=0)
    weights, redrawn = draws(np.array([False, True, False]), samples=100, seed=0)
    kept = everything[everything[:, 1] > 0]
    np.testing.assert_array_equal(weights, kept[:100])
    last = np.flatnonzero(everything[:, 1] > 0)[99]
    assert redrawn == last + 1 - 100 > 20  # (2/3)³ of the draws are empty
