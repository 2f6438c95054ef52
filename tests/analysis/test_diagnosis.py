"""The analysis as a whole: comparison with a baseline, JSON, arguments."""

import dataclasses
import json

import numpy as np
import pytest

from cpmn_tf.analysis.diagnosis import analyze
from cpmn_tf.analysis.report import analysis_json, analysis_text
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

TIOU = (0.3, 0.5)


def test_a_run_does_not_differ_from_itself_and_beats_a_worse_one(random_data):
    annotations, detections = random_data(6)
    arguments = {"protocol": "activitynet", "tiou": TIOU, "samples": 50}
    same = analyze(annotations, detections, baseline=detections, **arguments).comparison
    assert same.average_difference == 0
    np.testing.assert_array_equal(same.difference_interval.high, 0)
    noise = np.random.default_rng(0).random(len(detections))
    shuffled = dataclasses.replace(detections, score=noise, end=detections.end + 4)
    analysis = analyze(annotations, detections, baseline=shuffled, **arguments)
    other = analysis.comparison
    np.testing.assert_allclose(other.difference, analysis.evaluation.map - other.baseline.map)
    assert other.difference_interval.average_low > 0
    bounds = analysis.interval
    assert (bounds.low <= bounds.high).all() and bounds.average_low <= bounds.average_high
    assert (bounds.low < analysis.evaluation.map).all()


def test_json_is_strict_and_arguments_are_checked(random_data):
    annotations, detections = random_data(7, videos=2, detections=3)
    analysis = analyze(annotations, detections, protocol="thumos14", samples=2)
    json.dumps(analysis_json(analysis), allow_nan=False)
    with pytest.raises(UserError, match="at least 2"):
        analyze(annotations, detections, protocol="thumos14", samples=1)
    with pytest.raises(UserError, match="bins 'coco'"):
        analyze(annotations, detections, protocol="thumos14", bounds="coco")


@pytest.mark.parametrize("protocol", ["activitynet", "thumos14"])
def test_videos_without_instances(protocol):
    """`a` is found, `b` has nothing: mAP is 1 in every draw with `a`, and the others have none."""
    videos = {
        "a": Video("a", "t", ("Jump",), (Instance(5.0, 10.0, "Jump"),)),
        "b": Video("b", "t"),
    }
    found = Detections.from_rows((), [("a", "Jump", 5.0, 10.0, 0.9)])
    analysis = analyze(Annotations(videos, ("Jump",)), found, protocol=protocol, baseline=found)
    assert analysis.evaluation.average_map == 1
    for bounds in (analysis.interval, analysis.comparison.interval):
        assert (bounds.low == 1).all() and (bounds.average_low, bounds.average_high) == (1, 1)
    # A quarter of the draws is (b, b): a third of 1000 was drawn besides the samples.
    assert 270 < analysis.redrawn < 400
    assert analysis_json(analysis)["bootstrap"]["redrawn"] == analysis.redrawn
    said = f"{analysis.redrawn} bootstrap draws held no instance, so no mAP, and were drawn again"
    assert any(said in line for line in analysis_text(analysis))


def test_splits_in_which_nearly_anything_may_be_empty():
    """250 small ones: each is analysed in strict JSON, every share over what there is."""
    classes, redrawn = ("jump", "run", "swim"), 0
    for seed in range(250):
        generator = np.random.default_rng(seed)

        def segment(generator=generator):
            return tuple(map(float, sorted(generator.integers(0, 8, 2))))

        def found(generator=generator, segment=segment):
            return Detections.from_rows(
                (),
                [
                    (f"v{generator.integers(7)}", classes[generator.integers(3)], *segment(), 0.5)
                    for _ in range(generator.integers(12))
                ],
            )

        videos = {
            name: Video(
                name,
                "t",
                instances=tuple(
                    Instance(*segment(), classes[generator.integers(2)])
                    for _ in range(generator.choice([0, 0, 1, 3]) if number else 1)
                ),
                ambiguous=tuple(segment() for _ in range(generator.choice([0, 0, 1]))),
                duration=(None, 8.0, 5.0)[generator.integers(3)],
            )
            for number, name in enumerate(f"v{n}" for n in range(generator.integers(1, 6)))
        }
        analysis = analyze(
            Annotations(videos, classes),
            found(),
            protocol=("activitynet", "thumos14")[seed % 2],
            tiou=(0.3, 0.7),
            baseline=(None, found())[seed % 3 > 0],
            bounds=(None, "thumos14", "activitynet13")[seed // 2 % 3],
            samples=10,
        )
        json.dumps(analysis_json(analysis), allow_nan=False)
        redrawn += analysis.redrawn > 0
        errors = analysis.errors
        np.testing.assert_allclose(errors.shares.sum(axis=1)[errors.detections > 0], 1)
        assert np.isnan(errors.shares[errors.detections == 0]).all()
    assert redrawn > 50
