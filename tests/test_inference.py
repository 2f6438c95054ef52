"""Running a model over videos: a split's records and one video's arrays give the same."""

import numpy as np
import pytest

from cpmn_tf import inference
from cpmn_tf.data import pipeline
from cpmn_tf.inference import localize
from cpmn_tf.training import load_model

COLUMNS = ("start", "end", "score")


@pytest.fixture(scope="module")
def model(model_dir):
    return load_model(model_dir)


@pytest.fixture(scope="module")
def videos(data_set) -> list[dict]:
    """The testing videos one by one."""
    split = pipeline.Split.open(data_set, "testing")
    return [
        {
            "id": batch["id"].numpy()[0].decode(),
            "features": {name: value.numpy()[0] for name, value in batch["features"].items()},
            "rate": float(batch["rate"][0]),
            "duration": float(batch["duration"][0]),
        }
        for batch in inference.batches(split)
    ]


def rows(detections, video: str) -> list[tuple]:
    """(class, start, end, score) of one video's detections, in their order."""
    mine = np.flatnonzero(detections.video == detections.videos.index(video))
    return [
        (
            detections.classes[detections.label[row]],
            *(float(getattr(detections, column)[row]) for column in COLUMNS),
        )
        for row in mine
    ]


def test_arrays_give_what_the_records_give(model, data_set, videos):
    whole = localize(model, data_set, split="testing")
    assert len(whole) > 0 and whole.videos == tuple(video["id"] for video in videos)
    for video in videos:
        one = localize(model, video["features"], rate=video["rate"], duration=video["duration"])
        assert one.videos == ("video",)
        assert rows(one, "video") == rows(whole, video["id"])


def test_the_split_is_the_configurations_by_default(model, data_set):
    assert localize(model, data_set).videos == localize(model, data_set, split="testing").videos
    assert len(localize(model, data_set, split="training").videos) == 10
