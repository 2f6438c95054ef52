"""`cpmn-serve` as its users meet it: one server of small limits, in processes of its own."""

import concurrent.futures
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="the extra [serving] is not installed")
pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from cpmn_tf import inference
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.serving import Client
from cpmn_tf.serving.protobufs import fill_tensor, predict_request
from cpmn_tf.training import load_model
from experiments.benchmarks import serving

ROOT = pathlib.Path(__file__).parents[2]
TOKEN = "of-the-test"
IN_FLIGHT = 4
BYTES, UNITS = 4 * 2**20, 20_000
SLOW = 15_000  # units of a video that takes the server a while


def until(true: Any, seconds: float = 60.0) -> Any:
    """Waits for a condition, whose value it returns."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)
    return value


class Server(serving.Server):
    """The command, and how it is called."""

    def __init__(self, folder: pathlib.Path):
        self.versions, self.log = folder / "versions", folder / "log"
        (folder / "token").write_text(TOKEN)
        flags = {
            "token_file": folder / "token",
            "in_flight": IN_FLIGHT,
            "max_request_bytes": BYTES,
            "max_video_units": UNITS,
        }
        given = (f"--{name}={value}" for name, value in flags.items())
        with self.log.open("w") as log:
            super().__init__(self.versions, *given, log=log)
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}", options=[("grpc.max_receive_message_length", -1)]
        )

    def call(self, method: str, request: Any, token: str = TOKEN, timeout: float = 60.0) -> Any:
        """A gRPC method's answer."""
        stubs = (
            prediction_service_pb2_grpc.PredictionServiceStub,
            model_service_pb2_grpc.ModelServiceStub,
        )
        (stub,) = (each(self.channel) for each in stubs if hasattr(each(self.channel), method))
        metadata = [("authorization", f"Bearer {token}")]
        return getattr(stub, method)(request, timeout=timeout, metadata=metadata)

    def http(
        self,
        path: str,
        body: bytes | None = None,
        token: str = TOKEN,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body (parsed if it is JSON) and headers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rest}{path}",
            body,
            {"Authorization": f"Bearer {token}", **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            found = error.code, error.read(), error.headers
        status, content, headers = found
        is_json = headers.get("content-type") == "application/json"
        return status, json.loads(content) if is_json else content.decode(), headers

    def refusals(self) -> str:
        """What its metrics count of them."""
        url = f"http://127.0.0.1:{self.metrics}/metrics"
        text = urllib.request.urlopen(url, timeout=60).read().decode()
        return "\n".join(line for line in text.splitlines() if "cpmn_refusals" in line)

    def status(self) -> dict[int, tuple[str, str]]:
        """State and error by version."""
        _, content, _ = self.http("/v1/models/cpmn")
        return {
            int(each["version"]): (each["state"], each["status"]["error_message"])
            for each in content["model_version_status"]
        }


@pytest.fixture(scope="module")
def model(model_dir):
    return load_model(model_dir)


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(exported, folder / "versions")
    server = Server(folder)
    expected = f"serving cpmn on 127.0.0.1:{server.port} (gRPC), 127.0.0.1:{server.rest} (REST)\n"
    assert server.ready == expected, server.log.read_text()
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def client(server) -> Client:
    return Client(f"127.0.0.1:{server.port}", token=TOKEN)


def features(units: int, videos: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(units)
    return {
        name: rng.normal(size=(videos, units, width)).astype(np.float32)
        for name, width in (("rgb", 12), ("flow", 8))
    }


def request(units: int = 60, **changes: Any) -> predict_pb2.PredictRequest:
    inputs = features(units) | {
        "lengths": np.int32([units]),
        "rates": np.float32([10.0]),
        "durations": np.float32([units / 10]),
    }
    return predict_request(inputs | changes)


def code(server: Server, *arguments: Any, **more: Any) -> tuple[str, str]:
    """Of a call that fails."""
    with pytest.raises(grpc.RpcError) as raised:
        server.call(*arguments, **more)
    return raised.value.code().name, raised.value.details()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_data_set_has_the_local_detections(server, model, data_set, protocol):
    port = server.port if protocol == "grpc" else server.rest
    client = Client(f"127.0.0.1:{port}", protocol=protocol, token=TOKEN)
    ours, theirs = inference.localize(model, data_set), client.localize(data_set, split="testing")
    assert len(ours) > 5 and ours.videos == theirs.videos
    for column in ("video", "label", "start", "end", "score"):
        assert getattr(ours, column).tolist() == getattr(theirs, column).tolist()


def test_many_callers_at_once_have_what_each_has_alone(server, client):
    videos = [
        {name: values[0] for name, values in features(units).items()}
        for units in (40, 300, 64, 290, 63, 1200, 41, 62, 310, 1100)
    ]
    alone = [client.localize(video, rate=10.0) for video in videos]
    with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as pool:
        together = list(pool.map(lambda video: client.localize(video, rate=10.0), videos))
    for ours, theirs in zip(alone, together, strict=True):
        assert ours.label.tolist() == theirs.label.tolist()
        # Padding changes the order of sums.
        np.testing.assert_allclose(ours.score, theirs.score, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours.start, theirs.start, atol=1e-4)


def test_metadata_and_status(server):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "cpmn"
    found = server.call("GetModelMetadata", asked)
    assert found.model_spec.version.value == 1 and "signature_def" in found.metadata
    for path in ("/v1/models/cpmn/metadata", "/v1/models/cpmn/versions/1/metadata"):
        status, content, _ = server.http(path)
        signatures = content["metadata"]["signature_def"]["signature_def"]
        assert status == 200 and signatures["detect"]["inputs"]["rgb"]["dtype"] == "DT_FLOAT"
    states = get_model_status_pb2.GetModelStatusRequest()
    states.model_spec.name = "cpmn"
    (state,) = server.call("GetModelStatus", states).model_version_status
    assert state.version == 1 and state.state == 30  # AVAILABLE
    assert server.status() == {1: ("AVAILABLE", "")}
    assert server.http("/-/healthz")[:2] == (200, "success")


def test_the_page_and_what_it_asks_for(server, client):
    status, page, headers = server.http("/", token="none")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert 'content="cpmn"' in page
    status, about, _ = server.http("/v1/models/cpmn/about")
    assert status == 200 and about["streams"] == {"rgb": 12, "flow": 8}
    assert about["limits"]["video_units"] == UNITS and not about["encodes_video"]
    video = {name: values[0] for name, values in features(200).items()}
    file = io.BytesIO()
    np.savez(file, **video)
    status, found, _ = server.http("/v1/models/cpmn:localize?rate=10", file.getvalue())
    assert status == 200 and found["units"] == 200 and found["duration"] == 20
    local = client.localize(video, rate=10.0)
    assert [each["score"] for each in found["detections"]] == pytest.approx(local.score.tolist())
    assert len(found["curves"]["seconds"]) == 200


WRONG = {
    "no token": ("/v1/models/cpmn", None, {"token": ""}, 401, "token"),
    "another token": ("/v1/models/cpmn/about", None, {"token": "x"}, 401, "token"),
    "a token in other letters": ("/v1/models/cpmn", None, {"token": TOKEN.upper()}, 401, "token"),
    "another model": ("/v1/models/x", None, {}, 404, "no model 'x'"),
    "no such version": ("/v1/models/cpmn/versions/7:predict", b"{}", {}, 404, "version 7"),
    "no such path": ("/etc/passwd", None, {}, 404, "no such method"),
    "no such method": ("/v1/models/cpmn", None, {"method": "PUT"}, 404, "no such method"),
    "no JSON": ("/v1/models/cpmn:predict", b"{", {}, 400, "not JSON"),
    "packed": (
        "/v1/models/cpmn:predict",
        b"{}",
        {"headers": {"Content-Encoding": "gzip"}},
        400,
        "'gzip' is not taken",
    ),
    "a line's end in a name": ("/v1/models/cpmn%0a", None, {}, 404, "no model 'cpmn\\n'"),
    "too long": ("/v1/models/cpmn:predict", b" " * (BYTES + 1), {}, 400, f"{BYTES} bytes"),
    "no signature": ("/v1/models/cpmn:predict", b'{"signature_name": "x"}', {}, 400, "'x'"),
    "no features": ("/v1/models/cpmn:localize", b"x", {}, 400, "neither .npz nor .npy"),
    "no example": ("/v1/models/cpmn:localize?example=true", b"", {}, 404, "no example"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_over_http_is_one_line(server, name):
    path, body, more, expected, line = WRONG[name]
    status, content, _ = server.http(path, body, **more)
    assert status == expected and line in content["error"]
    assert "\n" not in content["error"] and str(ROOT) not in content["error"]


def test_what_is_wrong_over_grpc_is_one_line(server):
    assert code(server, "Predict", request(), token="x")[0] == "UNAUTHENTICATED"
    other = request()
    other.model_spec.name = "x"
    assert code(server, "Predict", other) == ("NOT_FOUND", "there is no model 'x'; this is 'cpmn'")
    other = request()
    other.model_spec.version.value = 7
    assert code(server, "Predict", other)[0] == "NOT_FOUND"
    other = request()
    other.model_spec.version_label = "stable"
    assert code(server, "Predict", other)[0] in ("NOT_FOUND", "INVALID_ARGUMENT")
    other = request()
    other.model_spec.signature_name = "x"
    assert code(server, "Predict", other)[0] == "FAILED_PRECONDITION"
    assert code(server, "Predict", request(lengths=np.float32([1])))[0] == "INVALID_ARGUMENT"
    method = server.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError, match="no PredictRequest") as raised:
        method(b"\xff\xff", metadata=[("authorization", f"Bearer {TOKEN}")])
    assert raised.value.code().name == "INVALID_ARGUMENT"
    too_long = request()
    too_long.model_spec.signature_name = "x" * BYTES
    assert code(server, "Predict", too_long)[0] == "RESOURCE_EXHAUSTED"
    once = Client(f"127.0.0.1:{server.port}", token=TOKEN, sleep=pytest.fail)
    with pytest.raises(UserError, match="larger than max"):
        once.localize(
            {name: values[0] for name, values in features(2 * SLOW * 4).items()}, rate=1.0
        )
    found, line = code(server, "Predict", request(UNITS + 1))
    assert found == "INVALID_ARGUMENT" and str(UNITS) in line


def test_examples_are_detected_in_or_refused(server, data_set):
    record = next(Split.open(data_set, "testing").serialized().as_numpy_iterator())
    too_long = tf.train.Example.FromString(record)
    too_long.features.feature["feature/rgb/dimensions"].int64_list.value[0] = UNITS + 1

    def examples(*given: bytes) -> predict_pb2.PredictRequest:
        made = predict_pb2.PredictRequest()
        made.model_spec.name, made.model_spec.signature_name = "cpmn", "serialized"
        fill_tensor(made.inputs["examples"], np.array(given, object))
        return made

    assert server.call("Predict", examples(record)).outputs["counts"].tensor_content > bytes(4)
    # What TensorFlow says of the second is not UTF-8.
    for wrong in (b"no record", b"\xff\xc9", b""):
        found, line = code(server, "Predict", examples(record, wrong))
        assert found == "INVALID_ARGUMENT" and "'flow', 'rgb'" in line
    found, line = code(server, "Predict", examples(record, too_long.SerializeToString()))
    assert found == "INVALID_ARGUMENT" and f"{UNITS + 1} units in a video" in line


def test_headers_do_not_steer_the_engine(server):
    for headers in ({"x-request-timeout-seconds": "1e-9"}, {"x-request-id": "\xff"}):
        assert server.http("/v1/models/cpmn/about", headers=headers)[0] == 200


def test_who_goes_away_in_the_middle_is_no_failure(server):
    head = f"POST /v1/models/cpmn:predict HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"

    def cancelled() -> bool:
        with socket.create_connection(("127.0.0.1", server.rest)) as connection:
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
            time.sleep(0.2)  # it is with the replica
        return 'code="CANCELLED"' in server.refusals()

    until(cancelled)
    assert 'code="INTERNAL"' not in server.refusals()
    assert "a request failed" not in server.log.read_text()


def test_a_faulty_video_has_a_status_and_its_neighbours_their_detections(server):
    inputs = features(60, 2)
    inputs["rgb"][0, 5, 3] = np.nan
    both = {"lengths": np.int32([60, 60]), "rates": np.float32([10, 10])}
    found = server.call("Predict", request(**inputs, **both, durations=np.float32([6, 6])))
    assert list(found.outputs["status"].tensor_content) == [4, 0, 0, 0, 0, 0, 0, 0]


def test_every_socket_is_of_this_machine_alone(server):
    inodes = set()
    for pid in server.processes():
        for link in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:
                continue
    hosts = {}
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            listens = fields[3] == "0A" or name.startswith("udp")
            if listens and f"socket:[{fields[9]}]" in inodes:
                host, port = fields[1].split(":")
                hosts[name, int(port, 16)] = host
    ports = {port for _, port in hosts}
    assert {server.port, server.rest, server.metrics} <= ports
    loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    assert {host for host in hosts.values()} <= set(loopback), hosts


def test_metrics_are_the_engines_and_ours(server):
    def read() -> str:
        url = f"http://127.0.0.1:{server.metrics}/metrics"
        return urllib.request.urlopen(url, timeout=10).read().decode()

    for name in (
        "cpmn_request_units_sum",
        "cpmn_batch_videos_count",
        "cpmn_video_seconds_count",
        "cpmn_refusals_total{",
        "serve_",
    ):
        until(lambda name=name: f"ray_{name}" in read())


def test_a_deadline_is_kept_and_costs_nobody_else(server):
    assert code(server, "Predict", request(SLOW), timeout=0.005)[0] == "DEADLINE_EXCEEDED"
    assert server.call("Predict", request()).outputs


def test_a_full_queue_refuses_and_says_so(server):
    slow = request(SLOW)

    def ask(_: int) -> str:
        try:
            server.call("Predict", slow)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    def ask_rest(_: int) -> tuple[int, str | None]:
        status, _, headers = server.http("/v1/models/cpmn/about")
        return status, headers.get("retry-after")

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(ask, number) for number in range(24)]
        until(lambda: sum(answer.done() for answer in answers))  # refused at once
        others = list(pool.map(ask_rest, range(12)))
        codes = [answer.result() for answer in answers]
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert codes.count("OK") >= IN_FLIGHT
    assert (503, "1") in others
    assert server.call("Predict", request()).outputs


@pytest.fixture
def callers(server) -> Iterator[list[str]]:
    """Two callers who go on until the test ends, and how their requests ended."""
    ends: list[str] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                server.call("Predict", request(200))
                ends.append("OK")
            except grpc.RpcError as error:
                ends.append(f"{error.code().name}: {error.details()}")

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield ends
    stop.set()
    for thread in threads:
        thread.join()


def test_a_new_version_is_swapped_in_without_losing_a_request(server, callers):
    shutil.copytree(server.versions / "1", server.versions / "copied")
    os.rename(server.versions / "copied", server.versions / "2")
    until(lambda: server.status().get(2) == ("AVAILABLE", ""))
    before = len(callers)
    until(lambda: len(callers) > before + 5)
    assert server.call("Predict", request()).model_spec.version.value == 2
    assert set(callers) == {"OK"}
    until(lambda: server.status()[1][0] == "END")


def test_one_that_fails_leaves_the_old_one_and_is_named(server):
    (server.versions / "3").mkdir()
    (server.versions / "3" / "saved_model.pb").write_bytes(b"nonsense")
    until(lambda: server.status().get(3, ("",))[0] == "END")
    _, line = server.status()[3]
    assert line and str(server.versions) not in line
    assert server.call("Predict", request()).model_spec.version.value == 2
    shutil.rmtree(server.versions / "3")
    until(lambda: 3 not in server.status())


def test_a_killed_replica_is_replaced_and_retries_win_its_requests_back(server):
    before = server.replica()
    line = "the replica that had the request is gone; send it again"

    killed = threading.Event()

    def first_refusal(_: int) -> tuple[str, str] | None:
        """Of requests one after another, so that one is with the replica when it dies."""
        while not killed.is_set():
            try:
                server.call("Predict", request(SLOW))
            except grpc.RpcError as error:
                return error.code().name, error.details()
        return None

    with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as pool:
        found = pool.map(first_refusal, range(IN_FLIGHT))
        time.sleep(0.3)
        os.kill(before, signal.SIGKILL)
        killed.set()
        assert ("UNAVAILABLE", line) in found
    patient = Client(f"127.0.0.1:{server.port}", token=TOKEN, timeout=120, tries=30)
    video = {name: values[0] for name, values in features(100).items()}
    patient.localize(video, rate=10.0)
    assert server.replica() != before  # which raises where there is none


def test_it_ends_when_what_is_in_work_is_answered(server):
    """The last test: it ends the server."""
    started = server.processes()
    with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = [pool.submit(server.call, "Predict", request(SLOW)) for _ in range(IN_FLIGHT)]
        time.sleep(1.0)  # they are with the replica
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert code(server, "Predict", request(), timeout=10)[0] == "UNAVAILABLE"
        for answer in answers:
            assert answer.result().outputs
    assert server.process.wait(60) == 0
    until(lambda: not any(pathlib.Path(f"/proc/{pid}/exe").exists() for pid in started))
