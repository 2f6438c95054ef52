"""The model server under mutated requests, MINUTES for each of three kinds.

- *protobufs*: messages of gRPC, from sound ones by bytes, by fields and by what they say;
- *JSON*: bodies of `:predict`, by bytes and by values, in requests of HTTP that are not all sound;
- *files*: `.npy` and `.npz` uploads to `:localize`, whose headers and directories lie.

After each kind, sound requests must be answered as before, in the same processes, with no more
memory, threads or files than after the first half. Every answer of an error must be one line that
tells nothing of the server's machine, and every internal error must have its line in the log.

    python -m experiments.benchmarks.fuzz_serving [MINUTES [SEED]]   # 10 minutes each, seed 0

Request N of a kind is drawn from the seed and N alone. Exits with 1 if anything of this fails.
"""

import collections
import contextlib
import http.client
import io
import itertools
import json
import os
import pathlib
import random
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator

import grpc
import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from cpmn_tf.serving.protobufs import predict_request
from cpmn_tf.serving.saved_model import export
from experiments.benchmarks.mutations import (
    FLOATS,
    NAMES,
    NUMBERS,
    Rng,
    json_text,
    lying_npy,
    lying_zip,
    mutated,
    mutated_value,
    with_fields_mutated,
)
from experiments.benchmarks.serving import Server, inputs, random_model

WIDTH, UNITS, SENDERS = 8, 40, 4
PATIENCE = 3.0  # seconds for an answer; a body that is shorter than it says has none
SMALL = {"cascade.filters": 16, "pyramid.filters": 16}
LIMITS = {"request_bytes": 2**20, "videos": 8, "video_units": 2000, "request_units": 4000}
MEMORY = 32.0  # MiB that the last quarter may have more than the second
SERVICES = {
    "Predict": "tensorflow.serving.PredictionService",
    "GetModelMetadata": "tensorflow.serving.PredictionService",
    "GetModelStatus": "tensorflow.serving.ModelService",
}
# What an answer must not tell: where something lies, or what was called.
TELLS = re.compile(r"\n|Traceback|File \"|site-packages|/(?:tmp|home|usr|work|root|opt|var)/\S*")
LOGGED = re.compile(r"a request failed")

# -- messages


def sound_predict(rng: Rng, signature: str = "") -> predict_pb2.PredictRequest:
    """A request that is answered."""
    given = inputs(rng.choice((1, 1, 2, 3)), rng.choice((1, 5, UNITS)), WIDTH)
    if signature == "score":
        del given["durations"]
    return predict_request(given, signature)


def _hostile_dims(tensor: TensorProto, rng: Rng) -> None:
    dims = tensor.tensor_shape.dim
    for dim in dims:
        if rng.random() < 0.5:
            dim.size = rng.choice(NUMBERS)
    for _ in range(rng.choice((0, 0, 1, 5, 300))):
        dims.add(size=rng.choice(NUMBERS))


def _hostile_values(tensor: TensorProto, rng: Rng) -> None:
    count = len(tensor.tensor_content) // 4
    if not count:
        return
    kind = rng.choice((np.float32, np.int32))
    values = np.frombuffer(tensor.tensor_content, kind).copy()
    with np.errstate(all="ignore"):
        for _ in range(rng.choice((1, 3, 100))):
            odd = rng.choice(FLOATS) if kind == np.float32 else rng.choice(NUMBERS)
            values[rng.randrange(count)] = odd if kind == np.float32 else np.int64(odd % 2**31)
    tensor.tensor_content = values.tobytes()


