"""Exports a trained model as a SavedModel with the post-processing inside the graph.

Example:

  cpmn-export --model_dir=runs/model --export_dir=runs/export

writes runs/export/1 (then 2, ...), as TensorFlow Serving reads it. It loads without this package:

  model = tf.saved_model.load("runs/export/1")
  found = model.signatures["detect"](rgb=..., flow=..., lengths=..., rates=..., durations=...)
"""

import sys

from absl import flags

from cpmn_tf.commands import cli


def define_flags(values: flags.FlagValues) -> None:
    """Flags of `cpmn-export`."""
    cli.define_string(values, "model_dir", None, "Folder of cpmn-train.")
    cli.define_string(values, "export_dir", None, "Folder for the numbered versions.")
    flags.DEFINE_multi_string(
        "set",
        [],
        "Change a setting that acts after training; may be repeated.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Exports."""
    cli.require(values, "model_dir", "export_dir")
    cli.load_tensorflow()

    from cpmn_tf.serving.saved_model import export
    from cpmn_tf.training.model_folder import load_model

    model, card = load_model(values.model_dir, values.set)
    version = export(model, card, values.export_dir)
    print(f"SavedModel: {version} (signatures detect, detect_with_class_scores, score)")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.execute("cpmn-export", __doc__, define_flags, run, argv)


def console() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    console()
