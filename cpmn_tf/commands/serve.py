"""Serves an exported model by TensorFlow Serving's protocol, with a page to try it on.

Example:

  cpmn-serve --model_base_path=runs/export

answers gRPC on port 8500 and REST on 8501 of this machine alone, as TensorFlow Serving does, and
http://127.0.0.1:8501 is the page. A line on standard output says when it has started. A version
that cpmn-export adds meanwhile is loaded beside the old one, checked, and then served. SIGTERM or
Ctrl-C ends it when what is in work is answered.

Other machines reach it by --host=0.0.0.0 --token_file=FILE: their requests bring the header (gRPC:
the metadata) "Authorization: Bearer TOKEN". REST and the page become HTTPS by --ssl_certfile and
--ssl_keyfile, gRPC behind a reverse proxy. docs/serving.md has one, all answers and all limits.

Needs the extra [serving]: pip install 'cpmn-tf[serving]'.
"""

import dataclasses
import functools
import ipaddress
import pathlib
import sys
from typing import Any

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.commands.encode import parse_weights
from cpmn_tf.encoding import require_video
from cpmn_tf.errors import UserError
from cpmn_tf.serving import require_serving
from cpmn_tf.serving.protocol import Limits
from cpmn_tf.serving.settings import ServerSettings

LIMITS = {
    "request_bytes": "Most bytes of a request.",
    "videos": "Most videos of a request.",
    "video_units": "Most units of a video, T.",
    "request_units": "Most units of a request: its videos times the units of the longest.",
}


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-serve`."""
    values.string(
        "model_base_path", "The --export_dir of cpmn-export, with its numbered versions. Required."
    )
    values.string("model_name", "What clients call the model.", default="cpmn")
    values.integer("port", "Port of gRPC.", default=8500, least=1)
    values.integer("rest_api_port", "Port of REST and of the page.", default=8501, least=1)
    values.integer(
        "metrics_port",
        "Port of Prometheus's metrics, of this machine alone; --address has the cluster's own.",
        default=8502,
        least=1,
    )
    values.string(
        "host",
        "Address to listen on, 0.0.0.0 for all. Any other than this machine's own needs "
        "--token_file or --without_token.",
        default="127.0.0.1",
    )
    values.string("token_file", "File that holds the token which every request must bring.")
    values.boolean("without_token", "Let everyone who reaches --host use the model.")
    values.boolean(
        "encode_videos",
        "Take video files on the page, by the encoder of the model's training videos (extra "
        "[video]).",
    )
    values.string(
        "encoder", "For --encode_videos, where the encoder is a file: that file, as of cpmn-encode."
    )
    values.string(
        "weights", "For --encode_videos, where its weights are files: these, as of cpmn-encode."
    )
    values.string("ssl_certfile", "Certificate, for HTTPS on --rest_api_port.")
    values.string("ssl_keyfile", "Key of --ssl_certfile.")
    values.string("address", "Address of a Ray cluster to run in; this machine alone if not given.")
    values.integer("replicas", "Copies of the model at work, at least.", default=1, least=1)
    values.integer(
        "max_replicas",
        "Copies of the model at work under load; always --replicas if 0.",
        default=0,
        least=0,
    )
    values.integer(
        "in_flight",
        "Requests that a replica has at a time, in its batch or waiting for the next; more are "
        "refused.",
        default=32,
        least=1,
    )
    values.integer(
        "batch_videos", "Videos that a replica runs together, at most.", default=16, least=1
    )
    values.integer("timeout", "Seconds of a request, waiting included.", default=60, least=1)
    for name, what in LIMITS.items():
        values.integer(f"max_{name}", what, default=getattr(Limits(), name), least=1)


def run(values: cli.Flags) -> None:
    """Serves until it is told to stop."""
    cli.require(values, "model_base_path")
    require_serving()
    if values.encode_videos:
        require_video()
    if bool(values.ssl_certfile) != bool(values.ssl_keyfile):
        raise flags.ValidationError("give both --ssl_certfile and --ssl_keyfile, or neither")

    from cpmn_tf.serving.server import run as serve

    given: dict[str, Any] = {
        field.name: values[field.name].value
        for field in dataclasses.fields(ServerSettings)
        if field.name in values and values[field.name].value is not None
    }
    given["weights"] = parse_weights(values.weights)
    limits: dict[str, int] = {name: values[f"max_{name}"].value or 0 for name in LIMITS}
    settings = ServerSettings(token=_token(values), limits=Limits(**limits), **given)
    where = f"{settings.host}:{settings.port} (gRPC), {settings.host}:{settings.rest_api_port}"
    serve(settings, lambda: print(f"serving {settings.model_name} on {where} (REST)", flush=True))


def _token(values: cli.Flags) -> str:
    if values.token_file:
        try:
            token = pathlib.Path(values.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{values.token_file}: cannot be read ({error}); give a file with a line of ASCII"
            ) from None
        if not token.isascii() or not token.isprintable() or not token:
            raise UserError(f"{values.token_file}: holds no token; write one line of ASCII")
        return token
    if not values.without_token and (values.address or not _is_loopback(values.host)):
        where = f"--address={values.address}" if values.address else f"--host={values.host}"
        raise UserError(f"{where}: others can reach it; give --token_file, or --without_token")
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


main = functools.partial(cli.execute, "cpmn-serve", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())