def hostile_predict(rng: Rng) -> bytes:
    """A request that is written as it should be, and says what it should not."""
    signatures = ("", "detect", "score", "serialized", "detect_with_class_scores", "__saved_model")
    request = sound_predict(rng, rng.choice(signatures))
    if rng.random() < 0.1:
        parts = [rng.randbytes(rng.randrange(200)) for _ in range(rng.choice((1, 2, 9)))]
        request = predict_request({"examples": np.array(parts, object)}, "serialized")
    for _ in range(rng.choice((1, 1, 2, 4))):
        tensor = request.inputs[rng.choice(sorted(request.inputs) or ["rgb"])]
        kind = rng.randrange(13)
        if kind == 0:
            _hostile_dims(tensor, rng)
        elif kind <= 4:
            _hostile_values(tensor, rng)
        elif kind == 5:
            tensor.dtype = rng.choice((*range(30), 101, 2**31 - 1))
        elif kind == 6:
            tensor.tensor_content = rng.randbytes(rng.choice((0, 1, 3, 4, 5000)))
        elif kind == 7:
            tensor.ClearField("tensor_content")
            tensor.float_val.extend(rng.choices(FLOATS, k=rng.choice((0, 1, 1000))))
            tensor.int_val.extend([rng.choice(NUMBERS) % 2**31] * rng.choice((0, 1, 1000)))
            tensor.string_val.extend([rng.randbytes(3)] * rng.choice((0, 1, 1000)))
        elif kind == 8:
            tensor.tensor_shape.unknown_rank = True
        elif kind == 9:
            request.model_spec.version.value = rng.choice(NUMBERS)
        elif kind == 10:
            request.model_spec.version_label = rng.choice(NAMES)
        elif kind == 11:
            request.model_spec.name = rng.choice(NAMES)
        else:
            names = rng.choices(["scores", "status", *NAMES], k=rng.choice((1, 2, 500)))
            request.output_filter.extend(names)
    return request.SerializeToString()


METADATA = [
    ("application", "x"), ("multiplexed_model_id", "x"), ("request_id", "x" * 3000),
    ("streaming", "1"), ("authorization", "Bearer x"), ("x-bin", b"\xff\x00"),
    ("session_id", "%s\\n"),
]  # fmt: skip


def message(rng: Rng) -> tuple[str, bytes]:
    """A method and what is sent to it."""
    spec = {"model_spec": {"name": "cpmn"}}
    sound = {
        "Predict": sound_predict(rng),
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest(
            metadata_field=["signature_def"], **spec
        ),
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest(**spec),
    }
    method = rng.choice(("Predict", "Predict", "Predict", *sound))
    given, other = sound[method].SerializeToString(), sound_predict(rng).SerializeToString()
    kind = rng.randrange(8)
    if kind == 0:
        return method, given
    if kind == 1:
        return method, mutated(rng, given)
    if kind == 2:
        at = rng.randrange(len(given))
        return method, given[:at] + other[at:]
    if kind <= 4:
        for _ in range(rng.choice((1, 1, 3))):
            given = with_fields_mutated(rng, given, other)
        return method, given
    return method, hostile_predict(rng)


# -- JSON and HTTP


def sound_body(rng: Rng) -> dict:
    """A body that is answered."""
    given = inputs(rng.choice((1, 2)), rng.choice((1, 5, 12)), WIDTH)
    signature = rng.choice(("", "", "detect", "score"))
    if signature == "score":
        del given["durations"]
    plain = {name: np.round(value, 3).tolist() for name, value in given.items()}
    body: dict = {"signature_name": signature} if signature else {}
    if rng.random() < 0.5:
        return body | {"inputs": plain}
    rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    return body | {"instances": rows}


def json_body(rng: Rng) -> bytes:
    """The body of a `:predict`."""
    value: object = sound_body(rng)
    kind = rng.randrange(8)
    if kind == 0:
        return json.dumps(value).encode()
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = mutated_value(rng, value)
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1"))
    body = json_text(value).encode(encoding, "replace")
    return mutated(rng, body) if kind == 1 else body


PATHS = [
    "/v1/models/x:predict", "/v1/models/cpmn/versions/1:predict", "/v1/models/cpmn/versions/9",
    "/v1/models/cpmn/versions/99999999999999999999:predict", "/v1/models/cpmn:predict/", "//", "/",
    "/v1/models/cpmn%3Apredict", "/v1/models/%00:predict", "/v1/models/cpmn/../cpmn:predict",
    "/v1/models/%ff%fe:predict", "/..%2f..%2fetc", "/v1/models/cpmn/about", "/v1/models/cpmn",
    "/v1/models/cpmn/metadata", "/v1/models/cpmn:predict?x=%ff", "http://a/v1/models/cpmn:predict",
    "/%0a%0d", "/" + "a" * 3000, "/v1/models/cpmn\u00e9", "/-/routes", "*", "/v1/models/cpmn:a;b",
]  # fmt: skip
METHODS = [
    "GET",
    "PUT",
    "HEAD",
    "OPTIONS",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "post",
    "X" * 300,
]
HEADERS = [
    "Content-Encoding: gzip", "Content-Type: text/html; charset=x", "Transfer-Encoding: chunked",
    "Expect: 100-continue", "Host: [", "Host: a/b?c#d", "Host: x:99999", "X: \u00ff\u00fe",
    "\u00ff: x", "Accept: " + "a" * 5000, "Upgrade: websocket", "Connection: upgrade", "Cookie: =;",
    "X-Request-ID: a\u00ff", "Serve_Multiplexed_Model_Id: x", "Range: bytes=1-", "X-Y: \u0000",
    "x-request-timeout-seconds: 1e-9", "x-request-timeout-seconds: \u00ff", "Content-Length: -1",
    "traceparent: x", "Authorization: Bearer x", "Authorization: \u00ff", "Origin: null",
    "x-request-disconnect-disabled: ?1",
]  # fmt: skip


