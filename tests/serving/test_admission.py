"""How many requests the engine's proxy lets in, and what it says to the others."""

import asyncio

import pytest

pytest.importorskip("ray", reason="the extra [serving] is not installed")

import grpc
from ray.serve._private import proxy

from cpmn_tf.serving import admission


@pytest.fixture
def of_proxies(monkeypatch):
    """The engine's two proxies, which answer when they are told, with two places for both."""
    told = asyncio.Event()

    async def answer(self, number):
        await told.wait()
        yield number

    for kind in (proxy.gRPCProxy, proxy.HTTPProxy):
        monkeypatch.setattr(kind, "send_request_to_replica", answer)
    monkeypatch.setenv(admission.PLACES, "2")
    admission.bound()
    return told


async def answered(kind, number: int) -> list:
    """All messages of an answer."""
    return [message async for message in kind.send_request_to_replica(None, number)]


def test_who_finds_no_place_is_told_so_at_once(of_proxies):
    async def run():
        held = [
            asyncio.ensure_future(answered(kind, number))
            for number, kind in enumerate((proxy.gRPCProxy, proxy.HTTPProxy))
        ]
        await asyncio.sleep(0)
        (status,) = await answered(proxy.gRPCProxy, 2)
        start, body, end = await answered(proxy.HTTPProxy, 3)
        of_proxies.set()
        assert await asyncio.gather(*held) == [[0], [1]]
        return status, start, body, end, await answered(proxy.gRPCProxy, 4)

    status, start, body, end, later = asyncio.run(run())
    assert (status.code, status.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, admission.FULL)
    assert status.is_error and end.is_error
    assert (start["status"], end.code) == (503, "503")
    assert [b"retry-after", b"1"] in map(list, start["headers"])
    assert admission.FULL.encode() in body["body"]
    assert later == [4]  # there is room again


def test_who_goes_away_leaves_the_place(of_proxies):
    async def run():
        for number in range(3):
            gone = asyncio.ensure_future(answered(proxy.gRPCProxy, number))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        of_proxies.set()
        return await answered(proxy.gRPCProxy, 3)

    assert asyncio.run(run()) == [3]
