"""What features depend on: ``encoder.json``, which a data set and a model keep.

`cpmn-encode` writes it beside the features, building puts it into the manifest, training into
``model.json``. Imports neither PyAV nor OpenCV.
"""

import os
from collections.abc import Mapping
from typing import Any

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_own_json

FILE = "encoder.json"
METHODS = ("dis", "tvl1")  # of optical flow
CROPS = (1, 10)  # the centre; or corners, centre and their mirror images, averaged
# What is told of a description but makes no difference worth a refusal.
VERSIONS = ("cpmn_tf", "opencv")
_SETTINGS = {"unit_frames": int, "fps": int | float | None, "crops": int, "flow": dict | None}


def load_description(path: str | os.PathLike) -> dict[str, Any]:
    """Reads and checks an ``encoder.json``.

    Raises:
      UserError: if it is missing, or not what `cpmn-encode` writes.
    """
    value = read_own_json(path)
    if not is_description(value):
        raise UserError(f"{path}: does not say how features were made; encode the videos anew")
    return value


def is_description(value: Any) -> bool:
    """Whether a value has the parts that reading one needs, of their types."""
    if not isinstance(value, Mapping) or not isinstance(value.get("streams"), Mapping):
        return False
    streams = value["streams"].values()
    return all(isinstance(stream, Mapping) for stream in streams) and all(
        name in value and isinstance(value[name], kind) for name, kind in _SETTINGS.items()
    )


def first_difference(known: Any, given: Any, field: str = "") -> str | None:
    """The first field in which two descriptions differ: "FIELD=KNOWN, not GIVEN", or None."""
    if isinstance(known, Mapping) and isinstance(given, Mapping):
        for name in [*known, *(given.keys() - known.keys())]:
            if not field and name in VERSIONS:
                continue
            inner = f"{field}.{name}" if field else name
            if found := first_difference(known.get(name), given.get(name), inner):
                return found
        return None
    if isinstance(given, tuple):  # a list in JSON
        given = list(given)
    return None if known == given else f"{field}={known!r}, not {given!r}"
