"""TensorFlow Serving's protobuf requests and answers; needs the extra `[serving]`.

What is checked, and how it is refused, is as in :mod:`~cpmn_tf.serving.protocol`. Tensors are read
from `tensor_content`, of which the arrays are views, or from the typed fields (`float_val`, …).
Numbers are answered as `tensor_content`, like the real server does with
`--enable_serialization_as_tensor_content`, since the typed fields cost hundreds of times as much;
``tf.make_ndarray`` reads both. Strings are always in `string_val`.
"""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from cpmn_tf.serving.protocol import (
    Call,
    Limits,
    Signature,
    TensorType,
    VersionState,
    check_bytes,
    check_names,
    check_shapes,
    check_signature,
    invalid,
    quoted,
    versions_asked,
)
from cpmn_tf.serving.versions import GRAPH_FILE

# By dtype: its number, and the typed field.
FIELDS: dict[np.dtype, tuple[int, str]] = {
    np.dtype(np.float32): (types_pb2.DT_FLOAT, "float_val"),
    np.dtype(np.float64): (types_pb2.DT_DOUBLE, "double_val"),
    np.dtype(np.int32): (types_pb2.DT_INT32, "int_val"),
    np.dtype(np.int64): (types_pb2.DT_INT64, "int64_val"),
    np.dtype(np.bool_): (types_pb2.DT_BOOL, "bool_val"),
    np.dtype(object): (types_pb2.DT_STRING, "string_val"),
}
ITEM_BYTES = {number: dtype.itemsize for dtype, (number, _) in FIELDS.items()}


REQUESTS = {
    "Predict": predict_pb2.PredictRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
}


def decoded(method: str, message: bytes) -> Any:
    """The request of a method.

    Raises:
      Refusal: if the bytes are none.
    """
    kind = REQUESTS[method]
    try:
        return kind.FromString(message)
    except DecodeError:
        invalid(f"the message is no {kind.DESCRIPTOR.name}")


def parse_predict(
    request: predict_pb2.PredictRequest, signatures: Mapping[str, Signature], limits: Limits
) -> Call:
    """Reads a request whose model and version are known already.

    Args:
      request: as received.
      signatures: of the model.
      limits: of the server.

    Raises:
      Refusal: of anything that is not a sound request.
    """
    name = check_signature(request.model_spec.signature_name, signatures, "FAILED_PRECONDITION")
    signature = signatures[name]
    outputs = tuple(request.output_filter)
    if unknown := set(outputs) - set(signature.outputs):
        invalid(f"output {quoted(unknown)} is unknown; there are {quoted(signature.outputs)}")
    if len(set(outputs)) < len(outputs):
        invalid("the output filter has an output twice")
    check_names(request.inputs, signature)
    tensors = {key: request.inputs[key] for key in signature.inputs}
    shapes = {}
    for key, expected in signature.inputs.items():
        tensor = tensors[key]
        if tensor.dtype != FIELDS[expected.dtype][0]:
            invalid(f"input {key!r}: expected {expected}, got {_dtype(tensor.dtype)}")
        if tensor.tensor_shape.unknown_rank:
            invalid(f"input {key!r}: expected {expected}, got an unknown shape")
        dims = tensor.tensor_shape.dim[:9]  # of millions, as many as a refusal shows are enough
        shapes[key] = tuple(dim.size for dim in dims)
    videos, units = check_shapes(shapes, signature, limits)
    # `ByteSize` would write the whole message to know.
    check_bytes(sum(map(_byte_count, tensors.values(), shapes.values())), limits)
    inputs = {
        key: _array(key, tensors[key], shapes[key], expected)
        for key, expected in signature.inputs.items()
    }
    return Call(name, inputs, outputs, videos, units)


def _dtype(number: int) -> str:
    known = types_pb2.DataType.values()
    return types_pb2.DataType.Name(number) if number in known else f"dtype {number}"


def _byte_count(tensor: tensor_pb2.TensorProto, shape: tuple[int, ...]) -> int:
    if tensor.dtype == types_pb2.DT_STRING:
        return sum(map(len, tensor.string_val))
    return math.prod(shape) * ITEM_BYTES[tensor.dtype]


def _array(
    name: str, tensor: tensor_pb2.TensorProto, shape: tuple[int, ...], expected: TensorType
) -> np.ndarray:
    size = math.prod(shape)
    content = tensor.tensor_content  # each access copies it
    if content and expected.dtype.kind == "O":
        invalid(f"input {name!r}: expected its strings in string_val, got tensor_content")
    if content:
        count = size * expected.dtype.itemsize
        if len(content) != count:
            invalid(f"input {name!r}: expected {count} bytes by its shape, got {len(content)}")
        return np.frombuffer(content, expected.dtype).reshape(shape)
    values = getattr(tensor, FIELDS[expected.dtype][1])
    if len(values) != size:
        invalid(f"input {name!r}: expected {size} values by its shape, got {len(values)}")
    return np.fromiter(values, expected.dtype, size).reshape(shape)


