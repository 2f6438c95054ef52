"""What reaches the engine's HTTP proxy: requests that it can bear, of no more bytes than allowed.

Ray Serve (2.60) holds the body of a request that waits for a replica in the proxy's memory, however
long it is; takes the server's timeout from a header, if the client sends one; and fails without a
line in its log at headers of its own that are not UTF-8, and at WebSockets. This stands before it,
in the proxy's process, by the engine's option `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`.
"""

import os

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FUNCTION = f"{__name__}.middlewares"  # by import path, as the engine's option takes it
BYTES = "CPMN_SERVE_REQUEST_BYTES"  # the environment's variable, which the proxy inherits

DRAINED = 4  # times the limit, of what is too long: read and thrown away

# By which a client would steer the engine; some engines' proxies write `-` for `_`.
STEERING = (
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
)


def middlewares() -> list[Middleware]:
    """What the engine puts before its proxy."""
    return [Middleware(Gate, int(os.environ[BYTES]))]


class Gate:
    """An ASGI application before another."""

    def __init__(self, app: ASGIApp, limit: int):
        """Passes requests of at most ``limit`` bytes to ``app``."""
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})  # before it is accepted: 403
            return
        # Such as `*`, for which the engine has no application.
        if not scope["path"].startswith("/"):
            text = f"{scope['path'][:100]!r}: there is no such path; see docs/serving.md"
            await JSONResponse({"error": text}, 404)(scope, receive, send)
            return
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name.replace(b"_", b"-") not in STEERING and _is_utf8(value)
        ]
        size = int(dict(headers).get(b"content-length", 0))
        started, more = False, True

        async def counted() -> Message:
            nonlocal size, more
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            # As if the client had gone: the engine then ends the request.
            return {"type": "http.disconnect"} if size > self._limit else message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        if size <= self._limit:
            size = 0  # what is declared need not be so
            await self._app({**scope, "headers": headers}, counted, noted)
        if size > self._limit and not started:
            # Most clients send all before they read, and would only see that they were cut off.
            end = size + DRAINED * self._limit
            while more and size < end:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)
            text = f"the request has more than {self._limit} bytes"
            await JSONResponse({"error": text}, 400)(scope, receive, send)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
