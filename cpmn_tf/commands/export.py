"""Exports a trained model as a SavedModel with the post-processing inside the graph.

Example:

  cpmn-export --model_dir=runs/model --export_dir=runs/export --check

writes runs/export/1 (then 2, ...), as TensorFlow Serving reads it. It loads without this package:

  model = tf.saved_model.load("runs/export/1")
  found = model.signatures["detect"](rgb=..., flow=..., lengths=..., rates=..., durations=...)

--example_data=DIR --example=ID puts a video of a data set into it, for people to try a server with.
--format=onnx writes runs/export/score.onnx instead: class scores and curves, without detections.
"""

import functools
import sys

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.config import parse_settings


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-export`."""
    values.string("model_dir", "Folder of cpmn-train.")
    values.string("export_dir", "Folder for the numbered versions.")
    values.choice(
        "format",
        ["saved_model", "onnx"],
        "What to write: a SavedModel, or its signature score as ONNX (pip install '.[onnx]').",
        default="saved_model",
    )
    values.boolean(
        "check",
        "Load what was written in a process without this package, and compare its detections with "
        "the model's; what differs is an error, and does not become a version.",
    )
    values.string("example", "Id of a video to put into the export, and to check it with.")
    values.string("example_data", "Data set that holds the example.")
    values.repeated("set", "Change a setting that acts after training; may be repeated.")


def run(values: cli.Flags) -> None:
    """Exports."""
    cli.require(values, "model_dir", "export_dir")
    if values.example or values.example_data:
        cli.require(values, "example", "example_data")
    if values.format == "onnx" and (values.check or values.example):
        raise flags.ValidationError(
            "--format=onnx takes neither --check (it is always compared) nor --example"
        )
    cli.load_tensorflow()

    from cpmn_tf.serving import videos
    from cpmn_tf.serving.saved_model import export
    from cpmn_tf.training.model_folder import load_model

    model = load_model(values.model_dir, parse_settings(values.set))
    if values.format == "onnx":
        from cpmn_tf.serving.onnx import TOLERANCE, export_onnx

        path = export_onnx(model, values.export_dir)
        print(f"ONNX: {path} (score, within {TOLERANCE:g} of TensorFlow)")
        return
    example = None
    if values.example:
        example = videos.of_data_set(values.example_data, values.example, model.manifest)
    version = export(model, values.export_dir, example=example, check=values.check, report=print)
    print(f"SavedModel: {version} (signatures detect, detect_with_class_scores, serialized, score)")


main = functools.partial(cli.execute, "cpmn-export", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())