def request_bytes(rng: Rng, path: str, body: bytes) -> bytes:
    """A request of HTTP, one in four of which is odd."""
    method, length, headers = "POST", len(body), []
    if rng.random() < 0.25:
        kind = rng.randrange(6)
        if kind == 0:
            path = rng.choice(PATHS)
        elif kind == 1:
            method = rng.choice(METHODS)
        elif kind == 2:
            length = max(0, length + rng.choice((-100, -1, 1, 10**6, 10**12)))
        elif kind == 3:
            method, path = rng.choice(METHODS), rng.choice(PATHS)
        else:
            headers = rng.choices(HEADERS, k=rng.choice((1, 1, 2, 60)))
    head = [f"{method} {path} HTTP/1.1", "Connection: close", *headers]
    if not any(header.startswith("Host") for header in headers):
        head.append("Host: 127.0.0.1")
    if "Transfer-Encoding: chunked" in headers:
        size = rng.choice((len(body), len(body) + 1, 2**70, 0))
        body = f"{size:x}\r\n".encode() + body + rng.choice((b"\r\n0\r\n\r\n", b"\r\n", b"0"))
    else:
        head.append(f"Content-Length: {length}")
    whole = "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + body
    return mutated(rng, whole) if rng.random() < 0.02 else whole


def rest_request(rng: Rng) -> bytes:
    """A `:predict`."""
    return request_bytes(rng, "/v1/models/cpmn:predict", json_body(rng))


# -- files


def npy(rng: Rng, units: int = UNITS, width: int = WIDTH) -> bytes:
    """A `.npy` file, one in three of which is sound."""
    file = io.BytesIO()
    values = np.random.default_rng(rng.randrange(9)).normal(size=(units, width))
    sort = rng.choice((np.float32, np.float32, np.float16, np.float64, np.int8, np.bool_))
    with np.errstate(all="ignore"):
        array = (values * rng.choice((1, 1, 1e4, 1e30, 1e37))).astype(sort)
    if array.dtype.kind == "f" and rng.random() < 0.2:
        array[rng.randrange(units), rng.randrange(width)] = rng.choice(FLOATS[:3])
    np.save(file, np.asfortranarray(array) if rng.random() < 0.2 else array)
    kind = rng.randrange(6)
    if kind <= 1:
        return file.getvalue()
    if kind == 2:
        return mutated(rng, file.getvalue())
    return lying_npy(rng, array.tobytes())


def npz(rng: Rng) -> bytes:
    """A `.npz` file, one in four of which is sound."""
    file = io.BytesIO()
    kind = rng.randrange(8)
    units = rng.choice((1, 5, UNITS, 500))
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
    methods += [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA] if kind == 1 else []
    method = rng.choice(methods)
    with zipfile.ZipFile(file, "w") as archive:
        names = ["rgb.npy", "flow.npy"]
        if kind == 2:
            names = rng.choice(
                (["rgb.npy"], names * 9, ["../rgb.npy", "flow"], ["rgb", "flow.npy"], ["é", "a/b"])
            )
        for name in names:
            if kind == 3:
                data = npy(rng, units)
            elif kind == 4:  # what unpacks to a thousand times its size
                data = b"\x93NUMPY\x01\x00" + bytes(rng.choice((10**5, 10**6, 10**7)))
            elif kind == 5 and rng.random() < 0.2:
                data = npz(rng)
            else:
                part = io.BytesIO()
                np.save(part, inputs(1, units, WIDTH)["rgb"][0])
                data = part.getvalue()
            # A member that is named only would have the time of day.
            archive.writestr(zipfile.ZipInfo(name), data, method)
    if kind == 6:
        return mutated(rng, file.getvalue())
    return lying_zip(rng, file.getvalue()) if kind == 7 else file.getvalue()


