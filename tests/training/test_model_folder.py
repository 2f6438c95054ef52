"""A model's folder: whose it is, what fits it, and what of it can be loaded."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_settings
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.training import load_model
from cpmn_tf.training.model_folder import (
    INFERENCE_SETTINGS,
    ModelManifest,
    flatten,
    module_folder,
    plain_variables,
)

MANIFEST = ModelManifest(
    config=Config(),
    streams={"rgb": 12, "flow": 8},
    classes=("Dive", "Jump", "Throw"),
    seed=3,
    precision="mixed_bfloat16",
    train_split="training",
    validation_split="testing",
    fingerprint="abc",
    contents={"videos": 10, "ids": "d0", "labels": "d1"},
)


@pytest.fixture
def folder(drawn_model_dir, tmp_path):
    """A model's folder to break."""
    return shutil.copytree(drawn_model_dir, tmp_path / "model")


def test_it_comes_back_as_it_was_written(tmp_path):
    MANIFEST.claim(tmp_path)
    again = ModelManifest.load(tmp_path)
    assert again == MANIFEST
    assert list(again.streams) == ["rgb", "flow"]
    assert json.loads((tmp_path / "model.json").read_text())["version"]
    MANIFEST.claim(tmp_path)  # its own again


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"seed": 4}, "seed=3, now it is 4"),
        ({"precision": "float32"}, "precision='mixed_bfloat16', now it is 'float32'"),
        ({"train_split": "other"}, "train_split='training', now it is 'other'"),
        ({"validation_split": ""}, "validation_split='testing', now it is ''"),
        (
            {"fingerprint": "abd"},
            "the training data changed (features, times or shards of the same videos and labels)",
        ),
        (
            {"fingerprint": "abd", "contents": {"videos": 10, "ids": "d0", "labels": "d2"}},
            "the training data changed (labels of the same videos); train into a new folder",
        ),
        (
            {"fingerprint": "abd", "contents": {"videos": 9, "ids": "d2", "labels": "d3"}},
            "the training data changed (other videos: 10 then, 9 now)",
        ),
        ({"classes": ("Dive", "Jump")}, "data changed (fewer classes: 'Throw'); train"),
        (
            {"classes": ("Dive", "Run"), "contents": {"videos": 9, "ids": "d2", "labels": "d3"}},
            "(more classes: 'Run', fewer classes: 'Jump', 'Throw', other videos: 10 then, 9 now)",
        ),
        ({"classes": ("Jump", "Dive", "Throw")}, "data changed (the order of the classes)"),
        ({"streams": {"rgb": 12}}, "streams="),
        (
            {"config": with_settings(Config(), {"cascade.units": 7}), "fingerprint": "abd"},
            "config.cascade.units=400, now it is 7",  # rather than the digest
        ),
    ],
)
def test_a_folder_of_another_model_is_refused(tmp_path, change, expected):
    MANIFEST.claim(tmp_path)
    before = (tmp_path / "model.json").read_text()
    with pytest.raises(UserError) as caught:
        dataclasses.replace(MANIFEST, **change).claim(tmp_path)
    assert expected in str(caught.value) and "model.json" in str(caught.value)
    assert (tmp_path / "model.json").read_text() == before


def test_a_folder_of_an_older_version_goes_on_but_cannot_say_what_changed(tmp_path):
    MANIFEST.claim(tmp_path)
    value = json.loads((tmp_path / "model.json").read_text())
    del value["contents"]
    (tmp_path / "model.json").write_text(json.dumps(value))
    MANIFEST.claim(tmp_path)
    with pytest.raises(UserError, match=r"\(a folder of an older version does not say what\)"):
        dataclasses.replace(MANIFEST, fingerprint="abd").claim(tmp_path)
    with pytest.raises(UserError, match=r"changed \(fewer classes: 'Throw'\)"):
        dataclasses.replace(MANIFEST, classes=("Dive", "Jump")).claim(tmp_path)


MADE = {"streams": {"rgb": {"name": "x", "width": 12}}, "unit_frames": 5, "cpmn_tf": "1"}


