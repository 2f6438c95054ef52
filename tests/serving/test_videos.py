"""The example of an export, and the videos that it is tried with."""

import json

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.commands import export
from cpmn_tf.data import records
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.serving import videos
from cpmn_tf.training.model_folder import ModelManifest


@pytest.fixture(scope="module")
def model(drawn_model_dir) -> ModelManifest:
    return ModelManifest.load(drawn_model_dir)


def test_an_example_is_what_the_record_holds(data_set, model, tmp_path):
    video = videos.of_data_set(data_set, "video_012", model)
    videos.write(video, model.classes, tmp_path)
    said = json.loads((tmp_path / "example.json").read_text())
    known = json.loads((data_set / "annotations.json").read_text())["database"]["video_012"]
    assert (said["id"], said["rate"], said["labels"]) == ("video_012", 10.0, ["Dive"])
    assert said["duration"] == pytest.approx(known["duration"])
    assert [item["label"] for item in said["segments"]] == ["Dive", "Dive"]
    np.testing.assert_allclose(
        [item["segment"] for item in said["segments"]],
        [item["segment"] for item in known["annotations"]],
        rtol=1e-6,
    )
    with np.load(tmp_path / "example.npz", allow_pickle=False) as file:
        arrays = dict(file)
    units = Split.open(data_set, "testing").only(["video_012"]).lengths[0]
    assert {name: (a.shape, a.dtype.name) for name, a in arrays.items()} == {
        "rgb": ((units, 12), "float16"),
        "flow": ((units, 8), "float16"),
    }


def test_an_unknown_example_is_one_line(capsys, data_set, model, drawn_model_dir, tmp_path):
    with pytest.raises(UserError, match=r"`example=nobody`: \S+ has no such video"):
        videos.of_data_set(data_set, "nobody", model)
    flags = [f"--model_dir={drawn_model_dir}", f"--export_dir={tmp_path / 'export'}"]
    assert export.main([*flags, f"--example_data={data_set}", "--example=nobody"]) == 1
    error = capsys.readouterr().err
    assert "error: --example=nobody: " in error and len(error.splitlines()) == 1
    assert not (tmp_path / "export").exists()
    assert export.main([*flags, "--example=nobody"]) == 2
    assert "--example_data must be given" in capsys.readouterr().err


def test_arrays_and_examples_hold_the_same(model):
    clips = videos.drawn(model.streams, [5, 9])
    inputs = videos.arrays(clips, model.streams)
    assert inputs["rgb"].shape == (2, 9, 12) and not inputs["rgb"][0, 5:].any()
    serialized = tf.constant(videos.examples(clips, model.streams, model.classes))
    features, *times = records.parse_batch(serialized, model.streams)
    for name, values in features.items():
        np.testing.assert_array_equal(values, inputs[name])
    for name, values in zip(("lengths", "rates", "durations"), times, strict=True):
        np.testing.assert_array_equal(values, inputs[name])