def predict_response(
    call: Call, outputs: Mapping[str, np.ndarray], name: str, version: int
) -> predict_pb2.PredictResponse:
    """The answer to :func:`parse_predict`.

    Args:
      call: as parsed.
      outputs: of the signature, by name.
      name: the model's.
      version: that computed them.
    """
    response = predict_pb2.PredictResponse(
        model_spec=_model_spec(name, version, signature_name=call.signature)
    )
    for key in call.outputs or outputs:
        fill_tensor(response.outputs[key], outputs[key])
    return response


def fill_tensor(tensor: tensor_pb2.TensorProto, array: np.ndarray) -> None:
    """Writes an array into an empty tensor."""
    tensor.dtype = FIELDS[array.dtype][0]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind == "O":
        tensor.string_val.extend(array.ravel().tolist())
    else:
        tensor.tensor_content = array.tobytes()


def predict_request(
    inputs: Mapping[str, np.ndarray], signature: str = "", name: str = "cpmn"
) -> predict_pb2.PredictRequest:
    """A request of these inputs; the default signature by "", as clients send it."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, array in inputs.items():
        fill_tensor(request.inputs[key], array)
    return request


def _model_spec(name: str, version: int, **fields: str) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name, **fields)
    spec.version.value = version
    return spec


def signature_definitions(
    folder: str | os.PathLike,
) -> dict[str, meta_graph_pb2.SignatureDef]:
    """All signatures of a SavedModel, as its file has them: what metadata is made of."""
    saved = saved_model_pb2.SavedModel.FromString((pathlib.Path(folder) / GRAPH_FILE).read_bytes())
    return dict(saved.meta_graphs[0].signature_def)


def signatures_of(
    definitions: Mapping[str, meta_graph_pb2.SignatureDef],
) -> dict[str, Signature]:
    """What can be called: inputs and outputs by the names that metadata show."""

    def types(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorType]:
        return {
            name: TensorType(
                np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype),
                tuple(dim.size if dim.size >= 0 else None for dim in info.tensor_shape.dim),
            )
            for name, info in tensors.items()
        }

    return {
        name: Signature(types(definition.inputs), types(definition.outputs))
        for name, definition in definitions.items()
        if not name.startswith("__")  # such as the one that starts tables
    }


def metadata(
    request: get_model_metadata_pb2.GetModelMetadataRequest,
    definitions: Mapping[str, meta_graph_pb2.SignatureDef],
    name: str,
    version: int,
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The answer to GetModelMetadata, whose one field is `signature_def`.

    Raises:
      Refusal: if other fields are asked for, or none.
    """
    if not request.metadata_field:
        invalid("the request must specify at least one metadata_field; there is 'signature_def'")
    if unknown := set(request.metadata_field) - {"signature_def"}:
        invalid(f"metadata field {quoted(unknown)} is unknown; there is 'signature_def'")
    response = get_model_metadata_pb2.GetModelMetadataResponse(
        model_spec=_model_spec(name, version)
    )
    response.metadata["signature_def"].Pack(_definition_map(definitions))
    return response


def _definition_map(
    definitions: Mapping[str, meta_graph_pb2.SignatureDef],
) -> get_model_metadata_pb2.SignatureDefMap:
    return get_model_metadata_pb2.SignatureDefMap(signature_def=definitions)


def metadata_rest(
    definitions: Mapping[str, meta_graph_pb2.SignatureDef], name: str, version: int
) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME/metadata`, for ``json.dumps``."""
    spec, definition_map = (
        MessageToDict(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for message in (_model_spec(name, version), _definition_map(definitions))
    )
    return {"model_spec": spec, "metadata": {"signature_def": definition_map}}


def status(
    states: Sequence[VersionState], name: str, version: int | None = None
) -> get_model_status_pb2.GetModelStatusResponse:
    """The answer to GetModelStatus.

    Raises:
      Refusal: as :func:`~cpmn_tf.serving.protocol.versions_asked`.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for state in versions_asked(states, name, version):
        response.model_version_status.add(
            version=state.version,
            state=get_model_status_pb2.ModelVersionStatus.State.Value(state.state),
            status={
                "error_code": error_codes_pb2.Code.Value(state.error_code),
                "error_message": state.error_message,
            },
        )
    return response