def test_how_features_were_made_is_kept(tmp_path):
    known = dataclasses.replace(MANIFEST, encoder=MADE)
    known.claim(tmp_path)
    assert ModelManifest.load(tmp_path) == known
    value = json.loads((tmp_path / "model.json").read_text())
    assert value.pop("encoder") == MADE
    (tmp_path / "model.json").write_text(json.dumps(value))  # as older versions left it
    assert ModelManifest.load(tmp_path).encoder == {}
    known.claim(tmp_path)  # a training that goes on is not refused for it
    assert "encoder" not in json.loads((tmp_path / "model.json").read_text())


@pytest.mark.parametrize(
    "ours, theirs, expected",
    [
        (MADE, {}, None),
        ({}, MADE, None),
        (MADE, MADE, None),
        (MADE, {**MADE, "cpmn_tf": "2"}, None),
        (MADE, {**MADE, "unit_frames": 16}, "unit_frames=5, not 16"),
        (MADE, {**MADE, "streams": {"rgb": {"name": "z"}}}, "streams.rgb.name='x', not 'z'"),
    ],
)
def test_records_of_another_encoder_are_refused(data_set, ours, theirs, expected):
    model = dataclasses.replace(MANIFEST, encoder=ours)
    data = Manifest.load(data_set)
    data = dataclasses.replace(data, source={**data.source, "encoder": theirs})
    if expected is None:
        model.check_data(data)
        return
    with pytest.raises(UserError) as caught:
        model.check_data(data)
    assert str(caught.value) == (
        f"{data_set}: the model's features were made with {expected}; encode the videos as those "
        "that it was trained on"
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, "there is no such file"),
        ("[1]", "is damaged"),
        ("{}", "is damaged"),
        ('{"classes": 3}', "is damaged"),
        ("{", "model.json"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, text, expected):
    if text is not None:
        (tmp_path / "model.json").write_text(text)
    with pytest.raises(UserError, match=expected):
        ModelManifest.load(tmp_path)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"config": "thumos14"}, "is damaged .*config is 'thumos14'"),
        ({"streams": [{"name": "rgb", "width": "wide"}]}, "stream 'rgb': width 'wide' is not in"),
        ({"streams": [{"name": "a/b", "width": 1}]}, "stream 'a/b': a stream is named by"),
        ({"streams": []}, "streams are none"),
        ({"streams": [{"name": "rgb", "width": 1}] * 2}, "streams are none, or one is named twice"),
        ({"classes": []}, "there is no class"),
        ({"classes": ["two\nlines"]}, r"class 'two\\nlines'"),
        ({"seed": float("inf")}, "is damaged"),
        ({"encoder": []}, "is damaged .*encoder is"),
        ({"contents": {"ids": "\ud800"}}, "half a surrogate pair"),
    ],
)
def test_every_value_is_checked(tmp_path, change, expected):
    MANIFEST.claim(tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=expected) as caught:
        ModelManifest.load(tmp_path)
    assert str(path) in str(caught.value)


def test_a_setting_that_is_wrong_is_named_with_the_file(tmp_path):
    MANIFEST.claim(tmp_path)
    text = (tmp_path / "model.json").read_text().replace('"units": 400', '"units": -1')
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json: cascade\.units=-1 is below 0"):
        ModelManifest.load(tmp_path)


def test_it_prints_what_it_is_of():
    assert str(MANIFEST) == (
        "CPMN of rgb (12) and flow (8), 3 classes, preset thumos14, trained on 'training' with "
        "seed 3"
    )


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"streams": {"rgb": 12, "flow": 9}}, "its streams are .*'flow': 8.*'flow': 9"),
        ({"streams": {"rgb": 12}}, "its streams are"),
        ({"classes": ("Jump", "Dive", "Throw")}, "its classes are .*the model's are"),
    ],
)
def test_data_of_other_streams_or_classes_is_refused(data_set, change, expected):
    data = Manifest.load(data_set)
    MANIFEST.check_data(data)
    with pytest.raises(UserError, match=expected):
        dataclasses.replace(MANIFEST, **change).check_data(data)


def test_a_long_list_of_classes_is_cut(data_set):
    many = dataclasses.replace(MANIFEST, classes=tuple(f"class {k}" for k in range(200)))
    with pytest.raises(UserError) as caught:
        many.check_data(Manifest.load(data_set))
    assert "..." in str(caught.value) and len(str(caught.value)) < 500


