"""Exports a trained model as a SavedModel with the post-processing inside the graph.

Example:

  cpmn-export --model_dir=runs/model --export_dir=runs/export

writes runs/export/1 (then 2, ...), as TensorFlow Serving reads it. It loads without this package:

  model = tf.saved_model.load("runs/export/1")
  found = model.signatures["detect"](rgb=..., flow=..., lengths=..., rates=..., durations=...)
"""

import functools
import sys

from cpmn_tf.commands import cli
from cpmn_tf.config import parse_settings


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-export`."""
    values.string("model_dir", "Folder of cpmn-train.")
    values.string("export_dir", "Folder for the numbered versions.")
    values.repeated("set", "Change a setting that acts after training; may be repeated.")


def run(values: cli.Flags) -> None:
    """Exports."""
    cli.require(values, "model_dir", "export_dir")
    cli.load_tensorflow()

    from cpmn_tf.serving.saved_model import export
    from cpmn_tf.training.model_folder import load_model

    model = load_model(values.model_dir, parse_settings(values.set))
    version = export(model, values.export_dir)
    print(f"SavedModel: {version} (signatures detect, detect_with_class_scores, score)")


main = functools.partial(cli.execute, "cpmn-export", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())
