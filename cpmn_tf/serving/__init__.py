"""SavedModel export, what reads it back, and what serves it.

`Client` is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpmn_tf.serving.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("cpmn_tf.serving.client").Client
