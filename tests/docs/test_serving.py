"""What the page on serving says of the server: flags, limits, metrics, an example, a cluster."""

import concurrent.futures
import dataclasses
import functools
import importlib
import pathlib
import re

import numpy as np
import pytest
import yaml

from cpmn_tf.commands import cli, serve
from cpmn_tf.serving.protocol import Limits

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
SERVER = PAGE[PAGE.index("## cpmn-serve") :]


@pytest.fixture(scope="module")
def flags() -> cli.Flags:
    """Of the command, with their defaults."""
    values = cli.Flags()
    serve.define_flags(values)
    values(["cpmn-serve"])
    return values


def block(language: str, holds: str) -> str:
    """The one block of code that holds a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", SERVER, re.DOTALL | re.MULTILINE)
    (found,) = [text for text in blocks if holds in text]
    return found


def test_every_flag_is_listed_and_is_there(flags):
    table = SERVER[SERVER.index("| what for | flags |") :].split("\n\n")[0]
    assert sorted(re.findall(r"`--(\w+)`", table)) == sorted(set(flags))
    theirs = {"enable_batching", "model_config_file", "enable_serialization_as_tensor_content"}
    named = set(re.findall(r"`--(\w+)", SERVER)) - theirs - {"server_timeout"}
    named -= {"server_model", "server_token_file"}  # of cpmn-localize
    assert named - {"flagfile"} == set(flags)


def test_limits_have_the_defaults_of_the_table(flags):
    table = SERVER[SERVER.index("| flag | default |") :].split("\n\n")[0]
    rows = re.findall(r"^\| `--(\w+)` \| (\d+) \|", table, re.MULTILINE)
    assert {name: flags[name].value for name, _ in rows} == {name: int(n) for name, n in rows}
    assert {f"max_{field.name}" for field in dataclasses.fields(Limits)} < {n for n, _ in rows}


def test_metrics_are_those_of_the_replica():
    pytest.importorskip("ray", reason="the extra [serving] is not installed")
    from cpmn_tf.serving import replica

    source = pathlib.Path(replica.__file__).read_text(encoding="utf-8")
    ours = {f"ray_{name}" for name in re.findall(r'"(cpmn_\w+)"', source)}
    shown = set(re.findall(r"^\| `(ray_cpmn_\w+)` \|", SERVER, re.MULTILINE))
    assert len(ours) == 4 and {name.removesuffix("_total") for name in shown} == ours


def test_the_grpc_example_gets_an_answer():
    """From generated code of TensorFlow Serving's, which takes what the real server takes."""
    grpc = pytest.importorskip("grpc", reason="the extra [serving] is not installed")
    pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from cpmn_tf.serving import protobufs
    from cpmn_tf.serving.protocol import Signature, TensorType

    shapes: dict[str, tuple] = {"rgb": (None, None, 6), "flow": (None, None, 4)}
    inputs = {name: TensorType(np.dtype(np.float32), shape) for name, shape in shapes.items()}
    inputs |= {name: TensorType(np.dtype(np.float32), (None,)) for name in ("rates", "durations")}
    inputs["lengths"] = TensorType(np.dtype(np.int32), (None,))
    signature = Signature(inputs, {"counts": TensorType(np.dtype(np.int32), (None,))})
    calls = []

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            calls.append(protobufs.parse_predict(request, {"detect": signature}, Limits()))
            return protobufs.predict_response(calls[0], {"counts": np.int32([3])}, "cpmn", 1)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        names = {"rgb": np.ones([50, 6], np.float32), "flow": np.ones([50, 4], np.float32)}
        code = block("python", "insecure_channel").replace(":8500", f":{port}")
        exec(code, names)
        server.stop(None).wait()
    (call,) = calls
    assert (call.signature, call.videos, call.units) == ("detect", 1, 50)
    assert names["found"]["counts"] == [3]


def test_the_metrics_port_is_the_one_that_is_scraped(flags):
    scraped = yaml.safe_load(block("yaml", "scrape_configs"))
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == f"127.0.0.1:{flags.metrics_port}"


def test_what_kuberay_is_told_is_what_the_engine_and_the_application_take(monkeypatch):
    pytest.importorskip("ray", reason="the extra [serving] is not installed")
    from ray.serve.schema import ServeDeploySchema

    from cpmn_tf.serving import grpc_services, server

    service = yaml.safe_load(block("yaml", "serveConfigV2"))
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert config.grpc_options.grpc_servicer_functions == grpc_services.FUNCTIONS
    for path in grpc_services.FUNCTIONS:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    build = functools.reduce(getattr, name.split("."), importlib.import_module(module))

    worker = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    variables = {item["name"]: item.get("value") for item in worker["containers"][0]["env"]}
    assert int(variables["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"]) == Limits().request_bytes
    assert variables.keys() >= {server.TOKEN}
    monkeypatch.setenv(server.TOKEN, "secret")

    built = build(application.args)
    settings, _ = built._bound_deployment.init_args
    assert settings.token == "secret" and settings.model_base_path == "/models/cpmn"
    assert settings.max_replicas == 4 and settings.limits.video_units == 100_000
    assert config.http_options.request_timeout_s == settings.timeout
    assert [deployment.name for deployment in application.deployments] == [server.DEPLOYMENT]
