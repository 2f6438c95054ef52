"""Settings and detections as the lab sees them."""

import pytest

from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections
from experiments.harness import lab


def test_settings_that_act_at_inference_only_are_told_apart():
    training, inference_only = lab.by_phase(["cascade.threshold=0.3", "localization.mining=false"])
    assert training == ["cascade.threshold=0.3"]
    assert inference_only == ["localization.mining=false"]


def test_top_class_counts_videos_without_detections_as_wrong():
    videos = {name: Video(name, "test", ("a",), (Instance(0, 1, "a"),)) for name in "uvw"}
    rows = [("u", "a", 0, 1, 0.4), ("u", "b", 0, 1, 0.5), ("v", "a", 0, 1, 0.1)]
    found = Detections.from_rows(["u", "v", "w"], rows)
    assert lab.top_class(Annotations(videos, ("a", "b")), found) == pytest.approx(1 / 3)
