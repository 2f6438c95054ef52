"""TensorFlow Serving's protobufs: equal bits, no needless copies, and refusals."""

import functools
import json
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving", reason="needs the extra [serving]")

import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from cpmn_tf.serving import protobufs, protocol
from cpmn_tf.serving.protocol import Limits, Refusal, Signature, TensorType

FLOAT, INT, TEXT = np.dtype(np.float32), np.dtype(np.int32), np.dtype(object)
SIGNATURES = {
    "serving_default": Signature(
        {
            "rgb": TensorType(FLOAT, (None, None, 3)),
            "flow": TensorType(FLOAT, (None, None, 2)),
            "lengths": TensorType(INT, (None,)),
        },
        {"scores": TensorType(FLOAT, (None, None)), "names": TensorType(TEXT, (None, None))},
    ),
    "serialized": Signature(
        {"examples": TensorType(TEXT, (None,))}, {"counts": TensorType(INT, (None,))}
    ),
}
LIMITS = Limits(request_bytes=1000, videos=3, video_units=8, request_units=12)


def typed(array: np.ndarray) -> TensorProto:
    """With its values in the typed field."""
    tensor = tf.make_tensor_proto(array)
    tensor.ClearField("tensor_content")
    field = {FLOAT: "float_val", INT: "int_val", TEXT: "string_val"}[array.dtype]
    tensor.ClearField(field)
    getattr(tensor, field).extend(array.ravel().tolist())
    return tensor


def written(values: dict[str, np.ndarray], write=tf.make_tensor_proto) -> PredictRequest:
    made = PredictRequest()
    for name, array in values.items():
        made.inputs[name].CopyFrom(write(array))
    return made


def sound(write=tf.make_tensor_proto) -> PredictRequest:
    """A request of two videos."""
    values = {"rgb": np.ones([2, 2, 3], FLOAT), "flow": np.ones([2, 2, 2], FLOAT)}
    return written(values | {"lengths": np.array([2, 1], INT)}, write)


def serialized(*examples: bytes) -> PredictRequest:
    made = written({"examples": np.array(examples, object)})
    made.model_spec.signature_name = "serialized"
    return made


def parse(made: PredictRequest, limits: Limits = LIMITS) -> protocol.Call:
    return protobufs.parse_predict(made, SIGNATURES, limits)


@settings(deadline=None)
@given(st.data(), st.sampled_from([tf.make_tensor_proto, typed]))
def test_arrays_arrive_with_equal_bits(data, write):
    videos, units = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    number = st.floats(width=32, allow_nan=False) | st.just(np.nan)
    values = {
        "rgb": data.draw(arrays.arrays(FLOAT, (videos, units, 3), elements=number)),
        "flow": data.draw(arrays.arrays(FLOAT, (videos, units, 2), elements=number)),
        "lengths": data.draw(arrays.arrays(INT, videos)),
    }
    call = parse(PredictRequest.FromString(written(values, write).SerializeToString()))
    assert (call.signature, call.videos, call.units) == ("serving_default", videos, units)
    assert list(call.inputs) == list(values)
    for name, array in call.inputs.items():
        assert (array.dtype, array.shape) == (values[name].dtype, values[name].shape)
        assert array.tobytes() == values[name].tobytes()


def test_strings_arrive_as_any_bytes():
    call = parse(serialized(bytes(range(256)), b""))
    assert call.inputs["examples"].tolist() == [bytes(range(256)), b""]
    assert (call.signature, call.videos, call.units) == ("serialized", 2, 0)


def test_features_are_views_of_the_content_which_is_taken_out_once():
    signature = Signature(
        {name: TensorType(FLOAT, (None, None, 101)) for name in ("rgb", "flow")}, {}
    )
    values = {name: np.ones([1, 900, 101], FLOAT) for name in signature.inputs}
    made = written(values)
    tracemalloc.start()
    call = protobufs.parse_predict(made, {"serving_default": signature}, Limits())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for array in call.inputs.values():
        owner = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        assert isinstance(owner, bytes) and not array.flags.writeable
    assert peak < 1.1 * sum(array.nbytes for array in values.values())


def change(**changed):
    """A sound request with some inputs changed; None takes one out."""
    made = sound()
    for name, array in changed.items():
        if array is None:
            del made.inputs[name]
        else:
            made.inputs[name].CopyFrom(
                array if isinstance(array, TensorProto) else tf.make_tensor_proto(array)
            )
    return made


def tensor(dtype=tf.float32, shape=(2, 2, 3), **fields) -> TensorProto:
    made = TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def spec(**fields) -> PredictRequest:
    made = sound()
    made.model_spec.MergeFrom(type(made.model_spec)(**fields))
    return made


