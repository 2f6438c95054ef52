"""The analysis as a whole: comparison with a baseline, JSON, arguments."""

import dataclasses
import json

import numpy as np
import pytest

from cpmn_tf.analysis.diagnosis import analyze
from cpmn_tf.analysis.report import analysis_json
from cpmn_tf.errors import UserError

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
