"""A client of a served model: the same detections as locally, over TensorFlow Serving's protocol.

It speaks gRPC (with the extra [serving]) or REST (with nothing else), to `cpmn-serve` and to
TensorFlow Serving alike.
"""

import contextlib
import email.utils
import functools
import http.client
import json
import math
import os
import random
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from cpmn_tf import inference
from cpmn_tf.data.manifest import MAX_WIDTH, Manifest
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import Problem, UserError, raise_first
from cpmn_tf.formats.detections import Detections
from cpmn_tf.localization import Detected
from cpmn_tf.localization.status import STATUS

SCHEMES = {"grpc": False, "grpcs": True, "http": False, "https": True}  # whether by TLS
FIRST_WAIT, LONGEST_WAIT = 0.25, 10.0  # seconds, of which a wait is a random part
ANSWER_BYTES = 1 << 28  # an answer that is longer is not read
ANSWER_VALUES = 1 << 26  # nor an output that claims more values
# Of what is no stream, in the order of a model's arguments.
RANKS = {"lengths": 1, "rates": 1, "durations": 1, "class_scores": 2}
# Of `detect`'s outputs: type, and what follows the batch, -1 being free.
OUTPUTS: dict[str, tuple[type, tuple[int, ...]]] = {
    "segments": (np.float32, (-1, 2)),
    "labels": (np.int32, (-1,)),
    "scores": (np.float32, (-1,)),
    "counts": (np.int32, ()),
    "silent": (np.int32, ()),
    "status": (np.int32, ()),
    "class_names": (np.str_, (-1,)),
}

# What to do about an error, by its gRPC code; REST's statuses are these codes' namesakes.
FIXES = {
    "UNAVAILABLE": "start it, wait until it is ready, or correct the address",
    "RESOURCE_EXHAUSTED": "try later, or with fewer or shorter videos at once",
    "DEADLINE_EXCEEDED": "give a longer `timeout`, or fewer or shorter videos at once",
    "UNAUTHENTICATED": "give its `token`",
    "NOT_FOUND": "give the `model` that it serves",
    "INVALID_ARGUMENT": "give what it asks for",
}
HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


R = TypeVar("R")


class _Refused(Exception):
    """A call that failed: its code, one line, and whether and after how many seconds to retry."""

    def __init__(self, code: str, line: str, *, passing: bool = False, after: float = 0.0):
        super().__init__(line)
        self.code, self.passing, self.after = code, passing, after


class Signature(NamedTuple):
    """What the server says of one of the model's signatures: shapes by input, names of outputs."""

    inputs: Mapping[str, Sequence[int]]
    outputs: frozenset[str]


