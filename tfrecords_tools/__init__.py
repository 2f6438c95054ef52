"""Builds, validates and inspects records of features and annotations.

    import tfrecords_tools

    data = {"features_dir": "features", "annotations": "labels.json", "unit_frames": 16}
    print(tfrecords_tools.validate_records(source="folders", **data))
    print(tfrecords_tools.build_records(source="folders", **data, output_dir="records"))

Names are loaded when they are first used, so that importing the package loads no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrecords_tools.building import build_part, build_records
    from tfrecords_tools.validation import validate_records

__all__ = ["build_part", "build_records", "validate_records"]

_HOMES = {"build_part": "building", "build_records": "building", "validate_records": "validation"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
