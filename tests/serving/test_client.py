"""The client against servers of both protocols: the local detections to the bit, and what fails."""

import concurrent.futures
import contextlib
import dataclasses
import email.utils
import http.server
import json
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.commands import localize
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.serving import Client
from cpmn_tf.serving import client as client_module
from cpmn_tf.training import load_model

COLUMNS = ("video", "label", "start", "end", "score")
PROTOCOLS = ("grpc", "rest")
OUTPUTS = ("segments", "labels", "scores", "counts", "silent", "status", "class_names")


@dataclasses.dataclass
class Fault:
    """What a server answers instead: a code of either protocol, or what a function does."""

    grpc: str = "UNAVAILABLE"
    http: int = 503
    line: str = "come back\nlater"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    act: Callable[[Any], None] | None = None


@dataclasses.dataclass
class Model:
    """What both servers serve; ``faults`` come first."""

    streams: Mapping[str, int]
    classes: tuple[str, ...]
    run: Callable[[str, Mapping[str, np.ndarray]], Mapping[str, Any]]
    outputs: tuple[str, ...] = OUTPUTS
    token: str = ""
    faults: list[Fault] = dataclasses.field(default_factory=list)
    predicted: int = 0

    def shapes(self) -> dict[str, dict[str, list[int]]]:
        """Input shapes by signature."""
        inputs: dict[str, list[int]] = {name: [-1, -1, g] for name, g in self.streams.items()}
        inputs |= {"lengths": [-1], "rates": [-1], "durations": [-1]}
        scores = {"class_scores": [-1, len(self.classes)]}
        return {"detect": inputs, "detect_with_class_scores": inputs | scores}

    def fault(self, token: str | None) -> Fault | None:
        """What is wrong with the next request."""
        self.predicted += 1
        if self.token and token != f"Bearer {self.token}":
            return Fault("UNAUTHENTICATED", 401, "give a token")
        return self.faults.pop(0) if self.faults else None


def of_model(model) -> Model:
    """Serves a model of `load_model`, as its export does."""
    classes = np.array(model.manifest.classes)

    def run(signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = dict(inputs)
        features = {name: tf.constant(given.pop(name)) for name in model.streams}
        detect = inference.compiled(model, signature != "detect")
        found = detect(features, *(tf.constant(value) for value in given.values()))
        outputs = {name: value.numpy() for name, value in found._asdict().items()}
        labels = outputs["labels"]
        return outputs | {"class_names": np.where(labels < 0, "", classes[labels])}

    return Model(model.streams, model.manifest.classes, run)


class Handler(http.server.BaseHTTPRequestHandler):
    """TensorFlow Serving's REST interface."""

    model: Model

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        assert self.path == "/v1/models/cpmn/metadata"
        signatures = {
            name: {
                "inputs": {
                    key: {"tensor_shape": {"dim": [{"size": str(size)} for size in shape]}}
                    for key, shape in shapes.items()
                },
                "outputs": {key: {} for key in self.model.outputs},
            }
            for name, shapes in self.model.shapes().items()
        }
        content = {"signature_def": {"signature_def": signatures}}
        self.answer(200, {"model_spec": {"name": "cpmn"}, "metadata": content})

    def do_POST(self) -> None:
        assert self.path == "/v1/models/cpmn:predict"
        fault = self.model.fault(self.headers["Authorization"])
        if fault and fault.act:
            return fault.act(self)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if fault:
            return self.answer(fault.http, {"error": fault.line}, fault.headers)
        dtypes = {"lengths": np.int32}
        inputs = {
            name: np.array(value, dtypes.get(name, np.float32))
            for name, value in body["inputs"].items()
        }
        outputs = self.model.run(body["signature_name"], inputs)
        plain = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in outputs.items()
        }
        self.answer(200, {"outputs": plain})

    def answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


