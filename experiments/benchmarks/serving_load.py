"""Load on a model server, from a process of its own: what `serving` starts.

Reads a serialized PredictRequest, and prints JSON: how each request ended, when and after how many
seconds, and the processor time that sending them took. Imports no TensorFlow.

    python -m experiments.benchmarks.serving_load PORT REQUEST SECONDS clients N [TRIES]
    python -m experiments.benchmarks.serving_load PORT REQUEST SECONDS rate REQUESTS_PER_SECOND
"""

import asyncio
import collections
import json
import pathlib
import random
import sys
import time

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"
DEADLINE = 30.0  # seconds, of each request
RETRIED = {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}


async def once(predict: grpc.aio.UnaryUnaryMultiCallable, message: bytes) -> str:
    """The code that a request ends with."""
    try:
        await predict(message, timeout=DEADLINE)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def request(
    predict: grpc.aio.UnaryUnaryMultiCallable, message: bytes, tries: int, begin: float
) -> tuple[str, float, float]:
    """Code, seconds since ``begin`` at its end, and seconds that it took, retries included."""
    sent = time.monotonic()
    for attempt in range(tries):
        code = await once(predict, message)
        if code not in RETRIED or attempt == tries - 1:
            break
        await asyncio.sleep(random.uniform(0, 0.1 * 2**attempt))
    now = time.monotonic()
    return code, now - begin, now - sent


async def load(port: int, message: bytes, seconds: float, kind: str, number: float, tries: int):
    """All requests: from so many clients, one at a time each, or at a rate whatever is answered."""
    ends: list[tuple[str, float, float]] = []
    begin = time.monotonic()
    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        for _ in range(int(number) if kind == "clients" else 16)
    ]
    stubs = [channel.unary_unary(PREDICT) for channel in channels]
    if kind == "clients":

        async def client(stub: grpc.aio.UnaryUnaryMultiCallable) -> None:
            while time.monotonic() < begin + seconds:
                ends.append(await request(stub, message, tries, begin))

        await asyncio.gather(*map(client, stubs))
    else:
        sent = []
        for turn in range(int(seconds * number)):
            await asyncio.sleep(max(0.0, begin + turn / number - time.monotonic()))
            one = request(stubs[turn % len(stubs)], message, 1, begin)
            sent.append(asyncio.ensure_future(one))
        ends += await asyncio.gather(*sent)
    spent = time.monotonic() - begin
    codes = collections.Counter(code for code, *_ in ends)
    return {"codes": codes, "ends": ends, "seconds": spent, "processor": time.process_time()}


if __name__ == "__main__":
    port, path, seconds, kind, number, *tries = sys.argv[1:]
    message = pathlib.Path(path).read_bytes()
    attempts = int(tries[0]) if tries else 1
    found = asyncio.run(load(int(port), message, float(seconds), kind, float(number), attempts))
    json.dump(found, sys.stdout)
