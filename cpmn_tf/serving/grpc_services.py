"""TensorFlow Serving's gRPC services as Ray Serve's proxy takes them, and where it listens.

The proxy only passes messages on, so that they are bytes to it: it then neither parses them nor has
to import TensorFlow, which TensorFlow Serving's own generated code does.
"""

import dataclasses
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc

from cpmn_tf.serving import admission

PREDICT = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
METHODS = {PREDICT: ("Predict", "GetModelMetadata"), MODEL: ("GetModelStatus",)}

# By import path, as the engine's options take them.
FUNCTIONS = [f"{__name__}.add_prediction_service", f"{__name__}.add_model_service"]

HOST = "CPMN_SERVE_HOST"  # the environment's variable, which the engine's processes inherit


def add_prediction_service(servicer: Any, server: grpc.aio.Server) -> None:
    """Adds PredictionService to the proxy's server, before that takes requests."""
    _say_unavailable()
    admission.bound()
    _add(PREDICT, servicer, server)


def add_model_service(servicer: Any, server: grpc.aio.Server) -> None:
    """Adds ModelService to the proxy's server."""
    _add(MODEL, servicer, server)


def _add(service: str, servicer: Any, server: grpc.aio.Server) -> None:
    methods = {
        name: grpc.unary_unary_rpc_method_handler(getattr(servicer, name))
        for name in METHODS[service]
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


def _say_unavailable() -> None:
    """Has the proxy answer that the server is unavailable where it is, so that clients send again.

    Of a request whose replica died Ray Serve (2.60) says the actor's obituary, as an internal
    error; of one that comes before the model is loaded, or when the server ends, that there is no
    such application or path.
    """
    from ray.exceptions import RayActorError
    from ray.serve._private import http_util, proxy

    gone = "the replica that had the request is gone; send it again"
    none = "no model is served now; send it again"
    later = admission.RETRY_AFTER

    def grpc_status(error: BaseException, *rest: Any) -> Any:
        status = of_grpc(error, *rest)
        if isinstance(error, RayActorError):
            return dataclasses.replace(status, code=grpc.StatusCode.UNAVAILABLE, message=gone)
        return status

    def http_status(error: BaseException, *rest: Any) -> Any:
        status = of_http(error, *rest)
        if isinstance(error, RayActorError):
            return dataclasses.replace(status, code=503, message=gone, headers=later)
        return status

    async def no_grpc(self: Any, request: Any) -> AsyncIterator[Any]:
        code = grpc.StatusCode.UNAVAILABLE
        yield proxy.ResponseStatus(code=code, message=none, is_error=True)

    async def no_http(self: Any, request: Any) -> AsyncIterator[Any]:
        answer = http_util.convert_object_to_asgi_messages(none, 503, extra_headers=later)
        for message in answer:
            yield message
        yield proxy.ResponseStatus(code=503, is_error=True)

    of_grpc, of_http = proxy.get_grpc_response_status, proxy.get_http_response_status
    vars(proxy).update(get_grpc_response_status=grpc_status, get_http_response_status=http_status)
    # The one application has all paths: what is not found is the application.
    of_proxies: tuple[Any, Any] = proxy.gRPCProxy, proxy.HTTPProxy
    of_proxies[0].not_found_response, of_proxies[1].not_found_response = no_grpc, no_http


def listen_on_host() -> None:
    """Makes gRPC servers of this process listen on the host that is asked for.

    Ray Serve (2.60) has an option for the host of HTTP, and listens on all addresses for gRPC; its
    replicas listen so too, on any port that is free. Run in each of the engine's processes when it
    starts.
    """
    from grpc.aio import _server

    listen = _server.Server.add_insecure_port

    def on_host(self: Any, address: str) -> int:
        host, port = address.rsplit(":", 1)
        if host != "[::]":
            return listen(self, address)
        # A replica's own port, any that is free, takes pickles: nobody else may reach it.
        host = os.environ[HOST] if port != "0" else "127.0.0.1"
        return listen(self, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    _server.Server.add_insecure_port = on_host
