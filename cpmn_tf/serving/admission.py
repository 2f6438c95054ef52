"""How many requests the engine's proxy has at once, of both protocols; one more is refused at once.

Ray Serve's own bound (2.60, ``max_queued_requests``) counts what waits for a replica: it refuses a
burst that idle replicas could take, and has what found them full wait up to half a second longer
than it must, so that under four times the load half of the throughput was left. Here nothing waits
in the proxy: what is let in goes to a replica, whose batches it joins.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc

PLACES = "CPMN_SERVE_PLACES"  # the environment's variable, which the proxy inherits
FULL = "the server is full; send it again"
RETRY_AFTER = [(b"retry-after", b"1")]


class Places:
    """So many places, in one process and one event loop."""

    def __init__(self, number: int):
        """All of them are free."""
        self._free = number

    @contextlib.contextmanager
    def one(self) -> Any:
        """A place for the block; False if there is none."""
        free = self._free > 0
        self._free -= free
        try:
            yield free
        finally:
            self._free += free


def bound() -> None:
    """Bounds the proxy of this process; called before it takes requests."""
    from ray.serve._private import http_util, proxy

    places = Places(int(os.environ[PLACES]))

    def bounded(send: Any, refusal: Any) -> Any:
        async def send_request_to_replica(self: Any, *arguments: Any, **more: Any) -> Any:
            with places.one() as admitted:
                answer = send(self, *arguments, **more) if admitted else refusal()
                async with contextlib.aclosing(answer) as messages:
                    async for message in messages:
                        yield message

        return send_request_to_replica

    async def no_grpc() -> AsyncIterator[Any]:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        yield proxy.ResponseStatus(code=code, message=FULL, is_error=True)

    async def no_http() -> AsyncIterator[Any]:
        for message in http_util.convert_object_to_asgi_messages(
            FULL, 503, extra_headers=RETRY_AFTER
        ):
            yield message
        yield proxy.ResponseStatus(code="503", is_error=True)

    of_proxies: tuple[Any, Any] = proxy.gRPCProxy, proxy.HTTPProxy
    for of_proxy, refusal in zip(of_proxies, (no_grpc, no_http), strict=True):
        send = of_proxy.send_request_to_replica
        of_proxy.send_request_to_replica = bounded(send, refusal)
