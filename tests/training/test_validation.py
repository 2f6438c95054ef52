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
from cpmn_tf.training import load_model
from cpmn_tf.training.validation import Validator, known_segments

TIOU = (0.1, 0.3)


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


def validator(trained, split, stream="flow", pictured=(), **changes) -> Validator:
    lengths = {name: split.lengths[name] for name in pictured}
    given = {
        "manifest": split.manifest,
        "config": trained.config,
        "stream": stream,
        "held_out": split,
        "truth": known_segments(split.manifest.folder, split),
        "pictured": dataclasses.replace(split, lengths=lengths),
        "tiou": TIOU,
    }
    return Validator(**{**given, **changes})


@pytest.mark.parametrize("modules", ["cascade", "both"])
@pytest.mark.parametrize("attention", [True, False])
def test_metrics_are_those_of_the_loaded_model(
    trained, drawn_model_dir, held_out, data_set, modules, attention
):
    """A module is validated as it will be used, whatever the configuration says of attention."""
    config = with_settings(trained.config, {"localization.attention": attention})
    validate = validator(trained, held_out, config=config)
    events = Events()
    pyramid = trained.pyramids["flow"] if modules == "both" else None
    values = validate(trained.cascades["flow"], pyramid, events, 9)

    settings = {"localization.attention": modules == "both"}
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
        f"{name}@0.1": pytest.approx(expected.map[0]),
        f"{name}@0.3": pytest.approx(expected.map[1]),
    }
    assert events.values == {9: values} and events.flushed == 1 and not events.pictures


def test_weights_are_those_of_the_moment(trained, held_out):
    """A second validation sees what was trained since the first."""
    validate = validator(trained, held_out)
    first = validate(trained.cascades["flow"], trained.pyramids["flow"], Events(), 1)
    shuffled = {}
    for part in (trained.cascades["flow"], trained.pyramids["flow"]):
        shuffled[part] = [variable.numpy() for variable in part.variables]
        for variable in part.variables:
            variable.assign(-variable)
    second = validate(trained.cascades["flow"], trained.pyramids["flow"], Events(), 2)
    for part, values in shuffled.items():
        for variable, value in zip(part.variables, values, strict=True):
            variable.assign(value)
    assert first != second
    assert validate(trained.cascades["flow"], trained.pyramids["flow"], Events(), 3) == first


def test_without_segments_only_videos_are_judged(trained, held_out):
    values = validator(trained, held_out, truth=None)(trained.cascades["flow"], None, Events(), 1)
    assert list(values) == ["validation/video_mAP"]


def test_without_videos_held_out_there_are_pictures_only(trained, held_out):
    events = Events()
    validate = validator(
        trained, held_out, held_out=None, truth=None, pictured=("video_011", "video_013")
    )
    assert validate(trained.cascades["flow"], None, events, 4) == {}
    assert not events.values and events.flushed == 1
    assert events.pictures == [(4, "T-CAS/video_011"), (4, "T-CAS/video_013")]


def test_pictures_show_the_truth_where_it_is_known(trained, held_out, monkeypatch):
    drawn = []
    collect = plotting.collect_curves

    def noted(*arguments, **named):
        drawn.append((collect(*arguments, **named), named))
        return drawn[-1][0]

    monkeypatch.setattr(plotting, "collect_curves", noted)
    for truth in (known_segments(held_out.manifest.folder, held_out), None):
        validate = validator(trained, held_out, truth=truth, pictured=("video_012",))
        validate(trained.cascades["flow"], None, Events(), 4)
    with_truth, without = (curves for curves, _ in drawn)
    assert any(item.truth is not None and len(item.truth) for item in with_truth.classes)
    assert all(item.truth is None for item in without.classes)
    assert [named["simulated"] for _, named in drawn] == [False, False]


def test_known_segments_are_of_the_splits_videos(held_out, data_set, tmp_path):
    known = known_segments(data_set, held_out)
    assert list(known.videos) == list(held_out.lengths)
    assert known.classes == held_out.manifest.classes
    text = json.loads((data_set / "annotations.json").read_text())
    for name, entry in text["database"].items():
        if name in held_out.lengths:
            entry["annotations"] = [{"label": item["label"]} for item in entry["annotations"]]
    (tmp_path / "annotations.json").write_text(json.dumps(text))
    assert known_segments(tmp_path, held_out) is None  # though other splits have segments
