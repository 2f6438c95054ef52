"""TensorFlow Serving's JSON: what a sound request means, and how all others are refused."""

import base64
import json
import pickle
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cpmn_tf.serving import protocol
from cpmn_tf.serving.protocol import Limits, Refusal, Signature, TensorType

FLOAT, INT, TEXT = np.dtype(np.float32), np.dtype(np.int32), np.dtype(object)
SIGNATURES = {
    "serving_default": Signature(
        {
            "rgb": TensorType(FLOAT, (None, None, 3)),
            "flow": TensorType(FLOAT, (None, None, 2)),
            "lengths": TensorType(INT, (None,)),
            "rates": TensorType(FLOAT, (None,)),
        },
        {"scores": TensorType(FLOAT, (None, None)), "labels": TensorType(INT, (None, None))},
    ),
    "serialized": Signature(
        {"examples": TensorType(TEXT, (None,))}, {"counts": TensorType(INT, (None,))}
    ),
}
LIMITS = Limits(request_bytes=4000, videos=3, video_units=8, request_units=12)
NUMBERS = st.floats(width=32, allow_nan=False) | st.just(np.nan)


@st.composite
def inputs(draw) -> dict[str, np.ndarray]:
    """Of the default signature, within the limits."""
    videos, units = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    values = {
        name: draw(arrays.arrays(FLOAT, (videos, units, width), elements=NUMBERS))
        for name, width in (("rgb", 3), ("flow", 2))
    }
    values["lengths"] = draw(arrays.arrays(INT, videos))
    values["rates"] = draw(arrays.arrays(FLOAT, videos, elements=NUMBERS))
    return values


def rows(values: dict[str, np.ndarray]) -> dict:
    return {
        "instances": [
            {name: array[video].tolist() for name, array in values.items()}
            for video in range(len(values["lengths"]))
        ]
    }


def columns(values: dict[str, np.ndarray]) -> dict:
    return {"inputs": {name: array.tolist() for name, array in values.items()}}


def request(**changed) -> dict:
    """A sound request of two videos in columns, with some inputs changed."""
    values = {
        "rgb": np.ones([2, 2, 3]).tolist(),
        "flow": np.ones([2, 2, 2]).tolist(),
        "lengths": [2, 1],
        "rates": [6.25, 10],
    }
    return {"inputs": values | changed}


def parse(body: object, limits: Limits = LIMITS):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return protocol.parse_rest(encoded, SIGNATURES, limits)


def refusal(body: object, limits: Limits = LIMITS) -> Refusal:
    with pytest.raises(Refusal) as raised:
        parse(body, limits)
    return raised.value


@settings(deadline=None)
@given(inputs(), st.sampled_from([rows, columns]))
def test_both_formats_give_the_arrays_that_plain_json_was_written_of(values, write):
    call, rest_format = parse(write(values), Limits())
    assert rest_format == ("row" if write is rows else "columnar")
    assert (call.signature, call.outputs) == ("serving_default", ())
    assert (call.videos, call.units) == values["rgb"].shape[:2]
    assert list(call.inputs) == list(values)
    for name, array in call.inputs.items():
        assert array.dtype == values[name].dtype
        np.testing.assert_array_equal(array, values[name], strict=True)
        if array.dtype == FLOAT:  # -0.0 is not 0.0
            np.testing.assert_array_equal(np.signbit(array), np.signbit(values[name]))


@pytest.mark.parametrize("wrap", [lambda each: each, lambda each: {"examples": each}])
def test_one_inputs_values_need_no_name_and_strings_may_be_any_bytes(wrap):
    blob = bytes(range(256))
    coded = base64.b64encode(blob).decode()
    strings = [{"b64": coded}, "Sprünge", {"b64": coded.rstrip("=")}]
    rowwise = {"signature_name": "serialized", "instances": [wrap(each) for each in strings]}
    for body in (rowwise, {"signature_name": "serialized", "inputs": wrap(strings)}):
        call, _ = parse(body)
        assert call.inputs["examples"].tolist() == [blob, "Sprünge".encode(), blob]
        assert (call.signature, call.videos, call.units) == ("serialized", 3, 0)


def test_what_the_real_server_bears_is_borne():
    body = json.dumps(request(rates=[2**24 - 1, float("-inf")]) | {"signature_name": "", "more": 1})
    call, _ = parse(b"\xef\xbb\xbf" + body.encode())
    assert call.inputs["rates"].tolist() == [2**24 - 1, -np.inf]


