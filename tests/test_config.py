"""Settings: types, bounds, presets and what becomes of them in a file."""

import dataclasses
import json

import numpy as np
import pytest

from cpmn_tf.config import (
    PRESETS,
    REMOVED,
    SECTIONS,
    CascadeConfig,
    Config,
    LocalizationConfig,
    TrainingConfig,
    describe,
    preset,
    with_overrides,
    with_settings,
)
from cpmn_tf.errors import UserError

FIELDS = [
    pytest.param(section, field, id=f"{section}.{field.name}")
    for section, kind in SECTIONS.items()
    for field in dataclasses.fields(kind)
]
# Values of every wrong type, by the type of the field, and what the message asks for.
WRONG = {
    bool: ([1, 0, "false", 1.0, None, [True]], "true or false"),
    int: ([2.5, 512.0, True, False, "2", None, [1]], "a whole number"),
    float: ([True, False, "0.5", None, [0.5]], "a number"),
    str: ([1, True, None, ["sparse"]], "text"),
    tuple[float, ...]: ([0.2, "0.2", None, True, {"0": 0.2}], "a list of numbers"),
}


@pytest.mark.parametrize("section, field", FIELDS)
def test_every_field_is_checked_against_its_type(section, field):
    values, wanted = WRONG[field.type]
    for value in values:
        with pytest.raises(UserError) as direct:
            SECTIONS[section](**{field.name: value})
        assert str(direct.value) == f"{section}.{field.name}={value!r} is not {wanted}"
        with pytest.raises(UserError) as loaded:
            Config.from_dict({section: {field.name: value}}, source="model.json")
        assert str(loaded.value) == f"model.json: {direct.value}"


@pytest.mark.parametrize("item", ["0.2", True, None])
def test_each_item_of_a_list_is_checked(item):
    with pytest.raises(UserError, match=r"localization\.thresholds=.* is not a number"):
        LocalizationConfig(thresholds=(0.1, item))


def test_a_whole_number_for_a_fraction_becomes_one():
    training = TrainingConfig(learning_rate=1)
    assert (training.learning_rate, type(training.learning_rate)) == (1.0, float)
    thresholds = LocalizationConfig(thresholds=[0, 1]).thresholds
    assert thresholds == (0.0, 1.0) and {type(item) for item in thresholds} == {float}
    loaded = Config.from_dict({"localization": {"thresholds": [0], "nms_threshold": 1}})
    assert loaded == Config(localization=LocalizationConfig(thresholds=(0.0,), nms_threshold=1.0))
    assert json.dumps(loaded.to_dict()["localization"]["nms_threshold"]) == "1.0"
    assert TrainingConfig(learning_rate=np.float64(0.5)).learning_rate == 0.5


@pytest.mark.parametrize(
    "section, values, message",
    [
        (CascadeConfig, {"stages": 0}, "cascade.stages=0 is below 1"),
        (CascadeConfig, {"threshold": 1.5}, "cascade.threshold=1.5 is above 1.0"),
        (CascadeConfig, {"threshold": float("nan")}, "cascade.threshold=nan is not a finite"),
        (CascadeConfig, {"units": 2**31}, "cascade.units=2147483648 is beyond 2147483647"),
        (CascadeConfig, {"sampling": "dense"}, "cascade.sampling='dense' is not one of sparse, un"),
        (TrainingConfig, {"learning_rate": 10**400}, "training.learning_rate=1000"),
        (LocalizationConfig, {"thresholds": ()}, "localization.thresholds is empty"),
        (LocalizationConfig, {"thresholds": (0.2, 2)}, "localization.thresholds=2.0 is above 1.0"),
        (LocalizationConfig, {"thresholds": (0.2, np.inf)}, "localization.thresholds=inf is not"),
    ],
)
def test_values_out_of_range_are_refused(section, values, message):
    with pytest.raises(UserError) as error:
        section(**values)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "value, message",
    [
        ({"cascade": {"stagse": 1}}, "no setting cascade.stagse (did you mean cascade.stages?)"),
        ({"nowhere": {}}, "'nowhere' is not a section of settings"),
        ({"cascade": [1]}, "'cascade' is not a section of settings"),
        ({"preset": 5}, "preset=5 is not a str"),
    ],
)
def test_a_file_of_something_else_is_refused(value, message):
    with pytest.raises(UserError) as error:
        Config.from_dict(value, source="model.json")
    assert str(error.value).startswith("model.json: ") and message in str(error.value)


