"""SavedModel export, what reads it back, and what serves it.

`Client` is loaded when it is first used.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from cpmn_tf.errors import UserError

if TYPE_CHECKING:
    from cpmn_tf.serving.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("cpmn_tf.serving.client").Client


def require_serving() -> None:
    """Checks that the extra is installed, before a module that imports it is imported.

    Raises:
      UserError: naming what is not.
    """
    for package, module in (("Ray", "ray"), ("tensorflow-serving-api", "tensorflow_serving")):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{package} is not installed; run: pip install 'cpmn-tf[serving]'")