def asking(*outputs: str) -> PredictRequest:
    made = sound()
    made.output_filter.extend(outputs)
    return made


def without_shape() -> PredictRequest:
    made = sound()
    made.inputs["rgb"].tensor_shape.Clear()
    made.inputs["rgb"].tensor_shape.unknown_rank = True
    return made


RGB = "input 'rgb': expected float32 [batch, units, 3], got "


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (change(rgb=None), "the request lacks input 'rgb'; expected 'flow', 'lengths', 'rgb'"),
        (change(depth=np.ones(2)), "the request has unknown input 'depth'; expected "),
        (change(rgb=np.ones([2, 2, 3], np.float16)), RGB + "DT_HALF"),
        (change(rgb=np.ones([2, 2, 3], np.float64)), RGB + "DT_DOUBLE"),
        (change(rgb=np.array([[[b"a"] * 3] * 2] * 2)), RGB + "DT_STRING"),
        (change(rgb=TensorProto(dtype=99)), RGB + "dtype 99"),
        (change(rgb=TensorProto()), RGB + "DT_INVALID"),
        (change(lengths=np.ones(2, np.int64)), "input 'lengths': expected int32 [batch], got DT_"),
        (change(rgb=np.ones([2, 2], FLOAT)), RGB + "shape [2, 2]"),
        (change(rgb=np.ones([2, 2, 4], FLOAT)), RGB + "shape [2, 2, 4]"),
        (change(rgb=tensor(shape=[1] * 1000)), RGB + "shape [1, 1, 1, 1, 1, 1, 1, 1, …]"),
        (change(rgb=tensor(shape=[-1, -1, 3])), RGB + "shape [-1, -1, 3]"),
        (without_shape(), RGB + "an unknown shape"),
        (change(rgb=np.ones([1, 2, 3], FLOAT)), "input 'flow': expected 1 videos like 'rgb', got"),
        (change(flow=np.ones([2, 1, 2], FLOAT)), "input 'flow': expected 2 units like 'rgb', got"),
        (change(rgb=tensor()), "input 'rgb': expected 12 values by its shape, got 0"),
        (change(rgb=tensor(float_val=[1])), "input 'rgb': expected 12 values by its shape, got 1"),
        (change(rgb=tensor(int_val=[1] * 12)), "input 'rgb': expected 12 values by its shape, "),
        (
            change(rgb=tensor(tensor_content=b"1234")),
            "input 'rgb': expected 48 bytes by its shape, got 4",
        ),
        (asking("scores", "boxes"), "output 'boxes' is unknown; there are 'names', 'scores'"),
        (asking("scores", "scores"), "the output filter has an output twice"),
        (serialized(), "the batch is empty; give at least one video"),
        (serialized(*[b""] * 4), "the request has 4 videos; this server takes at most 3"),
        (serialized(b"a" * 600, b"b" * 401), "the request has 1001 bytes; this server takes at "),
    ],
)
def test_a_wrong_request_is_refused_with_one_line(made, message):
    with pytest.raises(Refusal) as raised:
        parse(made)
    assert raised.value.code == "INVALID_ARGUMENT"
    assert raised.value.message.startswith(message)
    assert "\n" not in raised.value.message and len(raised.value.message) < 300


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (2**62, "the request has 4611686018427387904 units in a video; this server takes at"),
        (9, "the request has 9 units in a video; this server takes at most 8: send it in parts"),
        (7, "the request has 14 units, padding included; this server takes at most 12"),
    ],
)
def test_nothing_is_read_of_what_its_shape_says_is_too_much(units, message):
    made = change(rgb=tensor(shape=[2, units, 3]), flow=tensor(shape=[2, units, 2]))
    with pytest.raises(Refusal) as raised:
        parse(made)
    assert raised.value.message.startswith(message)


def test_bytes_are_counted_before_content_is_read():
    limits = Limits(request_bytes=87)  # of 48 + 32 + 8
    with pytest.raises(Refusal, match="the request has 88 bytes; this server takes at most 87"):
        parse(sound(), limits)
    assert parse(sound(), Limits(request_bytes=88)).videos == 2