def test_scores_without_bounds_meet_no_share_and_no_product():
    fits = {"class_score": "logit", "selection": "absolute", "class_weight": 0.7}
    settings = {f"localization.{name}": value for name, value in fits.items()}
    assert with_settings(Config(), settings).localization == LocalizationConfig(**fits)
    for change in ({"selection": "score"}, {"class_weight": 0.0}):
        with pytest.raises(UserError, match=r"^localization\.class_score=logit has no bounds; set"):
            LocalizationConfig(**fits | change)


def test_batches_hold_whole_groups():
    grouped = with_settings(
        Config(), {"training.coactivity": 1, "training.group_size": 2, "training.batch_size": 10}
    )
    assert grouped.training.coactivity == 1
    with pytest.raises(UserError, match=r"batch_size=9 holds no whole groups of training\.group_s"):
        with_settings(grouped, {"training.batch_size": 9})
    with pytest.raises(UserError, match=r"coactivity=1\.0 compares videos of a group; set"):
        with_settings(grouped, {"training.group_size": 1})


def test_parts_that_do_not_go_together_are_refused():
    none = {"pyramid.levels": 0}
    with pytest.raises(UserError, match=r"^pyramid\.levels=0 leaves no attention; set "):
        with_settings(Config(), none)
    assert with_settings(Config(), {**none, "localization.attention": False}).pyramid.levels == 0
    soft = {"cascade.pooling": "soft_selection"}
    with pytest.raises(UserError, match=r"soft_selection weighs probabilities; set training\.loss"):
        with_settings(Config(), soft)
    assert with_settings(Config(), {**soft, "training.loss": "softmax"}).cascade.pooling


def test_a_section_is_a_section():
    with pytest.raises(UserError, match="cascade=None is not a CascadeConfig"):
        Config(cascade=None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = preset(name)
    assert config.preset == name
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    # Each line of the description is an assignment that changes nothing.
    lines = [line for line in describe(config).splitlines() if line[0] not in "# "]
    assert with_overrides(config, lines) == config and len(lines) == len(FIELDS)


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match="preset='kinetics' is not one of thumos14, activitynet13"):
        preset("kinetics")


def test_settings_are_changed_by_name():
    changed = with_settings(Config(), {"cascade.stages": 3, "localization.thresholds": [0.1, 0.2]})
    assert (changed.cascade.stages, changed.localization.thresholds) == (3, (0.1, 0.2))
    assert changed == with_overrides(
        Config(), ["cascade.stages=3", " localization.thresholds = 0.1,0.2 "]
    )
    with pytest.raises(UserError, match=r"^there is no setting xyz; cpmn-train --print_config"):
        with_settings(Config(), {"xyz": 3})


def test_a_removed_setting_is_named(caplog):
    older = Config().to_dict()
    for name, always in REMOVED.items():
        section, field = name.split(".")
        older[section][field] = 7 if always is None else always
    assert Config.from_dict(older, source="model.json") == Config()
    (line,) = caplog.messages
    assert line.startswith("model.json: ignored, as they were removed since: cascade.chunk_units,")
    older["cascade"]["chunk_units"] = 5
    message = r"^model\.json: the setting cascade\.chunk_units was removed and is always 4096 now; "
    with pytest.raises(UserError, match=message):
        Config.from_dict(older, source="model.json")
    for setting in ("training.shuffle_buffer=9", "training.checkpoint_every=9"):
        with pytest.raises(UserError, match=rf"^--set={setting}: .* was removed.*; leave it out"):
            with_overrides(Config(), [setting])
