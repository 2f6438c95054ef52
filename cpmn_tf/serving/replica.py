"""One replica of the model server: TensorFlow Serving's protocol and the page, on Ray Serve.

Ray Serve owns the ports, the bounded queue, deadlines, health, replicas and draining. What is here
is what it calls: a request is checked (:mod:`~cpmn_tf.serving.protocol`), joins a batch
(:mod:`~cpmn_tf.serving.batches`), and runs in the newest version
(:mod:`~cpmn_tf.serving.versions`).
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hmac
import json
import logging
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from ray.exceptions import TaskCancelledError
from ray.serve import metrics
from ray.serve.grpc_util import RayServegRPCContext
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from cpmn_tf.notices import load_tensorflow
from cpmn_tf.serving import batches, page, protocol
from cpmn_tf.serving.protocol import Call, Refusal
from cpmn_tf.serving.settings import ServerSettings
from cpmn_tf.serving.versions import Loaded, Versions

if TYPE_CHECKING:
    from cpmn_tf.serving.model import Model

LOG = logging.getLogger("ray.serve")
FAILED = "the server failed; its log has more"
POLL_SECONDS = 1.0  # between looks for new versions


@dataclasses.dataclass(eq=False)
class _Waiting:
    """A request in the queue for a batch."""

    call: Call
    model: "Model"
    outputs: asyncio.Future


class Replica:
    """What Ray Serve calls: gRPC methods by their names, HTTP by ``__call__``."""

    def __init__(self, settings: ServerSettings, threads: int):
        """Loads the newest version.

        Args:
          settings: see there.
          threads: of the graph.
        """
        # Only here: the processes that deploy this class and pass requests on need no TensorFlow.
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)  # which TensorFlow reads once
        load_tensorflow()
        from cpmn_tf.serving import protobufs
        from cpmn_tf.serving.model import Model

        self._settings, self._protobufs = settings, protobufs
        load = functools.partial(Model, settings=settings)
        self._versions = Versions(settings.model_base_path, load, Model.check, LOG.warning)
        self._versions.poll()
        # The graph uses all threads for one batch; a second at the same time would only wait.
        self._graph = concurrent.futures.ThreadPoolExecutor(1)
        self._files = concurrent.futures.ThreadPoolExecutor(1)
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._working: asyncio.Future | None = None
        self._metrics = _Metrics()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            self._versions.poll()

    def problem(self) -> str:
        """Why no version is served; empty if one is."""
        states = self._versions.states
        if any(state.state == "AVAILABLE" for state in states):
            return ""
        return f"version {states[0].version}: {states[0].error_message}"

    # -- gRPC: TensorFlow Serving's services. Messages are bytes; see `grpc_services`.

    async def Predict(self, message: bytes, grpc_context: RayServegRPCContext) -> Any:
        """PredictionService.Predict."""

        async def answer() -> Any:
            request = self._protobufs.decoded("Predict", message)
            with self._version(request.model_spec) as loaded:
                signatures, name = loaded.model.signatures, self._settings.model_name
                call = self._protobufs.parse_predict(request, signatures, self._settings.limits)
                outputs = await self._run(loaded.model, call)
                return self._protobufs.predict_response(call, outputs, name, loaded.version)

        return await self._rpc(grpc_context, answer)

    async def GetModelMetadata(self, message: bytes, grpc_context: RayServegRPCContext) -> Any:
        """PredictionService.GetModelMetadata."""

        async def answer() -> Any:
            request = self._protobufs.decoded("GetModelMetadata", message)
            with self._version(request.model_spec) as loaded:
                definitions, name = loaded.model.definitions, self._settings.model_name
                return self._protobufs.metadata(request, definitions, name, loaded.version)

        return await self._rpc(grpc_context, answer)

    async def GetModelStatus(self, message: bytes, grpc_context: RayServegRPCContext) -> Any:
        """ModelService.GetModelStatus."""

        async def answer() -> Any:
            spec = self._protobufs.decoded("GetModelStatus", message).model_spec
            name, version = self._settings.model_name, self._version_of(spec)
            return self._protobufs.status(self._versions.states, name, version)

        return await self._rpc(grpc_context, answer)

    async def _rpc(self, context: RayServegRPCContext, answer: Callable[[], Awaitable[Any]]) -> Any:
        try:
            self._authorize(dict(context.invocation_metadata()).get("authorization", ""))
            return await answer()
        except Exception as error:
            refusal = self._refusal(error)
            context.set_code(grpc.StatusCode[refusal.code])
            context.set_details(refusal.message)
            return _Nothing()

    # -- HTTP: TensorFlow Serving's REST, the page and what it asks for

    async def __call__(self, request: Request) -> Response:
        """Answers a request by its path."""
        try:
            if request.scope["path"] == "/" and request.method == "GET":
                return Response(page.index(self._settings.model_name), headers=page.HEADERS)
            self._authorize(request.headers.get("authorization", ""))
            return await self._routed(request)
        except Exception as error:
            refusal = self._refusal(error)
            return JSONResponse({"error": refusal.message}, protocol.HTTP_STATUS[refusal.code])

    async def _routed(self, request: Request) -> Response:
        path = request.scope["path"]  # while `url` is made of headers too
        found = _PATH.fullmatch(path)
        handlers = {
            ("POST", ":predict"): self._rest_predict,
            ("POST", ":localize"): self._rest_localize,
            ("GET", "/metadata"): self._rest_metadata,
            ("GET", "/about"): self._rest_about,
            ("GET", ""): self._rest_status,
        }
        handler = handlers.get((request.method, found["verb"])) if found else None
        if not found or not handler:
            what = f"{request.method[:100]} {path[:100]!r}"
            raise Refusal("NOT_FOUND", f"{what}: there is no such method; see docs/serving.md")
        self._check_name(found["name"])
        version = int(found["version"]) if found["version"] else None
        return await handler(request, version)

    async def _rest_predict(self, request: Request, version: int | None) -> Response:
        body = await self._body(request)
        with self._versions.get(version) as loaded:
            signatures = loaded.model.signatures
            parse = functools.partial(protocol.parse_rest, body, signatures, self._settings.limits)
            call, form = await self._apart(parse)
            outputs = await self._run(loaded.model, call)
            return await self._apart(lambda: _json(protocol.rest_response(call, outputs, form)))

    async def _rest_localize(self, request: Request, version: int | None) -> Response:
        body, query = await self._body(request), dict(request.query_params)
        with self._versions.get(version) as loaded:
            model = loaded.model
            read = functools.partial(page.read_video, model.page, query, body, model.encode)
            video, top = await self._apart(read)
            inputs = video.inputs()
            detected = await self._run(model, Call("detect", inputs, (), 1, video.units))
            del inputs["durations"]
            scored = await self._run(model, Call("score", inputs, (), 1, video.units))
            return JSONResponse(page.answer(model.page, video, detected, scored, top))

    async def _rest_about(self, request: Request, version: int | None) -> Response:
        with self._versions.get(version) as loaded:
            return JSONResponse(page.about(loaded.model.page))

    async def _rest_metadata(self, request: Request, version: int | None) -> Response:
        with self._versions.get(version) as loaded:
            name = self._settings.model_name
            definitions = loaded.model.definitions
            return JSONResponse(self._protobufs.metadata_rest(definitions, name, loaded.version))

    async def _rest_status(self, request: Request, version: int | None) -> Response:
        name = self._settings.model_name
        return JSONResponse(protocol.status_rest(self._versions.states, name, version))

    async def _apart(self, work: Callable[[], Any]) -> Any:
        """What takes long, such as JSON or a video: other requests go on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._files, work)

    async def _body(self, request: Request) -> bytes:
        """The body, of which no more is read than is allowed."""
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise Refusal(
                "INVALID_ARGUMENT", f"Content-Encoding {coding[:100]!r} is not taken; send it plain"
            )
        limit = self._settings.limits.request_bytes
        parts, size = [], 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise Refusal("INVALID_ARGUMENT", f"the request has more than {limit} bytes")
                parts.append(part)
        except (ClientDisconnect, TaskCancelledError):  # the engine's, where it noticed first
            raise Refusal("CANCELLED", "the client has gone") from None
        return b"".join(parts)

    # -- what both share

    def _authorize(self, given: str) -> None:
        wanted = f"Bearer {self._settings.token}"
        if self._settings.token and not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Refusal("UNAUTHENTICATED", "send the server's token: Authorization: Bearer TOKEN")

    def _refusal(self, error: Exception) -> Refusal:
        if not isinstance(error, Refusal):
            LOG.error("a request failed", exc_info=error)
            error = Refusal("INTERNAL", FAILED)
        self._metrics.refusals.inc(tags={"code": error.code})
        return error

    def _check_name(self, name: str) -> None:
        if name != self._settings.model_name:
            known = self._settings.model_name
            raise Refusal("NOT_FOUND", f"there is no model {name[:100]!r}; this is {known!r}")

    def _version_of(self, spec: Any) -> int | None:
        self._check_name(spec.name)
        if spec.version_label:
            raise Refusal("NOT_FOUND", "versions have no labels here; name a number or none")
        return spec.version.value if spec.HasField("version") else None

    def _version(self, spec: Any) -> contextlib.AbstractContextManager[Loaded["Model"]]:
        return self._versions.get(self._version_of(spec))

    async def _run(self, model: "Model", call: Call) -> dict[str, np.ndarray]:
        """The outputs of a call, when its batch is done."""
        if call.signature == "serialized":
            call = await self._apart(functools.partial(model.examined, call))
        waiting = _Waiting(call, model, asyncio.get_running_loop().create_future())
        self._metrics.units.observe(call.videos * call.units)
        self._queue.append(waiting)
        if not self._working or self._working.done():
            self._working = asyncio.ensure_future(self._work())
        # A caller that has gone, or whose deadline is over, cancels this and so leaves the queue.
        return await waiting.outputs

    async def _work(self) -> None:
        """Runs what is in the queue; what comes meanwhile is the next batch.

        Ray Serve's own batches are closed after a time, whether the graph is free or not: a busy
        replica then has a queue of batches of one request each.
        """
        while self._queue:
            taken = [self._queue.popleft()]
            videos = taken[0].call.videos
            while self._queue:
                videos += self._queue[0].call.videos
                if videos > self._settings.batch_videos:
                    break
                taken.append(self._queue.popleft())
            for group in _divided(taken):
                await self._run_group(group)

    async def _run_group(self, group: list[_Waiting]) -> None:
        """Runs requests in one batch of the graph; each has its answer as soon as that is done."""
        group = [waiting for waiting in group if not waiting.outputs.cancelled()]
        if not group:
            return
        loop = asyncio.get_running_loop()
        try:
            parts = await loop.run_in_executor(self._graph, self._compute, group)
        except Exception as error:
            for waiting in group:
                if not waiting.outputs.cancelled():
                    waiting.outputs.set_exception(error)
            return
        for waiting, part in zip(group, parts, strict=True):
            if not waiting.outputs.cancelled():
                waiting.outputs.set_result(part)

    def _compute(self, group: list[_Waiting]) -> list[dict[str, np.ndarray]]:
        begin = time.perf_counter()
        first = group[0]
        outputs = first.model.run(
            first.call.signature, batches.joined([waiting.call.inputs for waiting in group])
        )
        videos = [waiting.call.videos for waiting in group]
        self._metrics.batch_videos.observe(sum(videos))
        self._metrics.seconds.observe((time.perf_counter() - begin) / max(sum(videos), 1))
        if first.call.signature not in batches.BATCHED:
            return [outputs]
        return batches.parted(outputs, videos)


