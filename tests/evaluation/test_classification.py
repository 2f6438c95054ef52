"""Video-level mAP, with its arithmetic."""

import math

import pytest

from cpmn_tf.evaluation.classification import video_map


def test_each_class_ranks_the_videos_and_classes_without_videos_do_not_count():
    scores = [[0.9, 0.1, 0.5], [0.8, 0.7, 0.5], [0.7, 0.6, 0.5]]
    labels = [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    # Class 0: right at ranks 1 and 3, (1/1 + 2/3) / 2 = 5/6. Class 1: ranks 1 and 2, 1.
    assert video_map(scores, labels) == pytest.approx((5 / 6 + 1) / 2)


def test_constant_scores_gain_nothing():
    # Two of four videos hold the class and come last: (1/3 + 2/4) / 2.
    assert video_map([[0.5]] * 4, [[1], [0], [1], [0]]) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_without_any_label_there_is_no_number():
    assert math.isnan(video_map([[0.5]], [[0]]))