def upload(rng: Rng) -> bytes:
    """A `:localize`."""
    values = ["6.25", "0", "-1", "nan", "inf", "1e-30", "1e308", "x", "", "%00", "1e29", "6", "%ff"]
    query = {"rate": rng.choice(("6.25", "6.25", "6.25", *values))}
    for name in ("duration", "top", "example", "x", "rate"):
        if rng.random() < 0.1:
            query[name] = rng.choice((*values, "true", "false", "10", "9" * 400))
    body = npz(rng) if rng.random() < 0.6 else npy(rng, width=2 * WIDTH)
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return request_bytes(rng, f"/v1/models/cpmn:localize?{text}", body)


# -- sending

Answer = tuple[str, str]  # a code, and the text of an error


class Caller:
    """Sends to one server; of one thread."""

    def __init__(self, server: Server):
        self._rest = server.rest
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.port}", options)

    def rpc(self, method: str, data: bytes, timeout: float = 30.0, metadata: tuple = ()) -> bytes:
        """The bytes of a method's answer."""
        call = self._channel.unary_unary(f"/{SERVICES[method]}/{method}")
        return call(data, timeout=timeout, metadata=metadata)

    def message(self, rng: Rng) -> tuple[Answer, bytes]:
        """Sends one to a method."""
        method, data = message(rng)
        timeout = 0.001 if rng.random() < 0.02 else 30.0
        metadata = rng.choices(METADATA, k=3) if rng.random() < 0.05 else ()
        try:
            self.rpc(method, data, timeout, tuple(metadata))
        except grpc.RpcError as error:
            return (error.code().name, error.details()), data
        return ("OK", ""), data

    def http(self, data: bytes, timeout: float = 30.0) -> tuple[str, bytes]:
        """Status and body of the answer to a request's bytes; "none" if there is none in time."""
        with socket.create_connection(("127.0.0.1", self._rest), timeout=timeout) as connection:
            with contextlib.suppress(OSError):  # refused before it was sent; the answer says why
                connection.sendall(data)
            try:
                method = data[:10].split(b" ")[0].decode("latin-1")
                answer = http.client.HTTPResponse(connection, method=method)
                answer.begin()
                return str(answer.status), answer.read()
            except (OSError, http.client.HTTPException):
                return "none", b""

    def json(self, rng: Rng) -> tuple[Answer, bytes]:
        """Sends a body to `:predict`."""
        return self._answer(rest_request(rng))

    def file(self, rng: Rng) -> tuple[Answer, bytes]:
        """Sends a file to `:localize`."""
        return self._answer(upload(rng))

    def _answer(self, data: bytes) -> tuple[Answer, bytes]:
        status, body = self.http(data, PATIENCE)
        wrong = status.isdecimal() and int(status) >= 400
        return (status, body.decode(errors="replace") if wrong else ""), data

    def sound(self) -> list[bytes]:
        """Answers to sound requests, of all three kinds."""
        given = inputs(2, UNITS, WIDTH)
        request = predict_request(given)
        response = predict_pb2.PredictResponse.FromString(
            self.rpc("Predict", request.SerializeToString())
        )
        body = json.dumps({"inputs": {name: value.tolist() for name, value in given.items()}})
        file = io.BytesIO()
        np.savez(file, **{name: given[name][0] for name in ("rgb", "flow")})
        answers = [response.SerializeToString(deterministic=True)]
        for path, content in (
            (":predict", body.encode()),
            (":localize?rate=6.25", file.getvalue()),
        ):
            head = f"POST /v1/models/cpmn{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            whole = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
            status, answer = self.http(whole)
            answers.append(status.encode() + answer)
        assert answers[1][:3] == answers[2][:3] == b"200", answers
        return answers


def told(answer: Answer, sent: bytes) -> str:
    """What an error tells and should not; what the request itself said does not count."""
    known = urllib.parse.unquote_to_bytes(sent).decode("latin-1")
    for found in TELLS.findall(answer[1]):
        if found == "\n" or found not in known:
            return found
    return ""


class State:
    """Samples of the server's memory, threads and files while requests are sent."""

    def __init__(self, server: Server):
        self._server = server
        self.samples: list[tuple[float, int, int]] = []
        self.threads: list[dict[str, int]] = []  # by process

    def sample(self) -> None:
        """Adds one."""
        threads: dict[str, int] = {}
        files = 0
        for pid in self._server.processes():
            folder = pathlib.Path(f"/proc/{pid}")
            try:
                name = f"{(folder / 'comm').read_text().strip()} {pid}"
                threads[name] = len(os.listdir(folder / "task"))
                files += len(os.listdir(folder / "fd"))
            except OSError:
                continue
        self.samples.append((self._server.memory(), sum(threads.values()), files))
        self.threads.append(threads)

    def quarter(self, number: int) -> np.ndarray:
        """Medians of a quarter, from 0 on: MiB, threads, files."""
        return np.median(np.array_split(np.array(self.samples), 4)[number], axis=0)