_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18}))?"
    r"(?P<verb>:[a-z]+|/[a-z]+|)"
)


def _divided(taken: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """Requests of one graph and of about one length; those that cannot be joined by themselves."""
    by_graph: dict[tuple, list[_Waiting]] = {}
    for waiting in taken:
        alone = None if waiting.call.signature in batches.BATCHED else id(waiting)
        by_graph.setdefault((waiting.model, waiting.call.signature, alone), []).append(waiting)
    for together in by_graph.values():
        calls = [waiting.call for waiting in together]
        indices = batches.divide([call.videos for call in calls], [call.units for call in calls])
        yield from ([together[index] for index in group] for group in indices)


def _json(value: Any) -> Response:
    """With NaN as the real server writes it, which Starlette's own class refuses."""
    return Response(json.dumps(value), media_type="application/json")


class _Nothing:
    """The message beside a status that is no success."""

    def SerializeToString(self) -> bytes:
        return b""


class _Metrics:
    """Ours, in Prometheus's form beside the engine's."""

    def __init__(self) -> None:
        sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
        self.units = metrics.Histogram(
            "cpmn_request_units",
            description="Units of a request, padding included.",
            boundaries=[10.0**power for power in range(1, 7)],
        )
        self.batch_videos = metrics.Histogram(
            "cpmn_batch_videos", description="Videos of a batch.", boundaries=sizes
        )
        self.seconds = metrics.Histogram(
            "cpmn_video_seconds",
            description="Seconds of the graph for each video of a batch.",
            boundaries=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
        )
        self.refusals = metrics.Counter(
            "cpmn_refusals", description="Requests refused, by their code.", tag_keys=("code",)
        )