def test_settings_of_training_cannot_change_afterwards():
    changed = MANIFEST.with_inference_settings({"localization.top_k": 1, "pyramid.stride": 9})
    assert (changed.config.localization.top_k, changed.config.pyramid.stride) == (1, 9)
    assert changed.config.cascade == MANIFEST.config.cascade
    with pytest.raises(UserError, match=r"cascade\.filters acts in training only"):
        MANIFEST.with_inference_settings({"localization.top_k": 1, "cascade.filters": 3})


def test_settings_that_act_at_inference():
    """All of localization, and what of the modules places their samples and windows."""
    known = flatten(Config().to_dict())
    assert set(known) >= INFERENCE_SETTINGS
    ours = {name for name in INFERENCE_SETTINGS if not name.startswith("localization.")}
    assert ours == {
        "cascade.inference",
        "cascade.inference_erasing",
        "cascade.combine",
        "cascade.mining_gate",
        "pyramid.stride",
        "data.test_split",
    }
    others = INFERENCE_SETTINGS - ours
    assert others == {name for name in known if name.startswith("localization.")}


def test_flatten_joins_names_by_dots():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": 3}) == {"a.b": 1, "a.c.d": [2], "e": 3}


def test_the_loaded_weights_are_those_of_each_module(drawn_model_dir):
    model = load_model(drawn_model_dir)
    assert list(model.streams.items()) == [("rgb", 12), ("flow", 8)]
    for stream in model.streams:
        for module, part in (
            ("cascade", model.cascades[stream]),
            ("pyramid", model.pyramids[stream]),
        ):
            path = tf.train.latest_checkpoint(str(module_folder(drawn_model_dir, stream, module)))
            reader = tf.train.load_checkpoint(path)
            for index, variable in enumerate(plain_variables(part)):
                name = f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"
                np.testing.assert_array_equal(variable.numpy(), reader.get_tensor(name))
    kernels = [value.numpy() for value in model.trainable_variables if len(value.shape) > 1]
    assert all(value.any() for value in kernels)


def test_settings_and_streams_of_a_loaded_model(drawn_model_dir):
    model = load_model(drawn_model_dir, {"localization.top_k": 1}, ["flow"])
    assert list(model.streams) == ["flow"] and list(model.manifest.streams) == ["rgb", "flow"]
    assert model.config.localization.top_k == model.manifest.config.localization.top_k == 1
    assert load_model(drawn_model_dir).config.localization.top_k == 2
    with pytest.raises(UserError, match="`streams=audio`: there is no such stream"):
        load_model(drawn_model_dir, streams=["flow", "audio"])


def test_a_module_that_was_not_trained_is_named(folder):
    shutil.rmtree(module_folder(folder, "flow", "pyramid"))
    with pytest.raises(UserError, match=r"flow/pyramid: holds no checkpoint; run cpmn-train"):
        load_model(folder)
    load_model(folder, streams=["rgb"])


def test_a_module_whose_training_was_interrupted_is_named(folder):
    target = module_folder(folder, "rgb", "cascade")
    part = load_model(folder).cascades["rgb"]
    shutil.rmtree(target)
    state = tf.train.Checkpoint(weights=plain_variables(part), finished=tf.Variable(False))
    tf.train.CheckpointManager(state, str(target), max_to_keep=1).save()
    with pytest.raises(UserError, match="rgb/cascade: its training was interrupted"):
        load_model(folder)


@pytest.mark.parametrize("source", ["flow/cascade", "rgb/pyramid"])
def test_a_checkpoint_of_another_module_is_refused(folder, source):
    target = module_folder(folder, "rgb", "cascade")
    shutil.rmtree(target)
    shutil.copytree(folder / "streams" / source, target)
    with pytest.raises(
        UserError, match=r"rgb/cascade: its checkpoint does not fit .*cpmn-train again"
    ):
        load_model(folder)


def test_a_damaged_checkpoint_is_refused(folder):
    (data,) = module_folder(folder, "rgb", "cascade").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UserError, match="rgb/cascade: its checkpoint does not fit"):
        load_model(folder)
