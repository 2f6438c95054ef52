"""TensorFlow Serving's REST requests and answers, and the checks that both its protocols share.

A request is checked once, here, before anything runs: a :class:`Call` has exactly the inputs of its
signature, of its dtypes and shapes, for at least one video and within :class:`Limits`. All else is
a :class:`Refusal`: a status code of gRPC and one line that names the input, what was expected and
what was given. NaN, and lengths or rates that cannot be, are not refused: the graph gives such a
video a `status` and the others their detections.

REST is the real server's (`/v1/models/NAME:predict`):

- `{"signature_name": …, "instances": [{input: value}, …]}`, a row per video, is answered with
  `{"predictions": [{output: value}, …]}`; `{"inputs": {input: values}}` with `{"outputs": …}`.
  A signature with one input takes its values without a name; one output is written without.
- Arrays are nested lists. All rows have one shape, so that videos of different lengths are padded
  to the longest, and `lengths` says how long each is; ragged lists are refused.
- Whole numbers do for float32 up to 2^24 - 1, numbers with a fraction or exponent never for int32.
- `{"b64": …}` is a string of any bytes. Outputs whose names end in `_bytes` are written so, other
  strings plainly.
- `NaN`, `Infinity` and `-Infinity` are read and written as these words, like the real server does,
  although strict JSON has none: Python's `json` reads them, a browser's `JSON.parse` does not.
  Answers are finite unless the model's own numbers are not, which `status` says.

Stricter than the real server: duplicate keys and unknown names in `inputs` are refused, and in
protobuf a tensor must hold as many values as its shape says (TensorFlow would repeat the last one:
memory on a header's word). The units of examples, which `serialized` takes, are checked where these
are parsed (:meth:`~cpmn_tf.serving.model.Model.examined`).
"""

import base64
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

import numpy as np

DEFAULT_SIGNATURE = "serving_default"
# As TensorFlow Serving's, but for RESOURCE_EXHAUSTED: a full queue is the server's state, which
# 503 and Retry-After say, where 429 would blame the one client.
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "RESOURCE_EXHAUSTED": 503,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
RestFormat = Literal["row", "columnar"]
EXACT_INTEGERS = 2**24  # float32 holds all below, and the real server takes no others


