"""What the model server is told; each field is a flag of `cpmn-serve`."""

import dataclasses
from collections.abc import Mapping

from cpmn_tf.serving.protocol import Limits


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """What is served, where, to whom and how much of it.

    Attributes:
      model_base_path: folder of the numbered versions that `cpmn-export` writes.
      model_name: by which clients name the model.
      host: that both ports listen on.
      port: of gRPC.
      rest_api_port: of HTTP: TensorFlow Serving's REST, the page, health.
      metrics_port: of Prometheus's metrics.
      token: that every request must bring; none if empty.
      address: of a Ray cluster; a Ray of its own, on this machine, if empty.
      replicas: at least so many, each with the model in memory.
      max_replicas: at most so many, by load; ``replicas`` if 0.
      in_flight: requests of a replica, in its batch or waiting for the next; more are refused.
      batch_videos: of a batch of the graph, at most.
      timeout: seconds of a request, the wait included.
      encode_videos: whether the page takes video files.
      encoder, weights: of them, as of `cpmn-encode`, where the model does not know its files.
      ssl_certfile, ssl_keyfile: of HTTPS.
      limits: of one request.
    """

    model_base_path: str
    model_name: str = "cpmn"
    host: str = "127.0.0.1"
    port: int = 8500
    rest_api_port: int = 8501
    metrics_port: int = 8502
    token: str = ""
    address: str = ""
    replicas: int = 1
    max_replicas: int = 0
    in_flight: int = 32
    batch_videos: int = 16
    timeout: float = 60.0
    encode_videos: bool = False
    encoder: str = ""
    weights: str | Mapping[str, str] | None = None
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    limits: Limits = dataclasses.field(default_factory=Limits)
