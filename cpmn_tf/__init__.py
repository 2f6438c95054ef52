"""Weakly supervised temporal action localization with the Cascaded Pyramid Mining Network.

    import cpmn_tf

    cpmn_tf.train(data_dir="records", model_dir="model", preset="thumos14")
    model = cpmn_tf.load_model("model")
    detections = cpmn_tf.localize(model, "records", split="testing")
    truth = cpmn_tf.load_annotations("records/annotations.json").subset("testing")
    print(cpmn_tf.evaluate(truth, detections, protocol="thumos14"))

Names are loaded when they are first used: neither importing nor evaluating loads TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpmn_tf.errors import UserError
    from cpmn_tf.evaluation import evaluate
    from cpmn_tf.formats.annotations import load_annotations
    from cpmn_tf.inference import localize
    from cpmn_tf.training.model_folder import load_model
    from cpmn_tf.training.train_model import train

__version__ = "0.1.0"
__all__ = ["UserError", "evaluate", "load_annotations", "load_model", "localize", "train"]

_HOMES = {
    "UserError": "cpmn_tf.errors",
    "evaluate": "cpmn_tf.evaluation",
    "load_annotations": "cpmn_tf.formats.annotations",
    "load_model": "cpmn_tf.training.model_folder",
    "localize": "cpmn_tf.inference",
    "train": "cpmn_tf.training.train_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