class Refusal(Exception):
    """What a client did wrong, or the server cannot do now.

    Attributes:
      code: name of gRPC's status code, a key of `HTTP_STATUS`.
      message: one line, without paths.
    """

    def __init__(self, code: str, message: str):
        super().__init__(code, message)  # both, since processes pickle it by its arguments
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
      request_bytes: of its body, or of a message's tensors.
      videos: of its batch.
      video_units: units T of a video, padding included.
      request_units: videos times units.
    """

    request_bytes: int = 64 * 2**20
    videos: int = 64
    video_units: int = 100_000
    request_units: int = 400_000


@dataclass(frozen=True)
class TensorType:
    """An input or output: its dtype (object: strings), and its shape, None where free."""

    dtype: np.dtype
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        free = itertools.chain(("batch", "units"), itertools.repeat("any"))
        axes = [next(free) if size is None else size for size in self.shape]
        return f"{dtype_name(self.dtype)} {brackets(axes)}"


@dataclass(frozen=True)
class Signature:
    """What a signature of a SavedModel takes and gives, by name."""

    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]


@dataclass(frozen=True)
class Call:
    """A checked request.

    Attributes:
      signature: its name; the default one by its own.
      inputs: arrays by name, of the signature's dtypes and shapes and one batch size; not writable
        where they are views of the request. Strings are arrays of objects that are bytes.
      outputs: names of those asked for; () is all.
      videos: batch size.
      units: padded units; 0 if no input is [batch, units, G].
    """

    signature: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    videos: int
    units: int


class VersionState(Protocol):
    """A version's state, `START` to `END`, and code and text of its failure, or `OK` and ""."""

    @property
    def version(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def error_code(self) -> str: ...
    @property
    def error_message(self) -> str: ...


def invalid(message: str) -> NoReturn:
    """Refuses what the client has to change.

    Raises:
      Refusal: always.
    """
    raise Refusal("INVALID_ARGUMENT", message)


def quoted(names: Iterable[str]) -> str:
    """The first names of a list, each on one line and not too long, whoever chose them."""
    names = sorted(names)
    shown = ", ".join(repr(name if len(name) <= 60 else name[:60] + "…") for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def brackets(shape: Sequence[object]) -> str:
    """A shape as it is written, cut after eight axes."""
    return f"[{', '.join(map(str, shape[:8]))}{', …' if len(shape) > 8 else ''}]"


def dtype_name(dtype: np.dtype) -> str:
    """TensorFlow's name."""
    return "string" if dtype.kind == "O" else dtype.name


def check_bytes(count: int, limits: Limits) -> None:
    """Of a body or tensors, before they are parsed.

    Raises:
      Refusal: if there are more than the limit.
    """
    if count > limits.request_bytes:
        invalid(
            f"the request has {count} bytes; this server takes at most {limits.request_bytes}: "
            "send fewer or shorter videos at once"
        )


def check_signature(name: str, signatures: Mapping[str, Signature], code: str) -> str:
    """The signature's name, which is "" or unset for the default one.

    Raises:
      Refusal: with ``code``, if there is none of that name.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise Refusal(
            code, f"signature {quoted([name])} is unknown; there are {quoted(signatures)}"
        )
    return name


def check_names(given: Iterable[str], signature: Signature, where: str = "the request") -> None:
    """Inputs must be the signature's.

    Raises:
      Refusal: if some are missing or unknown.
    """
    given, expected = set(given), set(signature.inputs)
    if missing := expected - given:
        invalid(f"{where} lacks input {quoted(missing)}; expected {quoted(expected)}")
    if unknown := given - expected:
        invalid(f"{where} has unknown input {quoted(unknown)}; expected {quoted(expected)}")


def check_shapes(
    shapes: Mapping[str, tuple[int, ...]], signature: Signature, limits: Limits
) -> tuple[int, int]:
    """Shapes must be the signature's, agree in batch and units, and keep the limits.

    Args:
      shapes: by input; all inputs of the signature.
      signature: what is called.
      limits: of the server.

    Returns:
      Videos and units; 0 units if no input is [batch, units, G].

    Raises:
      Refusal: at the first that is wrong.
    """
    for name, expected in signature.inputs.items():
        shape = shapes[name]
        if len(shape) != len(expected.shape) or any(
            size < 0 or want not in (None, size)
            for size, want in zip(shape, expected.shape, strict=True)
        ):
            invalid(f"input {name!r}: expected {expected}, got shape {brackets(shape)}")
    videos = _agreed(shapes, 0, "videos")
    streams = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    units = _agreed(streams, 1, "units") if streams else 0
    if not videos:
        invalid("the batch is empty; give at least one video")
    check_size(videos, units, limits)
    return videos, units


def check_size(videos: int, units: int, limits: Limits) -> None:
    """Of a batch.

    Raises:
      Refusal: if there are more videos or units than the limits.
    """
    for count, limit, what, fix in (
        (videos, limits.videos, "videos", "send fewer at once"),
        (units, limits.video_units, "units in a video", "send it in parts"),
        (videos * units, limits.request_units, "units, padding included", "send fewer videos"),
    ):
        if count > limit:
            invalid(f"the request has {count} {what}; this server takes at most {limit}: {fix}")


def _agreed(shapes: Mapping[str, tuple[int, ...]], axis: int, what: str) -> int:
    (first, size), *others = ((name, shape[axis]) for name, shape in shapes.items())
    for name, other in others:
        if other != size:
            invalid(f"input {name!r}: expected {size} {what} like {first!r}, got {other}")
    return size


def parse_rest(
    body: bytes, signatures: Mapping[str, Signature], limits: Limits
) -> tuple[Call, RestFormat]:
    """Reads the body of a `:predict`.

    Args:
      body: JSON.
      signatures: of the model.
      limits: of the server.

    Returns:
      The call, and the format in which it is to be answered.

    Raises:
      Refusal: of anything that is not a sound request.
    """
    check_bytes(len(body), limits)
    # Empty lists take thirty times their bytes in memory, and a minute to be read.
    inputs_of_any = max(len(signature.inputs) for signature in signatures.values())
    most = inputs_of_any * (limits.request_units + 2 * limits.videos + 3)
    if (count := body.count(b"[") + body.count(b"{")) > most:
        invalid(f"the body has {count} lists and objects; within the limits there are {most}")
    request = _json(body)
    if not isinstance(request, dict):
        invalid(f"the body is {_kind(request)}, not an object")
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        invalid(f"'signature_name' is {_kind(name)}, not a string")
    name = check_signature(name, signatures, "INVALID_ARGUMENT")
    signature = signatures[name]
    if ("instances" in request) == ("inputs" in request):
        invalid("the body needs one of 'instances' (rows) and 'inputs' (columns)")
    rest_format: RestFormat = "row" if "instances" in request else "columnar"
    columns = (
        _columns(request["instances"], signature)
        if rest_format == "row"
        else _named(request["inputs"], signature)
    )
    infinite = b"Infinity" in body
    inputs = {
        key: _array(key, columns[key], tensor_type, infinite)
        for key, tensor_type in signature.inputs.items()
    }
    shapes = {key: array.shape for key, array in inputs.items()}
    return Call(name, inputs, (), *check_shapes(shapes, signature, limits)), rest_format


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        invalid(f"the body is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        invalid(f"the body is not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        invalid("the body is not a request: its lists or objects are nested too deeply")
    except ValueError:  # int() of thousands of digits
        invalid("the body has a whole number of too many digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        invalid(f"the body has {quoted([twice])} twice in one object")
    return members


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return kinds.get(type(value), "true or false" if isinstance(value, bool) else "a number")


def _is_named(value: object) -> bool:
    """Whether it is an object of inputs, and no string in base 64."""
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get("b64"), str))


def _columns(rows: object, signature: Signature) -> dict[str, Any]:
    if not isinstance(rows, list):
        invalid(f"'instances' is {_kind(rows)}, not a list")
    if not rows:
        invalid("'instances' is empty; give at least one video")
    named = [_is_named(row) for row in rows]
    if not any(named):
        return _named(rows, signature, "'instances'")
    for index, row in enumerate(rows):
        if not named[index]:
            invalid(f"instance {index}: expected an object of inputs, got {_kind(row)}")
        check_names(row, signature, f"instance {index}")
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _named(values: object, signature: Signature, where: str = "'inputs'") -> dict[str, Any]:
    if isinstance(values, dict) and _is_named(values):
        check_names(values, signature, where)
        return values
    if len(signature.inputs) > 1:
        invalid(f"{where}: expected inputs by name ({quoted(signature.inputs)})")
    return {name: values for name in signature.inputs}


def _array(name: str, value: Any, expected: TensorType, infinite: bool) -> np.ndarray:
    """Nested lists as an array; the shape is what they are, not yet what it must be."""
    where = f"input {name!r}"
    level: list[Any] = [value]
    shape: list[int] = []
    for axis in range(len(expected.shape)):
        kinds = set(map(type, level))
        if kinds != {list}:
            if list in kinds:
                invalid(f"{where}: is a ragged list at axis {axis}; expected {expected}")
            invalid(f"{where}: expected {expected}, got shape {brackets(shape)}")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            fix = "pad to the longest and give each video's own length in 'lengths'"
            invalid(
                f"{where}: is ragged, with {min(sizes)} to {max(sizes)} values at axis {axis}; "
                + (fix if axis == 1 else f"expected {expected}")
            )
        shape += sizes
        level = list(itertools.chain.from_iterable(level))
    convert = _strings if expected.dtype.kind == "O" else _numbers
    return convert(where, level, expected, infinite).reshape(shape)


def _strings(where: str, values: list[Any], expected: TensorType, _: bool) -> np.ndarray:
    array = np.empty(len(values), object)
    for index, value in enumerate(values):
        try:
            if isinstance(value, str):
                array[index] = value.encode()
            elif isinstance(value, dict) and not _is_named(value):
                text = value["b64"]  # whose padding may be left out
                array[index] = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
            else:
                invalid(f"{where}: expected {expected}, got {_kind(value)}")
        except ValueError:
            fault = "base 64" if isinstance(value, dict) else "Unicode"
            invalid(f"{where}: value {index} is not {fault}")
    return array


def _numbers(where: str, values: list[Any], expected: TensorType, infinite: bool) -> np.ndarray:
    is_float = expected.dtype.kind == "f"
    for kind in set(map(type, values)) - ({int, float} if is_float else {int}):
        given = next(value for value in values if type(value) is kind)
        what = "a number with a fraction or exponent" if kind is float else _kind(given)
        invalid(f"{where}: expected {expected}, got {what}")
    try:
        if not is_float:
            return np.array(values, expected.dtype)
        exact = np.array(values, np.float64)
    except OverflowError:
        invalid(f"{where}: has a number that {dtype_name(expected.dtype)} cannot hold")
    with np.errstate(over="ignore"):
        array = exact.astype(expected.dtype)
    # A number like 1e999 was read as infinite, and none is unless the body says so.
    lost = np.isinf(array) if not infinite else np.isinf(array) & np.isfinite(exact)
    whole = np.flatnonzero(np.abs(exact) >= EXACT_INTEGERS)
    if lost.any() or any(type(values[index]) is int for index in whole):
        invalid(f"{where}: has a number that {dtype_name(expected.dtype)} cannot hold")
    return array


def rest_response(
    call: Call, outputs: Mapping[str, np.ndarray], rest_format: RestFormat
) -> dict[str, Any]:
    """The answer to :func:`parse_rest`, for ``json.dumps``.

    Args:
      call: as parsed.
      outputs: of the signature, by name.
      rest_format: as parsed.

    Raises:
      Refusal: if the answer has no rows, since outputs differ in their first axis.
    """
    asked = {name: outputs[name] for name in call.outputs or outputs}
    if rest_format == "row":
        for name, array in asked.items():
            if array.ndim == 0 or len(array) != call.videos:
                invalid(
                    f"output {name!r}: has shape {brackets(array.shape)} and not a row for each of "
                    f"{call.videos} videos; ask with 'inputs' instead of 'instances'"
                )
    values = {name: _listed(name, array) for name, array in asked.items()}
    if rest_format == "columnar":
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def _listed(name: str, array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        coded = np.empty(array.size, object)
        for index, value in enumerate(array.flat):
            coded[index] = (
                {"b64": base64.b64encode(value).decode()}
                if name.endswith("_bytes")
                else value.decode(errors="replace")
            )
        return coded.reshape(array.shape).tolist()
    return (_decimal(array) if array.dtype == np.float32 else array).tolist()


def _decimal(array: np.ndarray) -> np.ndarray:
    """float64 of few digits that are the same float32: 0.2 and not 0.20000000298023224."""
    close = array.astype(np.float64)
    with np.errstate(all="ignore"):  # what has no logarithm stays as it is
        for digits in (9, 6):  # 9 always do
            scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(close))))
            short = np.rint(close * scale) / scale
            close = np.where(short.astype(np.float32) == array, short, close)
    return close


def versions_asked(
    states: Sequence[VersionState], model: str, version: int | None
) -> list[VersionState]:
    """The states that a request for the model's status asks for.

    Raises:
      Refusal: if there is no such version, or none at all.
    """
    asked = [state for state in states if version in (None, state.version)]
    if not asked:
        which = "any versions" if version is None else f"version {version}"
        raise Refusal("NOT_FOUND", f"Could not find {which} of model {model}")
    return asked


def status_rest(
    states: Sequence[VersionState], model: str, version: int | None = None
) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME[/versions/N]`.

    Raises:
      Refusal: as :func:`versions_asked`.
    """
    return {
        "model_version_status": [
            {
                "version": str(state.version),  # of 64 bits, which JSON's numbers do not hold
                "state": state.state,
                "status": {"error_code": state.error_code, "error_message": state.error_message},
            }
            for state in versions_asked(states, model, version)
        ]
    }
