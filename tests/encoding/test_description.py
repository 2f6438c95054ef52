"""What features depend on: read back, told from other JSON, and compared field by field."""

import json

import pytest

from cpmn_tf.encoding.description import first_difference, is_description, load_description
from cpmn_tf.errors import UserError

DESCRIPTION = {
    "streams": {"rgb": {"name": "x"}, "flow": {"name": "y"}},
    "unit_frames": 5,
    "fps": None,
    "flow": {"method": "dis", "frames": {"flow": 5}},
    "crops": 1,
    "cpmn_tf": "1",
    "opencv": "4",
}


def test_it_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(DESCRIPTION))
    assert load_description(path) == DESCRIPTION


def test_what_no_data_set_could_keep_is_damaged(tmp_path):
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(DESCRIPTION | {"fps": float("inf")}))
    with pytest.raises(UserError, match=r"encoder\.json: is damaged"):
        load_description(path)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, True),
        ({"fps": 12.5}, True),
        ({"fps": 25}, True),
        ({"flow": None, "streams": {"rgb": {}}}, True),
        ({"more": 1}, True),
        ({"fps": "25"}, False),
        ({"unit_frames": None}, False),
        ({"unit_frames": 5.0}, False),
        ({"crops": "1"}, False),
        ({"flow": "dis"}, False),
        ({"streams": ["rgb"]}, False),
        ({"streams": {"rgb": "x"}}, False),
    ],
)
def test_parts_and_their_types(change, expected):
    assert is_description({**DESCRIPTION, **change}) == expected


@pytest.mark.parametrize("name", ["streams", "unit_frames", "fps", "flow", "crops"])
def test_no_part_may_be_missing(tmp_path, name):
    value = {key: part for key, part in DESCRIPTION.items() if key != name}
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError) as error:
        load_description(path)
    assert str(error.value) == (
        f"{path}: does not say how features were made; encode the videos anew"
    )


@pytest.mark.parametrize("value", [None, 3, [], "encoder", {}])
def test_other_json_is_none(value):
    assert not is_description(value)


@pytest.mark.parametrize(
    "known, given, expected",
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": [1, 2]}, {"a": (1, 2)}, None),
        ({"a": [1, 2]}, {"a": (1, 3)}, "a=[1, 2], not [1, 3]"),
        ({"a": 1}, {"a": 1, "b": {"c": 2}}, "b=None, not {'c': 2}"),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, "a.c=2, not None"),
        ({"flow": None}, {"flow": {"method": "dis"}}, "flow=None, not {'method': 'dis'}"),
        ({"opencv": 1, "cpmn_tf": 1}, {"cpmn_tf": 2}, None),
        ({"a": {"opencv": 1}}, {"a": {}}, "a.opencv=1, not None"),
        ({"a": 1, "b": 2}, {"b": 3, "a": 4}, "a=1, not 4"),  # the first, as known
    ],
)
def test_first_difference(known, given, expected):
    assert first_difference(known, given) == expected