def test_an_unknown_signature_is_refused_as_the_real_server_does():
    with pytest.raises(Refusal) as raised:
        parse(spec(signature_name="regress"))
    assert raised.value.code == "FAILED_PRECONDITION"
    line = "signature 'regress' is unknown; there are 'serialized', 'serving_default'"
    assert raised.value.message == line


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_message_is_no_message_or_refused_or_another_sound_request(data):
    write = data.draw(st.sampled_from([tf.make_tensor_proto, typed]))
    message = bytearray(
        data.draw(st.sampled_from([sound(write), serialized(b"a", b"bc")])).SerializeToString(
            deterministic=True
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message) - 1))
        message[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        call = parse(PredictRequest.FromString(bytes(message)))
    except DecodeError:
        return
    except Refusal as found:
        assert found.code in protocol.HTTP_STATUS and "\n" not in found.message
    else:
        assert all(len(array) == call.videos for array in call.inputs.values())


def test_an_answer_is_read_by_tensorflow_and_holds_what_was_asked_for():
    outputs = {
        "scores": np.array([[0.5, np.nan]], FLOAT),
        "names": np.array([[b"a", b"\xff"]], object),
        "silent": np.array([True]),
        "labels": np.array([[1, -1]], INT),
    }
    call = protocol.Call("serving_default", {}, (), 1, 1)
    response = protobufs.predict_response(call, outputs, "cpmn", 7)
    found = {name: tf.make_ndarray(made) for name, made in response.outputs.items()}
    assert set(found) == set(outputs)
    for name, array in outputs.items():
        assert (found[name].dtype, found[name].tolist()) == (array.dtype, array.tolist()) or (
            name == "scores"
        )
    np.testing.assert_array_equal(found["scores"], outputs["scores"], strict=True)
    model = response.model_spec
    assert (model.name, model.version.value, model.signature_name) == ("cpmn", 7, "serving_default")
    call = protocol.Call("serving_default", {}, ("silent",), 1, 1)
    assert list(protobufs.predict_response(call, outputs, "cpmn", 7).outputs) == ["silent"]


def test_signatures_are_those_of_an_exported_model(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    signatures = protobufs.signatures_of(protobufs.signature_definitions(exported / "1"))
    assert {"serving_default", "detect", "detect_with_class_scores", "score"} <= set(signatures)
    detect = signatures["detect"]
    assert {name: str(each) for name, each in detect.inputs.items()} == {
        "rgb": "float32 [batch, units, 12]",
        "flow": "float32 [batch, units, 8]",
        "lengths": "int32 [batch]",
        "rates": "float32 [batch]",
        "durations": "float32 [batch]",
    }
    assert detect.outputs["segments"].dtype == np.float32
    assert detect == signatures["serving_default"]
    made = PredictRequest()
    for name, each in detect.inputs.items():
        ones = np.ones([10 if size is None else size for size in each.shape], each.dtype)
        protobufs.fill_tensor(made.inputs[name], ones)
    call = protobufs.parse_predict(made, signatures, Limits())
    outputs = loaded.signatures["detect"](**{k: tf.constant(v) for k, v in call.inputs.items()})
    response = protobufs.predict_response(call, {k: v.numpy() for k, v in outputs.items()}, "m", 1)
    assert set(response.outputs) == set(detect.outputs)


def test_metadata_are_the_signatures_of_the_file(exported):
    definitions = protobufs.signature_definitions(exported / "1")
    ask = functools.partial(protobufs.metadata, definitions=definitions, name="cpmn", version=3)
    request = get_model_metadata_pb2.GetModelMetadataRequest
    response = ask(request(metadata_field=["signature_def"]))
    assert (response.model_spec.name, response.model_spec.version.value) == ("cpmn", 3)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert found.signature_def["detect"].method_name == "tensorflow/serving/predict"
    assert found.signature_def["detect"].inputs["rgb"].name == "detect_rgb:0"
    rest = protobufs.metadata_rest(definitions, "cpmn", 3)
    assert json.loads(json.dumps(rest)) == rest
    assert rest["model_spec"] == {"name": "cpmn", "version": "3", "signature_name": ""}
    rgb = rest["metadata"]["signature_def"]["signature_def"]["detect"]["inputs"]["rgb"]
    assert rgb == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in ("-1", "-1", "12")],
            "unknown_rank": False,
        },
        "name": "detect_rgb:0",
    }
    for fields, line in (
        ([], "at least one metadata_field"),
        (["a\n"], r"field 'a\\n' is unknown"),
    ):
        with pytest.raises(Refusal, match=line):
            ask(request(metadata_field=fields))


class State:
    """As the versions' states are."""

    def __init__(self, version: int, state: str, error_code: str = "OK", error_message: str = ""):
        self.version, self.state = version, state
        self.error_code, self.error_message = error_code, error_message


def test_status_says_the_same_in_both_protocols():
    names = ["START", "LOADING", "AVAILABLE", "UNLOADING"]
    states = [State(number, name) for number, name in enumerate(names, 1)]
    states.append(State(5, "END", "INVALID_ARGUMENT", "has no signature 'detect'"))
    for version in (None, 5):
        response = protobufs.status(states, "cpmn", version)
        assert MessageToDict(
            response,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        ) == protocol.status_rest(states, "cpmn", version)
    with pytest.raises(Refusal, match="Could not find version 6 of model cpmn"):
        protobufs.status(states, "cpmn", 6)