def actors(server: Server) -> dict[int, str]:
    """Processes of the engine that must live, by number."""
    found = {}
    for pid in server.processes():
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if name := re.match(r"ray::(ServeReplica|ProxyActor|ServeController)", line):
            found[pid] = name[1]
    return found


def phase(
    server: Server,
    name: str,
    send: Callable[[Caller, Rng], tuple[Answer, bytes]],
    seconds: float,
    seed: int,
    log: pathlib.Path,
) -> Iterator[str]:
    """Sends for some time, prints what came of it, and gives what is wrong."""
    state, before, processes = State(server), Caller(server).sound(), actors(server)
    lines = len(LOGGED.findall(log.read_text()))
    codes: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    numbers, end = itertools.count(), time.monotonic() + seconds

    def work() -> None:
        caller = Caller(server)
        for number in numbers:
            if time.monotonic() > end or len(problems) > 20:
                return
            try:
                answer, sent = send(caller, random.Random(f"{seed} {name} {number}"))
            except OSError as error:
                answer, sent = (f"{type(error).__name__}", ""), b""
                problems.append(f"request {number}: {error}")
            codes[answer[0]] += 1
            if found := told(answer, sent):
                problems.append(f"request {number}: tells {found!r} in {answer}")
            if answer[0] in ("500", "INTERNAL", "UNKNOWN"):
                print(f"  request {number}: {answer}", flush=True)

    senders = [threading.Thread(target=work) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        state.sample()
        time.sleep(seconds / 120)
    for sender in senders:
        sender.join()
    time.sleep(2.0)  # the log comes by way of the engine
    internal = codes["500"] + codes["INTERNAL"] + codes["UNKNOWN"]
    logged = len(LOGGED.findall(log.read_text())) - lines
    counts = ", ".join(f"{count} {code}" for code, count in codes.most_common())
    (early, *_), (late, *_) = state.quarter(1), state.quarter(3)
    threads, files = (state.quarter(3) - state.quarter(1))[1:]
    print(f"| {name} | {codes.total()} | {counts} | {logged} | {early:.0f} → {late:.0f} MiB |")
    print(f"|   | threads {threads:+.0f}, files {files:+.0f} |", flush=True)
    yield from problems
    if logged != internal:
        yield f"{internal} internal errors, and {logged} lines of them in the log"
    if Caller(server).sound() != before:
        yield "sound requests are answered otherwise than before"
    if actors(server) != processes:
        yield f"processes were {processes} and are {actors(server)}"
    if late > early + MEMORY:
        yield f"memory grew from {early:.0f} to {late:.0f} MiB"
    if threads > 4 or files > 8:
        then, now = state.threads[len(state.threads) // 2], state.threads[-1]
        more = {name: count - then.get(name, 0) for name, count in now.items()}
        yield (
            f"{threads:+.0f} threads and {files:+.0f} open files; by process since the middle: "
            f"{dict(item for item in more.items() if item[1])}"
        )


PHASES = {"protobufs": Caller.message, "JSON": Caller.json, "files": Caller.file}


def main() -> int:
    """Prints a line per kind; 1 if anything is wrong."""
    minutes, seed = float((sys.argv[1:] or ["10"])[0]), int((sys.argv[2:] or ["0"])[0])
    print(f"{minutes:g} minutes each, seed {seed}", flush=True)
    root = pathlib.Path(__file__).parents[2]
    os.environ |= {"PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}  # also where workers start
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        export(random_model(WIDTH, SMALL), folder / "versions")
        flags = [f"--max_{name}={value}" for name, value in LIMITS.items()]
        with (folder / "log").open("w") as log:
            server = Server(folder / "versions", "--timeout=20", *flags, log=log)
        problems = []
        try:
            for name, send in PHASES.items():
                found = phase(server, name, send, 60 * minutes, seed, folder / "log")
                problems += [f"{name}: {problem}" for problem in found]
        finally:
            server.stop()
            sys.stderr.write((folder / "log").read_text()[-20_000:])
    print("\n".join(problems) or "nothing is wrong")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
