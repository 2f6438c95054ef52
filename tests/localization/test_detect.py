"""The whole post-processing: nothing lost on the way from curves to a batch of detections."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import LocalizationConfig
from cpmn_tf.localization import Trace, detections_of

PLAIN = LocalizationConfig(nms="none")


@pytest.fixture(autouse=True, scope="module")
def op_by_op():
    """No tracing for every shape; tests/models/test_conformance.py holds graph and eager equal."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def detected(
    curves,
    rows,
    *,
    lengths=None,
    config=PLAIN,
    act=None,
    p_class=None,
    unit_seconds=None,
    durations=None,
    status=None,
):
    """Detections of [rows, streams, units] curves; by default one unit is one second."""
    curves = np.asarray(curves, np.float32)
    batch = 1 + max((video for video, _ in rows), default=0)
    lengths = [curves.shape[2]] * batch if lengths is None else lengths
    act = curves.mean(axis=1) if act is None else np.float32(act)
    trace = Trace(
        class_scores=tf.ones([batch, 1]),
        rows=tf.constant(np.array(rows, np.int32).reshape(-1, 2)),
        p_class=tf.constant(np.float32(np.ones(len(rows)) if p_class is None else p_class)),
        # Of what leads to phi and act, nothing is used.
        original=tf.zeros([0, 0, 0]),
        mining=tf.zeros([0, 0, 0]),
        cascaded=tf.zeros([0, 0, 0]),
        attention=tf.zeros([0, 0, 0]),
        phi=tf.constant(curves),
        act=tf.constant(act),
        lengths=tf.constant(lengths, tf.int32),
        unit_seconds=tf.constant(unit_seconds or [1.0] * len(lengths), tf.float32),
        status=tf.zeros([len(lengths)], tf.int32) if status is None else tf.constant(status),
    )
    found = detections_of(trace, tf.constant(durations or lengths, tf.float32), config)
    return type(found)(*(value.numpy() for value in found))


def test_by_hand():
    # Units of half a second. Class 1: [1, 3) and [4, 5), scored by means 3 and 2; class 0: [0, 2).
    curves = [[[1, 1, 0, 0, 0]], [[0, 2, 4, 0, 2]]]
    found = detected(
        curves, [(0, 0), (0, 1)], p_class=[0.5, 0.25], unit_seconds=[0.5], durations=[2.5]
    )
    assert found.counts.tolist() == [3]
    assert found.labels.tolist() == [[1, 0, 1]]
    assert found.scores.tolist() == [[0.75, 0.5, 0.5]]  # 3 · 0.25, 1 · 0.5, 2 · 0.25
    assert found.segments.tolist() == [[[0.5, 1.5], [0, 1], [2, 2.5]]]
    assert found.silent.tolist() == [0]


@pytest.mark.parametrize("duration", [0.0, -1.0, np.nan, np.inf])
def test_a_duration_that_is_none_is_the_videos_fault_alone(duration):
    curves, rows = [[[1, 0, 2]], [[0, 1, 0]], [[0, 0, 0]]], [(0, 0), (1, 0), (1, 1)]
    found = detected(curves, rows, durations=[3.0, duration])
    assert found.status.tolist() == [0, 3] and found.silent.tolist() == [0, 0]
    assert found.counts.tolist() == [2, 0]
    assert found.segments.tolist() == [[[2, 3], [0, 1]], [[0, 0], [0, 0]]]


def test_a_fault_that_is_known_is_kept():
    found = detected([[[1, 0]], [[1, 0]]], [(0, 0), (1, 0)], durations=[0.0, 2.0], status=[1, 4])
    assert found.status.tolist() == [1, 4] and found.counts.tolist() == [0, 0]
    assert found.labels.shape == (2, 0)


def test_class_0_video_0_and_unit_0_are_not_lost():
    found = detected([[[1, 0]]], [(0, 0)])
    assert (found.counts, found.labels) == ([1], [[0]])
    assert found.segments.tolist() == [[[0, 1]]]


def test_videos_without_a_detection_stay_in_their_place():
    curves = [[[-1, -1, -1]], [[0, 1, 0]], [[1, 0, 1]]]
    found = detected(curves, [(0, 2), (2, 1), (4, 3)], lengths=[3] * 6)
    assert found.counts.tolist() == [0, 0, 1, 0, 2, 0]
    assert found.labels.tolist() == [[-1, -1]] * 2 + [[1, -1]] + [[-1, -1]] + [[3, 3], [-1, -1]]
    assert found.silent.tolist() == [1, 0, 0, 0, 0, 0]
    assert found.segments[2].tolist() == [[1, 2], [0, 0]]
    assert found.scores[2].tolist() == [1, 0]


def test_no_detection_in_any_video():
    found = detected([[[-1, 0]], [[-2, -1]]], [(0, 0), (1, 1)])
    assert found.counts.tolist() == [0, 0]
    assert found.silent.tolist() == [1, 1]
    assert found.segments.shape == (2, 0, 2)
    assert found.labels.shape == found.scores.shape == (2, 0)