RGB = "input 'rgb': expected float32 [batch, units, 3], got "
LENGTHS = "input 'lengths': expected int32 [batch], got "
ALL = "expected 'flow', 'lengths', 'rates', 'rgb'"
DEEP = 100_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: Expecting value at character 0"),
        (b'{"inputs": ', "the body is not JSON: Expecting value at character 11"),
        (b'{"inputs": "\xff"}', "the body is not UTF-8 at byte 12"),
        (b'{"inputs": 1, "inputs": 2}', "the body has 'inputs' twice in one object"),
        (b'{"inputs": 1' + b"0" * 3980 + b"}", "'inputs': expected inputs by name"),
        ([1], "the body is a list, not an object"),
        ({"signature_name": 3}, "'signature_name' is a number, not a string"),
        (
            {"signature_name": "a\nb"},
            r"signature 'a\nb' is unknown; there are 'serialized', 'serving_default'",
        ),
        ({}, "the body needs one of 'instances' (rows) and 'inputs' (columns)"),
        (request() | {"instances": []}, "the body needs one of 'instances'"),
        ({"instances": {}}, "'instances' is an object, not a list"),
        ({"instances": []}, "'instances' is empty; give at least one video"),
        ({"instances": [1, 2]}, "'instances': expected inputs by name ('flow', 'lengths', "),
        ({"instances": [{"rgb": 1}]}, "instance 0 lacks input 'flow', 'lengths', 'rates'; " + ALL),
        ({"inputs": {"rgb": []}}, "'inputs' lacks input 'flow', 'lengths', 'rates'; " + ALL),
        (request(depth=1), "'inputs' has unknown input 'depth'; " + ALL),
        (
            request(rgb=[[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]]),
            "input 'rgb': is ragged, with 1 to 2 values at axis 1; pad to the longest and give "
            "each video's own length in 'lengths'",
        ),
        (
            request(rgb=[[[1, 2, 3]], [[1, 2]]]),
            "input 'rgb': is ragged, with 2 to 3 values at axis 2; expected float32",
        ),
        (request(rgb=[[[1, 2, 3]], 4]), "input 'rgb': is a ragged list at axis 1; expected "),
        (request(rgb=np.ones([2, 2]).tolist()), RGB + "shape [2, 2]"),
        (request(rgb=np.ones([2, 2, 4]).tolist()), RGB + "shape [2, 2, 4]"),
        (request(rgb=[[], []]), RGB + "shape [2, 0]"),
        (request(rgb=np.ones([2, 2, 3, 1]).tolist()), RGB + "a list"),
        (request(rgb=5), RGB + "shape []"),
        (request(rgb=[[["1", 2, 3]] * 2] * 2), RGB + "a string"),
        (request(rgb=[[[True, 2, 3]] * 2] * 2), RGB + "true or false"),
        (request(rgb=[[[None, 2, 3]] * 2] * 2), RGB + "null"),
        (request(rgb=[[[{"b64": "AA=="}, 2, 3]] * 2] * 2), RGB + "an object"),
        (request(lengths=[2.0, 1]), LENGTHS + "a number with a fraction or exponent"),
        (request(lengths=[2, float("nan")]), LENGTHS + "a number with a fraction or exponent"),
        (request(lengths=[2, 2**31]), "input 'lengths': has a number that int32 cannot hold"),
        (request(rates=[1, 2**24]), "input 'rates': has a number that float32 cannot hold"),
        (request(rates=[1, 10**400]), "input 'rates': has a number that float32 cannot hold"),
        (request(rates=[1, 1e39]), "input 'rates': has a number that float32 cannot hold"),
        (
            json.dumps(request(rates=[1, 7])).replace("7]", "1e999]").encode(),
            "input 'rates': has a number that float32 cannot hold",
        ),
        (request(rates=[1]), "input 'rates': expected 2 videos like 'rgb', got 1"),
        (request(flow=[[[1, 2]]] * 2), "input 'flow': expected 2 units like 'rgb', got 1"),
        (
            {"signature_name": "serialized", "inputs": []},
            "the batch is empty; give at least one video",
        ),
        (
            {"signature_name": "serialized", "inputs": ["a"] * 4},
            "the request has 4 videos; this server takes at most 3: send fewer at once",
        ),
        (
            request(rgb=np.ones([2, 9, 3]).tolist(), flow=np.ones([2, 9, 2]).tolist()),
            "the request has 9 units in a video; this server takes at most 8: send it in parts",
        ),
        (
            request(rgb=np.ones([2, 7, 3]).tolist(), flow=np.ones([2, 7, 2]).tolist()),
            "the request has 14 units, padding included; this server takes at most 12: ",
        ),
        (
            b"[" * 4001,
            "the request has 4001 bytes; this server takes at most 4000: send fewer or shorter",
        ),
        # 4 inputs of 12 units, twice 3 videos and 3 lists around them.
        (b"[" * 85, "the body has 85 lists and objects; within the limits there are 84"),
        ({"signature_name": "serialized", "inputs": ["\ud800"]}, "input 'examples': value 0 is "),
        (
            {"signature_name": "serialized", "inputs": ["", {"b64": "?"}]},
            "input 'examples': value 1 is not base 64",
        ),
        (
            {"signature_name": "serialized", "instances": ["a", {"examples": "b"}]},
            "instance 0: expected an object of inputs, got a string",
        ),
        (
            {"signature_name": "serialized", "inputs": [3]},
            "input 'examples': expected string [batch], got a number",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_one_line(body, message):
    found = refusal(body)
    assert found.code == "INVALID_ARGUMENT"
    assert found.message.startswith(message)
    assert "\n" not in found.message and len(found.message) < 300


def test_what_is_too_deep_or_has_too_many_digits_is_refused():
    deep = refusal(b'{"inputs": ' + b"[" * DEEP + b"]" * DEEP + b"}", Limits())
    assert "nested too deeply" in deep.message
    digits = refusal(b'{"inputs": ' + b"1" * 5000 + b"}", Limits())
    assert digits.message == "the body has a whole number of too many digits"


@settings(deadline=None)
@given(st.data())
def test_damaged_json_is_refused_or_is_another_sound_request(data):
    body = bytearray(
        json.dumps(rows({k: np.asarray(v) for k, v in request()["inputs"].items()})), "utf-8"
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=2)
            | st.sampled_from([b"[", b"]", b'"', b"{", b"1e99", b"null", b","])
        )
    try:
        call, _ = parse(bytes(body))
    except Refusal as found:
        assert found.code in protocol.HTTP_STATUS and "\n" not in found.message
    else:
        assert call.inputs["rgb"].shape == (call.videos, call.units, 3)


