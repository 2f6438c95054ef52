"""What a validation says and draws is what the finished model would find."""

import dataclasses
import json

import numpy as np
import pytest

from cpmn_tf import plotting
from cpmn_tf.config import with_settings
from cpmn_tf.data.pipeline import Split
from cpmn_tf.evaluation import evaluate
from cpmn_tf.evaluation.classification import video_map
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.inference import batches, localize
from cpmn_tf.training import load_model, validation
from cpmn_tf.training.validation import Validator, known_segments

TIOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


class Events:
    """Stands for the event writer."""

    def __init__(self):
        self.values, self.pictures, self.flushed = {}, [], 0

    def scalars(self, step, values):
        self.values[step] = values

    def image(self, step, name, png):
        assert png.startswith(b"\x89PNG")
        self.pictures.append((step, name))

    def flush(self):
        self.flushed += 1


@pytest.fixture(scope="module")
def held_out(data_set) -> Split:
    return Split.open(data_set, "testing")


@pytest.fixture(scope="module")
def trained(drawn_model_dir):
    return load_model(drawn_model_dir)


def validator(trained, split, settings=(), **changes) -> Validator:
    config = with_settings(trained.config, {"training.pictures": 0, **dict(settings)})
    given = {"config": config, "stream": "flow", "training": split, "held_out": split}
    return Validator(**{**given, **changes})


def cascade(trained) -> dict:
    return {"cascade": trained.cascades["flow"]}


def both(trained) -> dict:
    return cascade(trained) | {"pyramid": trained.pyramids["flow"]}


@pytest.mark.parametrize("modules", [cascade, both])
@pytest.mark.parametrize("attention", [True, False])
def test_metrics_are_those_of_the_loaded_model(
    trained, drawn_model_dir, held_out, data_set, modules, attention
):
    """A module is validated as it will be used, whatever the configuration says of attention."""
    events = Events()
    validate = validator(trained, held_out, {"localization.attention": attention})
    values = validate(modules(trained), events, 9)

    settings = {"localization.attention": modules is both}
    alone = load_model(drawn_model_dir, settings, ["flow"])
    truth = load_annotations(data_set / "annotations.json").subset("testing")
    expected = evaluate(truth, localize(alone, held_out), protocol="activitynet", tiou=TIOU)
    scores, labels = [], []
    for batch in batches(held_out, streams=["flow"]):
        trace = alone.trace(batch["features"], batch["length"], batch["rate"])
        scores.append(trace.class_scores.numpy()[0])
        labels.append(batch["labels"].numpy()[0])
    name = "validation/localization_mAP_activitynet"
    assert values == {
        "validation/video_mAP": pytest.approx(video_map(np.array(scores), np.array(labels))),
        f"{name}_average": pytest.approx(expected.average_map),
        **{
            f"{name}@{tiou:g}": pytest.approx(value)
            for tiou, value in zip(TIOU, expected.map, strict=True)
        },
    }
    assert events.values == {9: values} and events.flushed == 1 and not events.pictures


def test_weights_are_those_of_the_moment(trained, held_out):
    """A second validation sees what was trained since the first."""
    validate = validator(trained, held_out)
    first = validate(both(trained), Events(), 1)
    before = [(v, v.numpy()) for part in both(trained).values() for v in part.variables]
    for variable, value in before:
        variable.assign(-value)
    second = validate(both(trained), Events(), 2)
    for variable, value in before:
        variable.assign(value)
    assert first != second
    assert validate(both(trained), Events(), 3) == first


def test_the_presets_thresholds_are_used(trained, held_out):
    config = dataclasses.replace(trained.config, preset="activitynet13")
    values = validator(trained, held_out, config=config)(cascade(trained), Events(), 1)
    assert "validation/localization_mAP_activitynet@0.95" in values
    assert "validation/localization_mAP_activitynet@0.4" not in values


def test_without_segments_only_videos_are_judged(trained, held_out, monkeypatch):
    monkeypatch.setattr(validation, "known_segments", lambda _: None)
    values = validator(trained, held_out)(cascade(trained), Events(), 1)
    assert list(values) == ["validation/video_mAP"]


def test_without_videos_held_out_training_videos_are_drawn(trained, held_out, data_set):
    training = Split.open(data_set, "training")
    events = Events()
    validate = validator(
        trained, held_out, {"training.pictures": 2}, training=training, held_out=None
    )
    assert validate(cascade(trained), events, 4) == {}
    assert not events.values and events.flushed == 1
    assert events.pictures == [(4, f"T-CAS/{name}") for name in training.ids[:2]]


def test_pictures_show_the_truth_where_it_is_known(trained, held_out, data_set, monkeypatch):
    drawn = []
    collect = plotting.collect_curves

    def noted(*arguments, **named):
        drawn.append((collect(*arguments, **named), named))
        return drawn[-1][0]

    monkeypatch.setattr(plotting, "collect_curves", noted)
    training = Split.open(data_set, "training")
    for one in (held_out, None):  # training videos are drawn without their truth
        validate = validator(
            trained, held_out, {"training.pictures": 1}, training=training, held_out=one
        )
        validate(cascade(trained), Events(), 4)
    with_truth, without = (curves for curves, _ in drawn)
    assert with_truth.id == held_out.ids[0]
    assert any(item.truth is not None and len(item.truth) for item in with_truth.classes)
    assert all(item.truth is None for item in without.classes)
    assert [named["simulated"] for _, named in drawn] == [False, False]


def test_known_segments_are_of_the_splits_videos(held_out, data_set, tmp_path, capsys):
    known = known_segments(held_out)
    assert list(known.videos) == held_out.ids
    assert known.classes == held_out.manifest.classes
    text = json.loads((data_set / "annotations.json").read_text())
    database = {name: text["database"][name] for name in held_out.ids}

    def without_segments(names) -> Split:
        for name in names:
            labels = [{"label": item["label"]} for item in database[name]["annotations"]]
            database[name]["annotations"] = labels
        (tmp_path / "annotations.json").write_text(json.dumps(text))
        manifest = dataclasses.replace(held_out.manifest, folder=tmp_path)
        return dataclasses.replace(held_out, manifest=manifest)

    # Detections where the segments are unknown would count as false: no mAP, and a line.
    assert known_segments(without_segments(list(database)[1:])) is None
    assert "no localization mAP of the videos held out: 8 annot" in capsys.readouterr().out
    assert known_segments(without_segments(database)) is None  # though other splits have segments
    assert not capsys.readouterr().out
