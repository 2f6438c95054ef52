"""What passes the gate before the engine's proxy, which is here an application that notes it."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [serving] is not installed")

from cpmn_tf.serving.http_gate import BYTES, Gate, middlewares

LIMIT = 10
NEVER = b"this is not received"


def passed(
    headers: dict[bytes, bytes], *parts: bytes, kind: str = "http", path: str = "/"
) -> tuple[list[dict], dict[bytes, bytes], bytes]:
    """What is answered; the headers and the body that got through."""
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]
    answers: list[dict] = []
    found: dict[str, Any] = {"headers": {}, "body": b""}

    async def app(scope, receive, send):
        found["headers"] = dict(scope["headers"])
        while messages:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            found["body"] += message["body"]
        await send({"type": "http.response.start", "status": 200})

    async def receive():
        message = messages.pop(0)
        assert message["body"] is not NEVER
        return message

    async def send(message):
        answers.append(message)

    scope = {"type": kind, "path": path, "headers": list(headers.items())}
    asyncio.run(Gate(app, LIMIT)(scope, receive, send))
    return answers, found["headers"], found["body"]


def test_a_sound_request_passes():
    headers = {b"content-length": b"10", b"authorization": b"Bearer x"}
    answers, given, body = passed(headers, b"01234", b"56789")
    assert answers[0]["status"] == 200 and given == headers and body == b"0123456789"


@pytest.mark.parametrize(
    ("headers", "through"),
    [
        ({b"content-length": b"11"}, b""),  # not even begun
        ({b"transfer-encoding": b"chunked"}, b"012345"),  # until it is too much
    ],
)
def test_a_body_that_is_too_long_is_refused(headers, through):
    answers, _, body = passed(headers, b"012345", b"67890")
    assert answers[0]["status"] == 400 and body == through
    assert answers[1]["body"] == b'{"error":"the request has more than 10 bytes"}'


def test_no_more_is_thrown_away_than_a_few_times_the_limit():
    parts = [b"01234567"] * 5  # four times the limit
    answers, _, body = passed({b"content-length": b"1000"}, *parts, NEVER)
    assert answers[0]["status"] == 400 and not body


def test_a_client_does_not_steer_the_engine():
    headers = {
        b"x-request-timeout-seconds": b"1e9",
        b"serve_multiplexed_model_id": b"x",
        b"x-request-id": b"\xff",
        b"accept": b"*/*",
    }
    assert passed(headers)[1] == {b"accept": b"*/*"}


def test_a_path_that_is_none_is_not_found():
    answers, headers, _ = passed({b"accept": b"*/*"}, path="*")
    assert answers[0]["status"] == 404 and not headers
    assert b"'*': there is no such path" in answers[1]["body"]


def test_websockets_are_closed():
    answers, headers, _ = passed({b"accept": b"*/*"}, kind="websocket")
    assert answers == [{"type": "websocket.close", "code": 1000}] and not headers


def test_the_engine_has_it_with_the_servers_limit(monkeypatch):
    monkeypatch.setenv(BYTES, "7")
    (middleware,) = middlewares()
    assert middleware.cls is Gate and middleware.args == (7,)