class Client:
    """A model behind a server's address, called like :func:`cpmn_tf.localize`.

    A request that is refused for now (the server is busy, restarts, or is not reached) is sent
    again after a random wait, which doubles on average. All other errors come at once.

    Attributes:
      server: its address, with the protocol.
      model: what the server calls the model.
      streams: width G by stream name, as the server says.
      num_classes: of the model.

    >>> client = Client("127.0.0.1:8501", protocol="rest", timeout=10)
    >>> client.server
    'http://127.0.0.1:8501'
    """

    def __init__(
        self,
        server: str,
        *,
        protocol: str = "grpc",
        model: str = "cpmn",
        token: str | None = None,
        timeout: float = 60.0,
        tries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[], float] = random.random,
    ):
        """Connects to nothing yet.

        Args:
          server: ``host:port``, or with its protocol: ``grpc://host:port``, ``http://host:port``;
            ``grpcs`` and ``https`` are by TLS.
          protocol: ``grpc`` or ``rest``, where ``server`` does not say it.
          model: what the server calls the model.
          token: what the server asks for, if it does.
          timeout: seconds for a request, all its tries together.
          tries: times that a request is sent, at most.
          sleep: waits seconds.
          uniform: draws from [0, 1).

        Raises:
          UserError: naming the argument that is wrong, or the extra that is missing.
        """
        scheme, address = _parse_server(server, protocol)
        self.server = f"{scheme}://{address}"
        self.model = model
        if token is not None and not re.fullmatch("[!-~]+", token):
            raise UserError("`token`: holds other than printable ASCII characters; check its file")
        if not timeout > 0:
            raise UserError(f"`timeout={timeout}`: give a positive number of seconds")
        if tries < 1:
            raise UserError(f"`tries={tries}`: give 1 or more")
        self._timeout, self._tries = timeout, tries
        self._sleep, self._uniform = sleep, uniform
        of_scheme = _Grpc if scheme.startswith("grpc") else _Rest
        self._transport = of_scheme(address, SCHEMES[scheme], model, token)

    @property
    def streams(self) -> dict[str, int]:
        """See the class."""
        inputs = self._signature("detect").inputs
        return {name: inputs[name][-1] for name in inputs if name not in RANKS}

    @property
    def num_classes(self) -> int:
        """See the class."""
        return self._signature("detect_with_class_scores").inputs["class_scores"][-1]

    def localize(
        self,
        data: str | os.PathLike | Split | Mapping[str, Any],
        *,
        split: str | None = None,
        rate: float | None = None,
        duration: float | None = None,
        class_scores: Any = None,
        batch_size: int = 1,
        video: str = inference.VIDEO,
        report: Callable[[str], None] = lambda _: None,
        problem: Problem = raise_first,
    ) -> Detections:
        """Localizes actions in the videos of a split, or in one video given as arrays.

        Args:
          data: a data set's folder, a split of it, or one video's features: [units, G] by stream.
          split: with a folder, its split.
          rate: with arrays, units per second.
          duration: with arrays, seconds; units / rate by default.
          class_scores: as of :func:`cpmn_tf.localize`.
          batch_size: videos per request, at most; see :func:`cpmn_tf.localize`.
          video: with arrays, the video's id.
          report: called with lines worth showing.
          problem: called at each video that cannot be localized; see :func:`cpmn_tf.localize`.

        Returns:
          Detections, best first in each video; videos in the order of the split.

        Raises:
          UserError: naming the argument or the record that is wrong, or the server and what it
            says.
        """
        videos: Iterable[dict]
        names = [""] * self.num_classes  # as answers tell them: of what is detected
        expected: Sequence[str] = ()
        order: Sequence[str] = ()
        if isinstance(data, Mapping):
            batch = inference.video_batch(data, self.streams, rate, duration)
            videos = [batch | {"id": tf.constant([video])}]
            class_scores = None if class_scores is None else {video: class_scores}
        else:
            if not isinstance(data, Split):
                if split is None:
                    raise UserError(f"`split`: the server knows none; name one of {data}")
                data = Split.open(data, split)
            self._check_data(data.manifest)
            expected = data.manifest.classes
            videos = inference.batches(data, batch_size, streams=list(self.streams))
            order = data.ids
            problem = functools.partial(inference.in_folder, problem, data.manifest.folder)

        def detect(*arguments: Any) -> Detected:
            found, class_names = self._detect(*arguments)
            self._learn(names, expected, found, class_names)
            return found

        detections, silent = inference.detect_batches(
            detect, videos, names, class_scores, problem, order
        )
        if silent:
            what = "nowhere positive, or constant"
            report(f"{silent} times a class's T-CAS in one stream was {what}: no proposals")
        return detections

    def detect(
        self,
        features: Mapping[str, Any],
        lengths: Any,
        rates: Any,
        durations: Any,
        class_scores: Any = None,
    ) -> Detected:
        """Detections of a batch, as of a model that is called.

        Args:
          features: [batch, units, G] float by stream.
          lengths: [batch] integers, units.
          rates: [batch] float, units per second.
          durations: [batch] float, seconds.
          class_scores: [batch, classes], by which classes are selected instead.

        Returns:
          Arrays of NumPy.

        Raises:
          UserError: naming the server and what it says.
        """
        return self._detect(features, lengths, rates, durations, class_scores)[0]

    def _detect(self, features: Mapping[str, Any], *others: Any) -> tuple[Detected, np.ndarray]:
        """The detections and [batch, most] names of their classes; ``others`` as ``detect`` has."""
        inputs = {name: np.asarray(values, np.float32) for name, values in features.items()}
        for name, values in zip(RANKS, others, strict=False):  # class scores may be left out
            if values is not None:
                inputs[name] = np.asarray(values, np.int32 if name == "lengths" else np.float32)
        signature = "detect_with_class_scores" if "class_scores" in inputs else "detect"
        self._signature(signature)
        outputs = self._retried(lambda left: self._transport.predict(signature, inputs, left))
        return self._checked(outputs, len(inputs["lengths"]))

    def _signature(self, name: str) -> Signature:
        """The model's signature of that name, which must be as of cpmn-export."""
        found = self._signatures.get(name)
        wanted = RANKS.keys() - ({"class_scores"} if name == "detect" else ())
        if (
            not found
            or not found.inputs.keys() >= wanted
            or not found.outputs >= OUTPUTS.keys()
            or not all(
                len(shape) == RANKS.get(key, 3) and (len(shape) == 1 or 0 < shape[-1] <= MAX_WIDTH)
                for key, shape in found.inputs.items()
            )
        ):
            raise UserError(
                f"{self.server}: its model {self.model!r} has no signature {name!r} as "
                "of this version of cpmn-export; export it anew"
            )
        return found

    @functools.cached_property
    def _signatures(self) -> dict[str, Signature]:
        return self._retried(self._transport.signatures)

    def _retried(self, call: Callable[[float], R]) -> R:
        """``call(seconds left)``, and again while it is refused for now."""
        end = time.monotonic() + self._timeout
        attempt = 0
        while True:
            attempt += 1
            try:
                return call(max(end - time.monotonic(), 0.001))
            except _Refused as refused:
                # Not all clients that were refused together shall come back together.
                longest = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT)
                wait = refused.after + self._uniform() * longest
                last = attempt == self._tries or time.monotonic() + wait >= end
                if not refused.passing or last:
                    asked = f", asked {attempt} times" if attempt > 1 else ""
                    fix = FIXES.get(refused.code, "see the server's log")
                    line = f"{self.server}: {refused} [{refused.code}{asked}]; {fix}"
                    raise UserError(line) from None
            except (AttributeError, DecodeError, LookupError, TypeError, ValueError) as error:
                raise self._not_understood(f"{type(error).__name__}: {error}") from None
            self._sleep(wait)

    def _checked(self, outputs: Mapping[str, Any], videos: int) -> tuple[Detected, np.ndarray]:
        """An answer's arrays, of the types and shapes of ``OUTPUTS``."""
        arrays: dict[str, np.ndarray] = {}
        for name, (dtype, shape) in OUTPUTS.items():
            try:
                values = np.asarray(outputs[name])
                with np.errstate(all="ignore"):  # what does not fit is infinite, and refused
                    arrays[name] = values.astype(dtype).reshape(videos, *shape)
                if values.size and values.shape != arrays[name].shape:
                    raise ValueError(f"its shape is {list(values.shape)}")
            except (KeyError, TypeError, ValueError) as error:
                raise self._not_understood(f"{name}: {error}") from None
        class_names = arrays.pop("class_names")
        found = Detected(**arrays)
        rows = [found.segments, found.labels, found.scores, class_names]
        most = {values.shape[1] for values in rows}
        if len(most) > 1 or not np.all((found.counts >= 0) & (found.counts <= min(most))):
            raise self._not_understood("as many detections as it counts are not in it")
        there = np.arange(min(most)) < found.counts[:, np.newaxis]
        if not (np.isfinite(found.segments[there]).all() and np.isfinite(found.scores).all()):
            raise self._not_understood("NaN or infinite numbers are in it")
        if not np.all((found.labels[there] >= 0) & (found.labels[there] < self.num_classes)):
            raise self._not_understood(f"a label is not of its {self.num_classes} classes")
        if not np.all((found.status >= 0) & (found.status < len(STATUS))):
            raise self._not_understood(f"a status is {found.status.max()}")
        return found, class_names

    def _learn(
        self,
        names: list[str],
        expected: Sequence[str],
        found: Detected,
        class_names: np.ndarray,
    ) -> None:
        """Takes the names of an answer's labels, which a data set must call the same."""
        there = np.arange(class_names.shape[1]) < found.counts[:, np.newaxis]
        pairs = zip(found.labels[there].tolist(), class_names[there].tolist(), strict=True)
        for label, name in set(pairs):
            if expected and expected[label] != name:
                raise UserError(
                    f"{self.server}: class {label} of its model is {name!r}, of the data set "
                    f"{expected[label]!r}; use the data set it was trained on"
                )
            names[label] = name

    def _not_understood(self, what: str) -> UserError:
        line = " ".join(what.split())[:200]
        return UserError(
            f"{self.server}: its answer is not understood ({line}); give the address of a "
            "server of cpmn-export's models, of this version"
        )

    def _check_data(self, manifest: Manifest) -> None:
        streams = {spec.name: spec.width for spec in manifest.streams}
        for what, ours, theirs in (
            ("streams", self.streams, streams),
            ("number of classes", self.num_classes, len(manifest.classes)),
        ):
            if ours != theirs:
                raise UserError(
                    f"{manifest.folder}: its {what} is {theirs}, the served model's is {ours}; use "
                    "the data set it was trained on, or one built like it"
                )