@contextlib.contextmanager
def rest_server(model: Model, port: int = 0) -> Iterator[str]:
    handler = type("Handler", (Handler,), {"model": model})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def grpc_server(model: Model, port: int = 0) -> Iterator[str]:
    grpc = pytest.importorskip("grpc", reason="the extra [serving] is not installed")
    pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):
            assert request.model_spec.name == "cpmn"
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, shapes in model.shapes().items():
                signature = signatures.signature_def[name]
                for key, shape in shapes.items():
                    for size in shape:
                        signature.inputs[key].tensor_shape.dim.add(size=size)
                for key in model.outputs:
                    signature.outputs[key].name = key
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(signatures)
            return answer

        def Predict(self, request, context):
            fault = model.fault(dict(context.invocation_metadata()).get("authorization"))
            if fault and fault.act:
                fault.act(context)
            if fault:
                context.abort(grpc.StatusCode[fault.grpc], fault.line)
            assert request.model_spec.name == "cpmn"
            shapes = model.shapes()[request.model_spec.signature_name]
            assert set(request.inputs) == set(shapes)
            inputs = {name: tf.make_ndarray(request.inputs[name]) for name in shapes}
            outputs = model.run(request.model_spec.signature_name, inputs)
            answer = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return answer

    threads = concurrent.futures.ThreadPoolExecutor(4)
    server = grpc.server(threads, options=[("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)
        threads.shutdown()


SERVERS = {"grpc": grpc_server, "rest": rest_server}


@pytest.fixture(params=PROTOCOLS)
def protocol(request) -> str:
    if request.param == "grpc":
        pytest.importorskip("grpc", reason="the extra [serving] is not installed")
        pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")
    return request.param


@pytest.fixture(scope="module")
def model(model_dir):
    return load_model(model_dir)


@pytest.fixture
def served(model) -> Model:
    return of_model(model)


@pytest.fixture
def client(served, protocol) -> Iterator[Client]:
    """A client that does not sleep, and what it would have slept in ``client.waits``."""
    with SERVERS[protocol](served) as address:
        yield quick(address, protocol)


def quick(address: str, protocol: str, **settings: Any) -> Client:
    """A client of the longest waits, which are not waited for."""
    waits: list[float] = []
    settings = {"sleep": waits.append, "uniform": lambda: 1.0, "timeout": 60.0} | settings
    client = Client(address, protocol=protocol, **settings)
    client.waits = waits
    return client


def canned(**changes: Any) -> Model:
    """Serves one answer for a video of one class ``Jump`` of two, in stream ``rgb`` of 2."""
    outputs = {
        "segments": np.array([[[1.0, 2.5]]], np.float32),
        "labels": np.array([[1]], np.int32),
        "scores": np.array([[0.1]], np.float32),
        "counts": np.array([1], np.int32),
        "silent": np.array([0], np.int32),
        "status": np.array([0], np.int32),
        "class_names": np.array([["Jump"]]),
    }
    outputs = {name: value for name, value in (outputs | changes).items() if value is not None}
    return Model({"rgb": 2}, ("Dive", "Jump"), lambda signature, inputs: outputs)


ARRAYS = {"rgb": np.ones([40, 2])}


def same(ours, theirs) -> None:
    assert len(ours) > 5 and ours.videos == theirs.videos and ours.classes == theirs.classes
    for column in COLUMNS:
        assert getattr(ours, column).tolist() == getattr(theirs, column).tolist()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_split_has_the_local_detections_to_the_bit(model, client, data_set, batch_size):
    lines: list[str] = []
    found = client.localize(data_set, split="testing", batch_size=batch_size, report=lines.append)
    local: list[str] = []
    same(inference.localize(model, data_set, batch_size=batch_size, report=local.append), found)
    assert len(lines) == len(local)
    assert client.streams == model.streams and client.num_classes == 3


def test_so_it_has_by_other_class_scores(model, client, data_set):
    scores = {f"video_{number:03d}": [0.2, 0.9, 0.4] for number in range(10, 15)}
    ours = inference.localize(model, data_set, class_scores=scores)
    split = Split.open(data_set, "testing")
    same(ours, client.localize(split, class_scores=scores))
    with pytest.raises(UserError, match=r"its shape is \[2\]; it must be \[3\]"):
        client.localize(split, class_scores={name: [0.5, 0.5] for name in scores})


def test_one_video_given_as_arrays(model, client, dataset_writer):
    _, make = dataset_writer
    (video,) = make(1, seed=3)
    features = {name: video[name] for name in model.streams}
    ours = inference.localize(model, features, rate=10.0, class_scores=[0.1, 0.2, 0.9])
    found = client.localize(features, rate=10.0, class_scores=[0.1, 0.2, 0.9], video="mine")
    assert found.videos == ("mine",) and len(found) > 3
    for column in COLUMNS:
        assert getattr(found, column).tolist() == getattr(ours, column).tolist()


def test_every_float32_passes(protocol):
    """Bits, of features and of what is found: subnormal, of many digits, -0.0, and large."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 4000, np.uint32).view(np.float32)
    bits = np.r_[bits[np.isfinite(bits)], np.float32([1e-45, -0.0, 3.4028235e38, 0.1])]
    bits = bits[: len(bits) // 2 * 2].reshape(1, -1, 2)
    seen = []

    def run(_: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs["rgb"])
        count = bits.shape[1]
        return {
            "segments": bits,
            "labels": np.zeros([1, count], np.int32),
            "scores": bits[..., 0],
            "counts": np.array([count], np.int32),
            "silent": np.array([0], np.int32),
            "status": np.array([0], np.int32),
            "class_names": np.full([1, count], "Zürich 山"),
        }

    with SERVERS[protocol](Model({"rgb": 2}, ("Zürich 山",), run)) as address:
        client = quick(address, protocol)
        found = client.detect({"rgb": bits}, [bits.shape[1]], [1.0], [9.0])
        named = client.localize({"rgb": bits[0]}, rate=1.0)
    assert (seen[0].view(np.uint32) == bits.view(np.uint32)).all()
    assert (found.segments.view(np.uint32) == bits.view(np.uint32)).all()
    assert named.classes == ("Zürich 山",)


def test_faulty_videos_are_named_as_locally(model, client, dataset_writer, tmp_path, monkeypatch):
    monkeypatch.setattr("cpmn_tf.data.records.all_finite", lambda _: True)  # our writer looks
    write, make = dataset_writer
    videos = make(4)
    videos[1]["rgb"][0, 0], videos[2]["flow"][5, 5] = np.nan, np.inf
    folder = write(tmp_path / "records", {"testing": videos})
    ours, theirs = [], []
    local = inference.localize(model, folder, problem=lambda *problem: ours.append(problem))
    found = client.localize(
        folder, split="testing", problem=lambda *problem: theirs.append(problem)
    )
    assert ours == theirs and [problem[2] for problem in ours] == ["video_001", "video_002"]
    assert local.videos == found.videos and local.score.tolist() == found.score.tolist()
    with pytest.raises(UserError, match="records: video 'video_001': its features are NaN"):
        client.localize(folder, split="testing")


REFUSALS = {
    "busy": Fault("RESOURCE_EXHAUSTED", 429),
    "restarting": Fault("UNAVAILABLE", 503),
}


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_won_back_on_the_third_try(protocol, fault):
    model = canned()
    model.faults = [fault, fault]
    with SERVERS[protocol](model) as address:
        client = quick(address, protocol)
        assert len(client.localize(ARRAYS, rate=1.0)) == 1
    assert model.predicted == 3 and client.waits == [0.25, 0.5]


@pytest.mark.parametrize(
    "code, status",
    [
        ("INVALID_ARGUMENT", 400),
        ("NOT_FOUND", 404),
        ("DEADLINE_EXCEEDED", 504),
        ("INTERNAL", 500),
    ],
)
def test_what_is_refused_for_good_is_asked_once(protocol, code, status):
    model = canned()
    model.faults = [Fault(code, status, "it is\nso")]
    said = code if status != 500 or protocol == "grpc" else "HTTP 500"
    expected = rf"^\w+://127\S+: it is so \[{said}\]; (give|see) [^\n]+$"
    with SERVERS[protocol](model) as address:
        client = quick(address, protocol)
        with pytest.raises(UserError, match=expected):
            client.localize(ARRAYS, rate=1.0)
    assert model.predicted == 1 and client.waits == []


def test_tries_are_counted_and_the_waits_double_to_a_limit(protocol):
    model = canned()
    model.faults = [Fault()] * 9
    with SERVERS[protocol](model) as address:
        client = quick(address, protocol, tries=9, timeout=1e9)
        expected = r"come back later \[UNAVAILABLE, asked 9 times\]; start it"
        with pytest.raises(UserError, match=expected):
            client.localize(ARRAYS, rate=1.0)
        assert model.predicted == 9
        assert client.waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
        model.faults = [Fault()] * 2
        client = quick(address, protocol, uniform=iter([0.5, 0.0]).__next__)
        client.localize(ARRAYS, rate=1.0)
        assert client.waits == [0.125, 0.0]


@pytest.mark.parametrize("wait", ["7", "date"])
def test_retry_after_is_waited_for_and_more(wait):
    model = canned()
    after = wait if wait == "7" else email.utils.formatdate(time.time() + 3000, usegmt=True)
    model.faults = [Fault(headers={"Retry-After": after}), Fault(headers={"Retry-After": "x"})]
    with rest_server(model) as address:
        client = quick(address, "rest", timeout=4000.0)
        client.localize(ARRAYS, rate=1.0)
        first, second = client.waits
        assert first == 7.25 if wait == "7" else 2900 < first < 3001
        assert second == 0.5
        model.faults = [Fault(headers={"Retry-After": "86400"})]
        with pytest.raises(UserError, match=r"come back later \[UNAVAILABLE\]; start it"):
            client.localize(ARRAYS, rate=1.0)  # the wait is longer than the timeout


def test_a_server_that_starts_meanwhile_is_found(protocol):
    model = canned()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with contextlib.ExitStack() as stack:
        waits = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                stack.enter_context(SERVERS[protocol](model, port))
            elif len(waits) > 2:
                time.sleep(0.05)  # gRPC connects again on its own time

        client = quick(f"127.0.0.1:{port}", protocol, sleep=sleep, tries=1000)
        assert len(client.localize(ARRAYS, rate=1.0)) == 1 and len(waits) >= 2


def test_a_server_that_is_not_there_is_named(protocol):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = quick(f"127.0.0.1:{port}", protocol)
    expected = rf"://127\.0\.0\.1:{port}: .*refused.* \[UNAVAILABLE, asked 5 times\]; start it"
    with pytest.raises(UserError, match=expected):
        client.localize(ARRAYS, rate=1.0)


def test_an_answer_that_breaks_off_is_asked_for_again():
    model = canned()

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"outputs"')

    def nothing(handler: Handler) -> None:
        handler.connection.shutdown(socket.SHUT_RDWR)

    model.faults = [Fault(act=half), Fault(act=nothing)]
    with rest_server(model) as address:
        client = quick(address, "rest")
        assert len(client.localize(ARRAYS, rate=1.0)) == 1 and len(client.waits) == 2


def test_a_long_request_refused_before_it_is_read():
    model = canned()

    def refuse(handler: Handler) -> None:
        handler.answer(413, {"error": "more than 64 MiB"})

    model.faults = [Fault(act=refuse)]
    with rest_server(model) as address:
        client = quick(address, "rest")
        features = {"rgb": np.ones([200_000, 2])}
        with pytest.raises(UserError, match=r"RESOURCE_EXHAUSTED\]; try later|cannot be reached"):
            client.localize(features, rate=1.0)


def test_no_answer_in_time(protocol):
    model = canned()
    ended = threading.Event()
    model.faults = [Fault(act=lambda _: ended.wait(30))]
    with SERVERS[protocol](model) as address:
        client = quick(address, protocol, timeout=0.5)
        try:
            with pytest.raises(UserError, match=r"DEADLINE_EXCEEDED\]; give a longer `timeout`"):
                client.localize(ARRAYS, rate=1.0)
        finally:
            ended.set()
        assert model.predicted == 1 and client.waits == []


def test_an_answer_that_drips_in_is_not_waited_for():
    ended = threading.Event()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not ended.wait(0.02):
                handler.wfile.write(b" ")

    model = canned()
    model.faults = [Fault(act=drip)]
    with rest_server(model) as address:
        try:
            with pytest.raises(UserError, match=r"no answer in time \[DEADLINE_EXCEEDED\]"):
                quick(address, "rest", timeout=0.5).localize(ARRAYS, rate=1.0)
        finally:
            ended.set()


def test_messages_of_more_than_4_mib():
    most = 300_000
    model = canned(
        segments=np.zeros([1, most, 2], np.float32),
        labels=np.full([1, most], 1, np.int32),
        scores=np.linspace(1, 0, most, dtype=np.float32)[np.newaxis],
        class_names=np.full([1, most], "Jump"),
        counts=np.array([most], np.int32),
    )
    with grpc_server(model) as address:
        features = np.random.default_rng(0).normal(size=[600_000, 2]).astype(np.float32)
        found = quick(address, "grpc").localize({"rgb": features}, rate=10.0)
    assert len(found) == most and found.classes == ("Jump",)


def test_an_answer_without_end_is_not_read(protocol, monkeypatch):
    monkeypatch.setattr(client_module, "ANSWER_BYTES", 50_000)
    model = canned(class_names=np.full([1, 1], "J" * 60_000))
    expected = r"\[RESOURCE_EXHAUSTED.*\]; try later"
    with SERVERS[protocol](model) as address, pytest.raises(UserError, match=expected):
        quick(address, protocol).localize(ARRAYS, rate=1.0)


def test_a_token_is_sent_and_its_lack_named(protocol):
    model = canned()
    model.token = "s3cret"
    with SERVERS[protocol](model) as address:
        assert len(quick(address, protocol, token="s3cret").localize(ARRAYS, rate=1.0)) == 1
        with pytest.raises(UserError, match=r"give a token \[UNAUTHENTICATED\]; give its `token`"):
            quick(address, protocol).localize(ARRAYS, rate=1.0)


BROKEN = {
    "labels": (np.array([[2]], np.int32), "a label is not of its 2 classes"),
    "counts": (np.array([2], np.int32), "as many detections as it counts are not in it"),
    "scores": (np.array([[np.nan]], np.float32), "NaN or infinite"),
    "segments": (np.zeros([1, 1, 3], np.float32), "segments: cannot reshape"),
    "silent": (np.array([[0]], np.int32), r"silent: its shape is \[1, 1\]"),
    "status": (np.array([99], np.int32), "a status is 99"),
    "class_names": (None, "class_names: 'class_names'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_answers_are_checked(protocol, name):
    value, expected = BROKEN[name]
    with SERVERS[protocol](canned(**{name: value})) as address:
        expected = rf"its answer is not understood \({expected}.*\); give the address"
        with pytest.raises(UserError, match=expected):
            quick(address, protocol).localize(ARRAYS, rate=1.0)


@pytest.mark.parametrize("content", ["[]", "not JSON", "[" * 10_000, '{"metadata": {}}'])
def test_what_is_no_tensorflow_serving(content):
    class Other(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content.encode())

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(UserError, match=r"^http://127\S+: .*; (see|give) "):
            quick(f"127.0.0.1:{server.server_port}", "rest").streams  # noqa: B018
        thread.join(10)


def test_a_claimed_size_takes_no_memory():
    model = canned()
    with grpc_server(model) as address:
        tensor = tf.make_tensor_proto(np.zeros([1], np.float32))
        tensor.tensor_shape.dim[0].size = 1 << 40
        run = model.run("detect", {})
        model.run = lambda *_: {**run, "scores": tensor}
        original = tf.make_tensor_proto
        with pytest.MonkeyPatch.context() as patch:
            give = lambda value: value if value is tensor else original(value)  # noqa: E731
            patch.setattr(tf, "make_tensor_proto", give)
            with pytest.raises(UserError, match="scores is too large"):
                quick(address, "grpc").localize(ARRAYS, rate=1.0)


@pytest.mark.parametrize(
    "change",
    [{"outputs": OUTPUTS[:-1]}, {"streams": {"rgb": -1}}, {"classes": range(1 << 40)}],
)
def test_other_signatures_are_named(protocol, change):
    """An older export's, and such as would take memory on a server's word."""
    model = dataclasses.replace(canned(), **change)
    expected = r"'cpmn' has no signature 'detect.* export it anew"
    with SERVERS[protocol](model) as address, pytest.raises(UserError, match=expected):
        quick(address, protocol).localize(ARRAYS, rate=1.0)


def test_other_data_is_named(client, data_set):
    expected = r"streams are \['rgb'\], the model's are \['flow', 'rgb'\]"
    with pytest.raises(UserError, match=expected):
        client.localize(ARRAYS, rate=1.0)
    with pytest.raises(UserError, match="`split`: the server knows none; name one of"):
        client.localize(data_set)
    split = Split.open(data_set, "testing")
    manifest = dataclasses.replace(split.manifest, classes=("Dive", "Leap", "Throw"))
    with pytest.raises(UserError, match="class 1 of its model is 'Jump', of the data set 'Leap'"):
        client.localize(dataclasses.replace(split, manifest=manifest))
    manifest = dataclasses.replace(split.manifest, classes=("Dive", "Jump"))
    with pytest.raises(UserError, match="its number of classes is 2, the served model's is 3; use"):
        client.localize(dataclasses.replace(split, manifest=manifest))


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"server": "localhost"}, "`server=localhost`: is no server's address"),
        ({"server": "ftp://localhost:1"}, "is no server's address"),
        ({"server": "http://localhost:1/v1"}, "is no server's address"),
        ({"server": "me@localhost:1"}, "is no server's address"),
        ({"server": "localhost:70000"}, "is no server's address"),
        ({"server": "local\nhost:80"}, "is no server's address"),
        ({"protocol": "http"}, "`protocol=http`: give grpc or rest"),
        ({"token": "a\nb"}, "`token`: holds other than printable ASCII"),
        ({"timeout": 0.0}, "`timeout=0.0`: give a positive number of seconds"),
        ({"tries": 0}, "`tries=0`: give 1 or more"),
    ],
)
def test_wrong_arguments_are_named(settings, expected):
    with pytest.raises(UserError, match=expected):
        Client(**{"server": "localhost:1", "protocol": "rest"} | settings)


def test_addresses_name_their_protocol():
    assert Client("[::1]:80", protocol="rest").server == "http://[::1]:80"
    assert Client("https://localhost:80").server == "https://localhost:80"
    pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")
    assert Client("localhost:80").server == "grpc://localhost:80"
    assert Client("grpcs://localhost:80", protocol="rest").server == "grpcs://localhost:80"


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(UserError, match=r"gRPC needs the module .*; install the extra \[serving\]"):
        Client("localhost:1")
    Client("http://localhost:1")


def test_importing_it_needs_no_extra():
    program = (
        "import sys; from cpmn_tf.serving import Client; "
        "sys.exit(bool({'ray', 'grpc', 'tensorflow_serving'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_pages_lines(model, served, dataset_writer):
    page = (pathlib.Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(from cpmn_tf.serving import Client.*?)```", page, re.DOTALL)
    _, make = dataset_writer
    (video,) = make(1)
    names = {"rgb": video["rgb"], "flow": video["flow"]}
    ours = inference.localize(model, dict(names), rate=6.25)
    with grpc_server(served) as address:
        exec(block.replace("127.0.0.1:8500", address), names)
    same(ours, names["detections"])


def results(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())["results"]


def test_the_command_has_the_local_commands_detections(
    served, protocol, data_set, model_dir, tmp_path, capsys
):
    served.token = "s3cret"
    (tmp_path / "token").write_text("s3cret\n")
    rows = "".join(f"video_{number:03d},0,0.4,0.9\n" for number in range(10, 15))
    (tmp_path / "scores.csv").write_text(f"video,Dive,Jump,Throw\n{rows}")
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    flags = [f"--data_dir={data_set}", "--batch_size=3"]
    with SERVERS[protocol](served) as address:
        scheme = "http" if protocol == "rest" else "grpc"
        server = [f"--server={scheme}://{address}", f"--output={theirs}", "--split=testing"]
        token = f"--server_token_file={tmp_path / 'token'}"
        for more in ([], [f"--class_scores={tmp_path / 'scores.csv'}"]):
            local = [f"--model_dir={model_dir}", f"--output={ours}"]
            assert localize.main([*flags, *local, *more]) == 0
            assert localize.main([*flags, *server, token, *more]) == 0
            assert any(results(ours).values()) and results(ours) == results(theirs)
        theirs.unlink()
        assert localize.main([*flags, *server]) == 1
        assert "[UNAUTHENTICATED]; give its --server_token_file\n" in capsys.readouterr().err
        assert not theirs.exists()


@pytest.mark.parametrize(
    "change, expected",
    [
        (["--model_dir=x"], "give either --model_dir, --saved_model or --server"),
        (["--split="], "--split must be given"),
        (["--evaluate=both"], "--evaluate does not go with --server: give --output to"),
        (["--set=a.b=1"], "--set does not go with --server: an export's settings are fixed"),
        (["--streams=rgb"], "--streams does not go with --server: an export takes all"),
        (["--data_dir=", "--video=x.mp4"], "--split goes with --data_dir only"),
        (["--server=", "--model_dir=x", "--server_timeout=3"], "--server_timeout goes with"),
    ],
)
def test_flags_that_do_not_go_with_a_server(capsys, tmp_path, change, expected):
    flags = ["--data_dir=d", "--split=testing", "--server=http://localhost:1", "--output=o"]
    assert localize.main([*flags, *change]) == 2
    assert capsys.readouterr().err.startswith(f"cpmn-localize: {expected}")
