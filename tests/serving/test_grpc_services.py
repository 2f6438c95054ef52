"""TensorFlow Serving's services in the engine's proxy, without TensorFlow."""

import asyncio
import os
import pathlib
import socket
import subprocess
import sys

import pytest

pytest.importorskip("ray", reason="the extra [serving] is not installed")
pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")

import grpc
from ray.exceptions import ActorDiedError
from ray.serve._private import proxy
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from cpmn_tf.serving import grpc_services


def test_the_methods_are_those_of_tensorflow_serving():
    for module, service in (
        (prediction_service_pb2, grpc_services.PREDICT),
        (model_service_pb2, grpc_services.MODEL),
    ):
        (described,) = module.DESCRIPTOR.services_by_name.values()
        assert described.full_name == service
        assert set(grpc_services.METHODS[service]) <= set(described.methods_by_name)


def test_the_proxy_needs_no_tensorflow():
    program = (
        "import sys, cpmn_tf.serving.grpc_services, cpmn_tf.serving.server, "
        "cpmn_tf.serving.replica; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def listening(port: int) -> list[str]:
    """Addresses on which someone listens to a port, as the kernel writes them."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, number = address.split(":")
            if state == "0A" and int(number, 16) == port:
                found.append(host)
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_proxy_listens_on_the_host_alone_and_replicas_on_this_machine(monkeypatch, host):
    """Replicas listen on any port that is free, and unpickle what comes."""
    from grpc.aio import _server

    monkeypatch.setattr(
        _server.Server, "add_insecure_port", _server.Server.add_insecure_port
    )  # restored afterwards
    monkeypatch.setitem(os.environ, grpc_services.HOST, host)
    grpc_services.listen_on_host()
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]

    async def start() -> list[list[str]]:
        server = grpc.aio.server()
        ports = [server.add_insecure_port(f"[::]:{number}") for number in (port, 0)]
        await server.start()
        found = [listening(number) for number in ports]
        await server.stop(None)
        return found

    (proxy_host,), (replica_host,) = asyncio.run(start())
    loopback = ("0100007F", "0000000000000000FFFF00000100007F")
    assert replica_host in loopback
    assert (proxy_host in loopback) == (host == "127.0.0.1")
    assert proxy_host in loopback or int(proxy_host, 16) == 0


def test_a_request_whose_replica_died_is_to_be_sent_again(monkeypatch):
    for name in ("get_grpc_response_status", "get_http_response_status"):
        monkeypatch.setattr(proxy, name, getattr(proxy, name))  # restored afterwards
    for kind in (proxy.gRPCProxy, proxy.HTTPProxy):
        monkeypatch.setattr(kind, "not_found_response", kind.not_found_response)
    grpc_services._say_unavailable()
    status = proxy.get_grpc_response_status(ActorDiedError(), 5.0, "id")
    assert status.code == grpc.StatusCode.UNAVAILABLE and "send it again" in status.message
    status = proxy.get_http_response_status(ActorDiedError(), 5.0, "id")
    assert status.code == 503 and dict(status.headers)[b"retry-after"] == b"1"
    late = proxy.get_grpc_response_status(TimeoutError(), 5.0, "id")
    assert late.code == grpc.StatusCode.DEADLINE_EXCEEDED

    async def all_of(answer) -> list:
        return [message async for message in answer]

    (status,) = asyncio.run(all_of(proxy.gRPCProxy.not_found_response(None, None)))
    assert status.code == grpc.StatusCode.UNAVAILABLE and "no model is served" in status.message
    start, _, status = asyncio.run(all_of(proxy.HTTPProxy.not_found_response(None, None)))
    assert start["status"] == status.code == 503
    assert [b"retry-after", b"1"] in map(list, start["headers"])
