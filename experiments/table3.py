"""Table 3: what each part of the method adds, from one training per seed.

The paper (THUMOS14, mAP at tIoU 0.5): original T-CAS 11.4, with mining T-CAS 14.5, with the
pyramidal attention map 16.1. Any data set of `cpmn-build-records` can be used:

    cpmn-build-records --source=watch --output_dir=runs/watch
    python -m experiments.table3 --preset=watch --data_dir=runs/watch --output_dir=runs/table3

A seed on `watch` takes about two minutes on 2 cores. A run that is killed goes on where it was;
trained models are not trained again. Writes `table3.json` and `table3.md`.
"""

import dataclasses
import pathlib
import statistics

from absl import app, flags, logging

from cpmn_tf import inference
from cpmn_tf.commands.train import ProgressBar
from cpmn_tf.config import PRESETS, TIOU, preset, with_overrides
from cpmn_tf.data.annotations import Annotations, Detections, load_annotations
from cpmn_tf.data.pipeline import Split
from cpmn_tf.data.thumos_files import digest
from cpmn_tf.evaluation import evaluate, parse_tiou
from cpmn_tf.files import write_json, write_text
from cpmn_tf.training import load_model, train
from cpmn_tf.training.loop import Runtime
from experiments.rows import TABLE3

FLAGS = flags.FLAGS
flags.DEFINE_enum("preset", "thumos14", list(PRESETS), "Settings to start from.")
flags.DEFINE_string("data_dir", None, "Data set of cpmn-build-records.", required=True)
flags.DEFINE_string("output_dir", None, "Folder for models and results.", required=True)
flags.DEFINE_string("split", "", "Split to evaluate on; the preset's test split if empty.")
flags.DEFINE_integer("seeds", 3, "Trainings, of seeds 0, 1, ...", lower_bound=1)
flags.DEFINE_enum("protocol", "activitynet", ["activitynet", "thumos14"], "Evaluation protocol.")
flags.DEFINE_multi_string("set", [], "Change one setting, as section.field=value.")


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of one seed; fractions.

    Attributes:
      row: name in ``TABLE3``.
      seed: of the training.
      map: mAP at each tIoU.
      average_map: their mean.
      top_class: share of the videos whose best-scored detection has one of the video's labels.
      detections: their number.
      protocol: by which it was evaluated.
      annotation_sha256: of the truth.
      videos, instances: of the split.
      videos_without_detections: of ``videos``.
    """

    row: str
    seed: int
    map: list[float]
    average_map: float
    top_class: float
    detections: int
    protocol: str
    annotation_sha256: str
    videos: int
    instances: int
    videos_without_detections: int


def top_class(truth: Annotations, detections: Detections) -> float:
    """Share of ``truth``'s videos whose best-scored detection has one of the video's labels."""
    best: dict[str, tuple[float, str]] = {}
    for video, label, score in zip(
        detections.video, detections.label, detections.score, strict=True
    ):
        name = detections.videos[video]
        found = (score, detections.classes[label])
        if name not in best or found[0] > best[name][0]:
            best[name] = found
    right = sum(name in best and best[name][1] in v.labels for name, v in truth.videos.items())
    return right / len(truth.videos)


def run_seed(seed: int, out: pathlib.Path) -> list[Result]:
    """Trains one seed and evaluates its rows."""
    config = with_overrides(preset(FLAGS.preset), FLAGS.set)
    model_dir = out / f"seed{seed}"
    bar = ProgressBar()
    train(
        data_dir=FLAGS.data_dir,
        model_dir=model_dir,
        config=config,
        runtime=Runtime(seed=seed, progress=bar.update),
        report=bar.report,
    )
    bar.end()
    split = Split.open(FLAGS.data_dir, FLAGS.split or config.data.test_split)
    annotations = pathlib.Path(FLAGS.data_dir) / "annotations.json"
    truth = load_annotations(annotations).subset(split.name)
    results = []
    for row, settings in TABLE3.items():
        model, _ = load_model(model_dir, list(settings))
        detections, _ = inference.detect_split(inference.compiled(model), split)
        judged = evaluate(
            truth, detections, protocol=FLAGS.protocol, tiou=parse_tiou(TIOU[FLAGS.preset])
        )
        results.append(
            Result(
                row=row,
                seed=seed,
                map=judged.map.tolist(),
                average_map=judged.average_map,
                top_class=top_class(truth, detections),
                detections=len(detections),
                protocol=judged.protocol,
                annotation_sha256=digest(annotations),
                videos=judged.counts.videos,
                instances=judged.counts.instances,
                videos_without_detections=judged.counts.videos_without_detections,
            )
        )
    return results


def spread(values: list[float]) -> str:
    """Mean ± sample standard deviation, in per cent."""
    mean = 100 * statistics.mean(values)
    return f"{mean:.1f}" + (f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "")


def table(results: list[Result], tiou: tuple[float, ...]) -> str:
    """The rows as Markdown, under what they were evaluated by."""
    first = results[0]
    lines = [
        f"mAP in %, protocol `{first.protocol}`: {first.videos} videos, {first.instances} "
        f"instances; annotations SHA-256 {first.annotation_sha256}",
        "",
        "| row | "
        + " | ".join(f"{t:g}" for t in tiou)
        + " | average | top class | detections | videos without |",
        "| --- |" + " --- |" * (len(tiou) + 4),
    ]
    for row in TABLE3:
        mine = [result for result in results if result.row == row]
        cells = [
            f"{100 * statistics.mean(column):.1f}"
            for column in zip(*(r.map for r in mine), strict=True)
        ]
        cells.append(spread([result.average_map for result in mine]))
        cells.append(spread([result.top_class for result in mine]))
        cells.append(f"{statistics.mean(result.detections for result in mine):.0f}")
        cells.append(f"{statistics.mean(r.videos_without_detections for r in mine):.1f}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(_) -> None:
    """Runs all seeds."""
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every checkpoint otherwise
    out = pathlib.Path(FLAGS.output_dir)
    results = []
    for seed in range(FLAGS.seeds):
        results += run_seed(seed, out)
        shown = table(results, parse_tiou(TIOU[FLAGS.preset]))
        write_json(out / "table3.json", [dataclasses.asdict(result) for result in results])
        write_text(out / "table3.md", shown)
        print(
            f"\n{len(results) // len(TABLE3)} of {FLAGS.seeds} seeds\n\n{shown}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
