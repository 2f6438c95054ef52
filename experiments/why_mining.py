"""What the mining T-CAS adds on a trained model: new regions, or only a floor under the old ones?

M(Cas) = max{M(A), M(B)}. Where B finds nothing, M(B) is near 0, and the maximum lifts M(A)'s
negative stretches to 0. To tell that apart from mining, this evaluates, without attention,

- the original T-CAS, and the same with its negative values set to 0;
- the cascaded T-CAS, and the same where B may only lift M(A) to 0, min{M(Cas), max{M(A), 0}};

and, for localization alone, the same with the true classes given from outside.

    python -m experiments.why_mining --data_dir=runs/watch --models=runs/t3/seed0,runs/t3/seed1
"""

import pathlib

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from cpmn_tf import inference
from cpmn_tf.data.annotations import load_annotations
from cpmn_tf.data.pipeline import Split
from cpmn_tf.evaluation import evaluate
from cpmn_tf.training import load_model

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Data set of cpmn-build-records.", required=True)
flags.DEFINE_list("models", None, "Model folders of the same settings.", required=True)
flags.DEFINE_string("split", "", "Split to evaluate on; the preset's test split if empty.")

VARIANTS = {
    "M(A)": lambda curves: curves[0],
    "max{M(A), 0}": lambda curves: tf.maximum(curves[0], 0.0),
    "M(Cas) = max{M(A), M(B)}": lambda curves: tf.reduce_max(tf.stack(curves), axis=0),
    "min{M(Cas), max{M(A), 0}}": lambda curves: tf.minimum(
        tf.reduce_max(tf.stack(curves), axis=0), tf.maximum(curves[0], 0.0)
    ),
}


def measure(model_dir: str) -> dict[str, tuple[float, float]]:
    """Average mAP of each variant: with the model's own classes, and with the true ones."""
    results = {}
    for name, combine in VARIANTS.items():
        model, card = load_model(model_dir, ["localization.attention=false"])
        model._combine = lambda curves, valid, combine=combine: combine(curves)
        split = Split.open(FLAGS.data_dir, FLAGS.split or card.config.data.test_split)
        truth = load_annotations(pathlib.Path(FLAGS.data_dir) / "annotations.json")
        truth = truth.subset(split.name)
        known = {
            video.id: np.array([float(label in video.labels) for label in card.classes], np.float32)
            for video in truth.videos.values()
        }
        pair = []
        for scores in (None, known):
            detections, _ = inference.detect_split(
                inference.compiled(model, scores is not None), split, class_scores=scores
            )
            pair.append(evaluate(truth, detections, protocol="activitynet").average_map)
        results[name] = tuple(pair)
    return results


def main(_) -> None:
    """Measures all models and prints their means."""
    logging.set_verbosity(logging.WARNING)
    found = [measure(folder) for folder in FLAGS.models]
    print("| T-CAS that is cut | own classes | true classes |\n| --- | --- | --- |")
    for name in VARIANTS:
        own, true = (np.array(column) for column in zip(*(f[name] for f in found), strict=True))
        cells = (
            f"{100 * values.mean():.1f} ({', '.join(f'{100 * value:.1f}' for value in values)})"
            for values in (own, true)
        )
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    app.run(main)