def _parse_server(server: str, protocol: str) -> tuple[str, str]:
    """Scheme and ``host:port`` of an address."""
    if protocol not in ("grpc", "rest"):
        raise UserError(f"`protocol={protocol}`: give grpc or rest")
    scheme, found, address = server.rpartition("://")
    if not found:
        scheme = "http" if protocol == "rest" else "grpc"
    try:
        parts = urllib.parse.urlsplit(f"//{address}")
        sound = bool(parts.hostname and parts.port) and parts.netloc == address
    except ValueError:
        sound = False
    if scheme not in SCHEMES or not sound or "@" in address:
        raise UserError(
            f"`server={server}`: is no server's address; give host:port, grpc://host:port or "
            "http://host:port"
        )
    return scheme, address


def _line(text: str) -> str:
    """What a server said, on one line of moderate length."""
    return " ".join(text.split())[:300] or "it gives no reason"


class _Grpc:
    """TensorFlow Serving's PredictionService by gRPC."""

    def __init__(self, address: str, tls: bool, model: str, token: str | None):
        try:
            import grpc
            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                prediction_service_pb2_grpc,
            )

            from cpmn_tf.serving.protobufs import predict_request
        except ModuleNotFoundError as error:
            raise UserError(
                f"gRPC needs the module {error.name}; install the extra [serving], or give the "
                "address of the REST port as http://host:port"
            ) from None
        self._grpc, self._request = grpc, predict_request
        self._metadata_requests = get_model_metadata_pb2
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", ANSWER_BYTES),  # 4 MiB by default
            # A server that comes back is found by the next try, not up to two minutes later.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.enable_http_proxy", 0),  # as by REST
        ]
        if tls:
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def signatures(self, left: float) -> dict[str, Signature]:
        """The model's signatures."""
        module = self._metadata_requests
        request = module.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model
        answer = self._call(self._stub.GetModelMetadata, request, left)
        content = module.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
        return {
            name: Signature(
                {
                    key: [dimension.size for dimension in value.tensor_shape.dim]
                    for key, value in signature.inputs.items()
                },
                frozenset(signature.outputs),
            )
            for name, signature in content.signature_def.items()
        }

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], left: float
    ) -> dict[str, Any]:
        """The outputs of a signature."""
        request = self._request(inputs, signature, self._model)
        answer = self._call(self._stub.Predict, request, left)
        for name, value in answer.outputs.items():
            if math.prod(dimension.size for dimension in value.tensor_shape.dim) > ANSWER_VALUES:
                raise ValueError(f"{name} is too large")  # one repeated value is enough to say so
        outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
        if "class_names" in outputs:
            names = outputs["class_names"]
            text = [name.decode(errors="replace") for name in names.ravel().tolist()]
            outputs["class_names"] = np.array(text, np.str_).reshape(names.shape)
        return outputs

    def _call(self, method: Callable, request: Any, left: float) -> Any:
        try:
            return method(request, timeout=left, metadata=self._metadata)
        except self._grpc.RpcError as error:
            code = error.code().name
            line = _line(error.details() or "")
            # gRPC's own word for a message that is too long is that of a queue that is full.
            passing = (
                code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED") and "larger than max" not in line
            )
            raise _Refused(code, line, passing=passing) from None