@pytest.mark.parametrize("nms", ["hard", "soft", "none"])
def test_no_rows_at_all(nms):
    config = LocalizationConfig(nms=nms)
    found = detected(np.zeros([0, 1, 4]), [], lengths=[4, 2], config=config)
    assert found.counts.tolist() == found.silent.tolist() == [0, 0]


def test_silent_curves_are_counted_per_video_over_classes_and_streams():
    curves = [[[-1, -1], [0, 1]], [[-1, -1], [0, 0]], [[1, 1], [-1, 0]]]
    found = detected(curves, [(0, 0), (0, 1), (1, 0)])
    assert found.silent.tolist() == [3, 1]  # 1 + 2, 1


def test_a_video_is_clipped_to_its_duration():
    # 4 units of 1 s in a video of 2.5 s; the run [3, 4) lies beyond and is no detection.
    found = detected([[[0, 1, 1, 0], [0, 0, 0, 1]]], [(0, 0)], durations=[2.5])
    assert found.segments.tolist() == [[[1, 2.5]]]


def test_each_video_has_its_own_rate_and_duration():
    curves = [[[0, 1, 1, 0]]] * 2
    found = detected(curves, [(0, 0), (1, 0)], unit_seconds=[2, 0.5], durations=[5, 9])
    assert found.segments.tolist() == [[[2, 5]], [[0.5, 1.5]]]


def test_short_proposals_are_dropped_by_seconds():
    # Units of 0.5 s; [0, 1) lasts 0.5 s, [2, 4) 1 s and is kept, for the bound is inclusive.
    config = dataclasses.replace(PLAIN, min_seconds=1.0)
    found = detected([[[1, 0, 1, 1]]], [(0, 0)], unit_seconds=[0.5], config=config)
    assert found.segments.tolist() == [[[1, 2]]]


def test_ties_keep_their_order_in_time_and_class():
    curves = [[[1, 0, 1, 0, 1]], [[1, 0, 0, 0, 1]], [[0, 0, 0, 1, 0]]]
    found = detected(curves, [(0, 2), (0, 5), (1, 0)])
    assert found.labels.tolist() == [[2, 2, 2, 5, 5], [0, -1, -1, -1, -1]]
    assert found.segments[0, :, 0].tolist() == [0, 2, 4, 0, 4]


def test_both_streams_propose_and_suppression_removes_the_duplicate():
    curves = [[[0, 1, 1, 0], [0, 1, 1, 0]]]
    assert detected(curves, [(0, 0)]).counts.tolist() == [2]
    found = detected(curves, [(0, 0)], config=LocalizationConfig())
    assert found.segments.tolist() == [[[1, 3]]]


def test_classes_and_videos_do_not_suppress_each_other():
    curves = [[[0, 1, 1, 0]]] * 3
    found = detected(curves, [(0, 0), (0, 1), (1, 0)], config=LocalizationConfig())
    assert found.counts.tolist() == [2, 1]


def test_several_thresholds_make_nested_proposals():
    config = dataclasses.replace(PLAIN, thresholds=(0.2, 0.6))
    found = detected([[[0, 1, 2, 1, 0]]], [(0, 0)], config=config)
    # Above 0.4: [1, 4), mean 4/3; above 1.2: [2, 3), mean 2.
    assert found.segments.tolist() == [[[2, 3], [1, 4]]]
    np.testing.assert_allclose(found.scores, [[2, 4 / 3]], rtol=1e-6)


def test_outer_ratio_and_confidence_come_from_the_settings():
    config = dataclasses.replace(PLAIN, confidence="outer_inner", outer_ratio=1.0)
    found = detected([[[0, 4, 0, 0]]], [(0, 0)], config=config, act=[[1, 4, 2, 9]])
    assert found.scores.tolist() == [[2.5]]  # 4 - (1 + 2) / 2


@pytest.mark.parametrize("name", ["hard", "soft"])
def test_a_video_of_20000_units(name):
    # Of the last 100 units, one stream proposes the even ones and the other the odd ones.
    units = 20_000
    curves = np.zeros([1, 2, units], np.float32)
    curves[0, 0, -100::2] = curves[0, 1, -99::2] = 1
    act = np.random.default_rng(0).uniform(0.5, 1.0, units).astype(np.float32)
    config = LocalizationConfig(nms=name)
    found = detected(curves, [(0, 3)], act=[act], config=config, unit_seconds=[0.2])
    assert found.counts.tolist() == [100]
    starts = np.rint(found.segments[0, :, 0] / 0.2).astype(int)
    assert sorted(starts) == list(range(19_900, 20_000))
    np.testing.assert_array_equal(found.scores[0], act[starts])  # a mean of one unit is that unit
    assert (np.diff(found.scores[0]) <= 0).all()
