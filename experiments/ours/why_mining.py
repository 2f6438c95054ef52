"""What the mining T-CAS adds on a trained model: new regions, or only a floor under the old ones?

M(Cas) = max{M(A), M(B)}. Where B finds nothing, M(B) is near 0, and the maximum lifts M(A)'s
negative stretches to 0. To tell that apart from mining, this evaluates, without attention,

- the original T-CAS, and the same with its negative values set to 0;
- the cascaded T-CAS, and the same where B may only lift M(A) to 0, min{M(Cas), max{M(A), 0}};

and the maximum of two classifiers that were trained without erasing, or with random erasing: what a
second classifier adds by itself. All of it once with the model's own classes, and once, for
localization alone, with exactly the true classes of each video given from outside.

    python -m experiments.run why_mining --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results/watch --seeds=5

Uses the models of Table 3, and trains them if need be. Writes why_mining.md.
"""

import numpy as np
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.evaluation import evaluate
from cpmn_tf.files import write_text
from cpmn_tf.models import fusion
from cpmn_tf.models.cpmn import Combine
from cpmn_tf.training import load_model
from experiments.harness.lab import Lab, define_seeds
from experiments.harness.report import difference, heading, markdown, spread
from experiments.harness.study import Variant

define_flags = define_seeds

# What the models are trained with beside the flags' settings, and what is cut.
VARIANTS: dict[str, tuple[tuple[str, ...], Combine]] = {
    "M(A)": ((), lambda curves, valid: curves[0]),
    "max{M(A), 0}": ((), lambda curves, valid: tf.maximum(curves[0], 0.0)),
    "M(Cas) = max{M(A), M(B)}": ((), fusion.cascaded_tcas),
    "min{M(Cas), max{M(A), 0}}": (
        (),
        lambda curves, valid: tf.minimum(
            fusion.cascaded_tcas(curves, valid), tf.maximum(curves[0], 0.0)
        ),
    ),
    "max{M(A), M(B)}, no erasing": (("cascade.erasing=none",), fusion.cascaded_tcas),
    "max{M(A), M(B)}, random erasing": (("cascade.erasing=random",), fusion.cascaded_tcas),
}
# Given as scores of 0 and 1, these are the selected classes, however many a video has.
TRUE_CLASSES = {"localization.selection": "score", "localization.class_threshold": 1.0}


def measure(lab: Lab, seed: int) -> dict[str, tuple[float, float]]:
    """Average mAP of each variant: with the model's own classes, and with the true ones."""
    results = {}
    for name, (settings, combine) in VARIANTS.items():
        folder, _ = lab.trained(Variant(name, settings), seed)
        pair = []
        for chosen in ({}, TRUE_CLASSES):
            model = load_model(folder, {"localization.attention": False, **chosen})
            classes = model.manifest.classes
            known = {
                video.id: np.isin(classes, video.labels).astype(np.float32)
                for video in lab.truth.videos.values()
            }
            scores = known if chosen else None
            detect = inference.compiled(model, bool(chosen), combine)
            videos = inference.batches(lab.split)
            detections, _ = inference.detect_batches(detect, videos, classes, scores)
            pair.append(evaluate(lab.truth, detections, protocol="activitynet").average_map)
        results[name] = tuple(pair)
    return results


def table(found: list[dict[str, tuple[float, float]]]) -> str:
    """Means over the models in Markdown, with the differences to the first variant."""
    heads = ["own classes ± s.d.", "Δ ± s.e.", "true classes ± s.d.", "Δ ± s.e."]
    rows = [["T-CAS that is cut", *heads]]
    for name in VARIANTS:
        rows.append([name])
        for kind in (0, 1):
            ours, first = ([f[key][kind] for f in found] for key in (name, "M(A)"))
            rows[-1] += [spread(ours), "" if name == "M(A)" else difference(ours, first)]
    return markdown(rows)


def run(lab: Lab) -> None:
    """Measures the models of all seeds and writes their means."""
    found = [measure(lab, seed) for seed in range(lab.flags.seeds)]
    facts = {"title": "What the mining T-CAS adds", **lab.describe(), "seeds": lab.flags.seeds}
    text = f"{heading(facts)} Averages over tIoU, protocol activitynet.\n\n{table(found)}"
    write_text(lab.output / "why_mining.md", text)
    print(text)
