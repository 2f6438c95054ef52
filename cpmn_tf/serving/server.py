"""The model server: Ray Serve with TensorFlow Serving's two ports, from its start to its end.

:func:`application` is also the ``import_path`` of a ``serveConfig``, as KubeRay takes it.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from cpmn_tf import cluster
from cpmn_tf.errors import UserError
from cpmn_tf.serving import admission, grpc_services, http_gate
from cpmn_tf.serving.protocol import Limits
from cpmn_tf.serving.settings import ServerSettings
from cpmn_tf.serving.versions import Versions

TOKEN = "CPMN_SERVER_TOKEN"  # the environment's variable that a serveConfig gives the token by
DEPLOYMENT = "Replica"
START_SECONDS = 300  # with an engine of many parts and the model, on a machine that is busy


def application(arguments: Mapping[str, Any]) -> Any:
    """The Ray Serve application of a model.

    Args:
      arguments: fields of :class:`ServerSettings` by name, those of :class:`Limits` among them,
        ``model_base_path`` at least. The token is taken from the variable ``CPMN_SERVER_TOKEN``.
    """
    given = dict(arguments)
    names = [field.name for field in dataclasses.fields(Limits)]
    limits = Limits(**{name: given.pop(name) for name in names if name in given})
    token = os.environ.get(TOKEN, "")
    return _application(ServerSettings(token=token, limits=limits, **given))


def _application(settings: ServerSettings) -> Any:
    import ray
    from ray import serve

    from cpmn_tf.serving.replica import Replica

    most = _most_replicas(settings)
    # Ray hides GPUs from who does not ask for them, and counts only what is asked for.
    machine = ray.cluster_resources() if ray.is_initialized() else {}
    cpus = max(1, int(machine.get("CPU", 1) / most))
    gpus = min(1.0, machine.get("GPU", 0) / most)
    scale: dict[str, Any] = {"num_replicas": settings.replicas}
    if most > settings.replicas:
        scale = {
            "autoscaling_config": {
                "min_replicas": settings.replicas,
                "max_replicas": most,
                # Of batches, one runs and one waits; what is beyond them asks for a replica more.
                "target_ongoing_requests": min(2 * settings.batch_videos, settings.in_flight),
            }
        }
    deploy = serve.deployment(
        name=DEPLOYMENT,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        max_ongoing_requests=settings.in_flight,
        graceful_shutdown_timeout_s=settings.timeout,
        max_constructor_retry_count=1,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
        **scale,
    )
    return deploy(Replica).bind(settings, cpus)


def _most_replicas(settings: ServerSettings) -> int:
    return max(settings.max_replicas, settings.replicas)


def run(settings: ServerSettings, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is in work and ends.

    Args:
      settings: see there.
      ready: called once, when requests are answered.

    Raises:
      UserError: if a port is taken, the cluster is not reached, or no version can be loaded.
    """
    _environment(settings)
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions, gRPCOptions

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if not settings.address:  # else they are other machines' folder and ports
        Versions(settings.model_base_path, load=pathlib.Path, check=print)  # is there one at all?
        for port in (settings.port, settings.rest_api_port, settings.metrics_port):
            _check_port(settings.host, port)
    stop, started = threading.Event(), threading.Event()

    def end(number: int, _: Any) -> None:
        if not started.is_set():  # nobody has been answered yet
            raise SystemExit(128 + number)
        stop.set()

    def give_up(*_: Any) -> None:
        raise UserError(f"the engine did not start within {START_SECONDS} s; {cluster.LOGS}")

    # An engine whose parts die at their start is waited for without an end, by itself.
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(START_SECONDS)
    with contextlib.ExitStack() as stack:
        stack.callback(signal.alarm, 0)
        cluster.start(settings.address, _metrics_export_port=settings.metrics_port)
        stack.callback(ray.shutdown)
        for number in (signal.SIGTERM, signal.SIGINT):  # after Ray, which has handlers too
            signal.signal(number, end)
        serve.start(
            http_options=HTTPOptions(
                host=settings.host,
                port=settings.rest_api_port,
                request_timeout_s=settings.timeout,
                ssl_certfile=settings.ssl_certfile or None,
                ssl_keyfile=settings.ssl_keyfile or None,
            ),
            grpc_options=gRPCOptions(
                port=settings.port,
                grpc_servicer_functions=grpc_services.FUNCTIONS,
                request_timeout_s=settings.timeout,
                enable_reflection=False,
            ),
            logging_config={"log_level": "ERROR", "enable_access_log": False},
        )
        stack.callback(serve.shutdown)
        handle = serve.run(_application(settings), name=settings.model_name, route_prefix="/")
        if problem := handle.problem.remote().result():
            raise UserError(
                f"{settings.model_base_path}: no version can be served ({problem}); export it anew"
            )
        signal.alarm(0)
        started.set()
        ready()
        stop.wait()
        serve.delete(settings.model_name)  # waits for the requests that are in work


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            one.bind((host, port))
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot be listened on ({error.strerror}); give another port"
            ) from None


def _environment(settings: ServerSettings) -> None:
    """What Ray reads when it is imported, and its processes when they start."""
    cluster.environment(settings.address)
    os.environ |= {
        grpc_services.HOST: settings.host,
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(settings.limits.request_bytes),
        admission.PLACES: str(settings.in_flight * _most_replicas(settings)),
        http_gate.BYTES: str(settings.limits.request_bytes),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": http_gate.FUNCTION,
    }
    from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

    hook = grpc_services.listen_on_host
    os.environ[WORKER_PROCESS_SETUP_HOOK_ENV_VAR] = f"{hook.__module__}.{hook.__name__}"
