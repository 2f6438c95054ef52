"""Ray, the engine of what runs in many processes: one of this machine alone, or a cluster's.

Comes with the extras ``[cluster]`` and ``[serving]``, and is imported here when it is started.
"""

import logging
import os
from typing import Any

from cpmn_tf.errors import UserError

LOGS = "its logs are in /tmp/ray/session_latest/logs"


def environment(address: str) -> None:
    """Sets what Ray reads when it is imported, and its processes when they start.

    Args:
      address: of a cluster; of none if empty.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:
        # Ray's own ports are on the node's address, which is loopback where there is no cluster.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def start(address: str, **local: Any) -> None:
    """Starts a Ray of this machine alone, without its dashboard, or joins a cluster.

    Args:
      address: of the cluster; this machine alone if empty.
      local: what else `ray.init` is told in the latter case.

    Raises:
      UserError: if the extra is missing, or Ray does not start.
    """
    environment(address)
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed; run: pip install 'cpmn-tf[cluster]'") from error
    given: dict[str, Any] = {"address": address}
    if not address:  # by default Ray would join one that the environment names
        given = {"address": "local", "include_dashboard": False, **local}
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=True, **given)
    except Exception as error:  # Ray's own, of many kinds
        line = str(error).strip().splitlines()[0]
        raise UserError(f"the engine did not start ({line}); {LOGS}") from error