class _Rest:
    """TensorFlow Serving's REST interface, a connection per request."""

    def __init__(self, address: str, tls: bool, model: str, token: str | None):
        self._connect = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        parts = urllib.parse.urlsplit(f"//{address}")
        self._host, self._port = str(parts.hostname), parts.port
        self._path = f"/v1/models/{urllib.parse.quote(model, safe='')}"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def signatures(self, left: float) -> dict[str, Signature]:
        """The model's signatures."""
        answer = self._call("GET", "/metadata", None, left)
        found = answer["metadata"]["signature_def"]["signature_def"]
        return {
            name: Signature(
                {key: _sizes(value) for key, value in signature.get("inputs", {}).items()},
                frozenset(signature.get("outputs", {})),
            )
            for name, signature in found.items()
        }

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], left: float
    ) -> dict[str, Any]:
        """The outputs of a signature."""
        # `json` writes a float so that it is read as the same float.
        content = {name: values.tolist() for name, values in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": content})
        return self._call("POST", ":predict", body.encode(), left)["outputs"]

    def _call(self, method: str, path: str, body: bytes | None, left: float) -> Any:
        end = time.monotonic() + left
        connection = self._connect(self._host, self._port, timeout=left)
        try:
            # A server that refuses a long body may answer before it was sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._path + path, body, self._headers)
            response = connection.getresponse()
            content = bytearray()
            while chunk := response.read1(1 << 20):
                content += chunk
                if time.monotonic() > end:
                    raise TimeoutError
                if len(content) > ANSWER_BYTES:
                    raise _Refused("RESOURCE_EXHAUSTED", "its answer is too long")
            if response.length:  # left of what was announced
                raise http.client.IncompleteRead(b"", response.length)
        except TimeoutError:
            raise _Refused("DEADLINE_EXCEEDED", "no answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            passing = isinstance(error, (ConnectionError, http.client.IncompleteRead))
            line = _line(f"cannot be reached ({error or type(error).__name__})")
            raise _Refused("UNAVAILABLE", line, passing=passing) from None
        finally:
            connection.close()
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if response.status != 200:
            said = answer.get("error") if isinstance(answer, dict) else None
            raise _Refused(
                HTTP_CODES.get(response.status, f"HTTP {response.status}"),
                _line(str(said or response.reason)),
                passing=response.status in (429, 503),
                after=_seconds(response.headers.get("Retry-After", "")),
            )
        if not isinstance(answer, dict):
            raise _Refused("INTERNAL", "answers something else than JSON")
        return answer


def _sizes(value: Mapping[str, Any]) -> list[int]:
    return [int(dimension["size"]) for dimension in value["tensor_shape"]["dim"]]


def _seconds(retry_after: str) -> float:
    """Seconds that the header Retry-After asks to wait: it holds them, or a date."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