def answer(outputs: dict[str, np.ndarray], rest_format, videos=2, asked=()):
    call = protocol.Call("serving_default", {}, asked, videos, 1)
    return protocol.rest_response(call, outputs, rest_format)


def test_answers_are_rows_of_a_request_in_rows_and_columns_of_one_in_columns():
    outputs = {
        "scores": np.array([[0.2, 1e-9], [np.nan, -np.inf]], np.float32),
        "silent": np.array([True, False]),
        "class_names": np.array([[b"Sprung", b""], [b"\xff", b"a"]], object),
        "raw_bytes": np.array([b"\xff", b""], object),
    }
    first = {
        "scores": [0.2, 1e-9],
        "silent": True,
        "class_names": ["Sprung", ""],
        "raw_bytes": {"b64": "/w=="},
    }
    found = answer(outputs, "row")["predictions"]
    assert found[0] == first
    assert json.dumps(found[1]["scores"]) == "[NaN, -Infinity]"
    assert found[1]["class_names"] == ["\ufffd", "a"]
    columnar = answer(outputs, "columnar")["outputs"]
    assert {name: values[0] for name, values in columnar.items()} == first
    assert answer(outputs, "row", asked=("silent",)) == {"predictions": [True, False]}
    assert answer(outputs, "columnar", asked=("silent",)) == {"outputs": [True, False]}


@given(arrays.arrays(FLOAT, 20, elements=st.floats(width=32)))
def test_numbers_are_written_so_that_they_are_read_as_the_same_float32(values):
    written = json.dumps(answer({"scores": values}, "columnar"))
    read = np.array(json.loads(written)["outputs"], np.float32)
    np.testing.assert_array_equal(read, values)


def test_an_answer_without_a_row_per_video_is_refused_in_rows_only():
    outputs = {"p_class": np.zeros([3], np.float32), "status": np.zeros([2], np.int32)}
    with pytest.raises(Refusal, match=r"output 'p_class': has shape \[3\] and not a row for each"):
        answer(outputs, "row")
    assert answer(outputs, "columnar") == {"outputs": {"p_class": [0.0] * 3, "status": [0, 0]}}


def state(version: int, name: str, code: str = "OK", message: str = ""):
    return types.SimpleNamespace(
        version=version, state=name, error_code=code, error_message=message
    )


STATES = [state(1, "AVAILABLE"), state(2, "END", "INVALID_ARGUMENT", "has no signature 'detect'")]


def test_status_names_each_version_or_the_one_that_is_asked_for():
    assert protocol.status_rest(STATES, "cpmn", 2) == {
        "model_version_status": [
            {
                "version": "2",
                "state": "END",
                "status": {
                    "error_code": "INVALID_ARGUMENT",
                    "error_message": "has no signature 'detect'",
                },
            }
        ]
    }
    both = protocol.status_rest(STATES, "cpmn")["model_version_status"]
    assert [each["version"] for each in both] == ["1", "2"]
    for states, version, line in (
        (STATES, 3, "Could not find version 3 of model cpmn"),
        ([], None, "Could not find any versions of model cpmn"),
    ):
        with pytest.raises(Refusal) as raised:
            protocol.status_rest(states, "cpmn", version)
        assert (raised.value.code, str(raised.value)) == ("NOT_FOUND", line)


def test_a_refusal_passes_between_processes():
    found = pickle.loads(pickle.dumps(Refusal("NOT_FOUND", "there is none")))
    assert (found.code, found.message, str(found)) == ("NOT_FOUND",) + ("there is none",) * 2


def test_names_from_outside_are_shown_on_one_line_and_not_at_length():
    names = [f"{number:02d}\n" + "x" * 1000 for number in range(30)]
    shown = protocol.quoted(names)
    assert shown.startswith("'00\\nxxx") and shown.endswith(" and 22 more") and len(shown) < 700
    assert protocol.brackets(range(9)) == "[0, 1, 2, 3, 4, 5, 6, 7, …]"
