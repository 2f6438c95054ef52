"""What the paper's tables and figures share: variants, trained over seeds, judged, written down.

A variant is a list of settings. Each is trained once per seed (:mod:`experiments.harness.bank` sees
to it that two variants share what they can), localized and judged by both protocols; a result once
computed is kept. A run that is killed goes on where it was, and the same command gives the same
numbers.
"""

import dataclasses
import pathlib
from typing import Any

from absl import flags, logging

from cpmn_tf import inference
from cpmn_tf.commands import cli
from cpmn_tf.commands.train import ProgressBar
from cpmn_tf.config import PRESETS, TIOU, preset, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.evaluation import evaluate, parse_tiou
from cpmn_tf.files import read_json, write_json
from cpmn_tf.formats.annotations import Annotations, Detections, load_annotations
from cpmn_tf.formats.thumos_text import digest as file_digest
from cpmn_tf.training import load_model
from experiments.harness.bank import Bank, apart, digest

PROTOCOLS = ("activitynet", "thumos14")


def define_flags(values: flags.FlagValues) -> None:
    """Flags of every experiment that trains."""
    flags.DEFINE_enum(
        "preset", "thumos14", list(PRESETS), "Settings to start from.", flag_values=values
    )
    cli.define_string(values, "data_dir", None, "Data set of cpmn-build-records.")
    cli.define_string(
        values,
        "output_dir",
        None,
        "Folder for trained models and results; experiments that name the same one share them.",
    )
    cli.define_string(values, "split", "", "Split to evaluate on; the preset's by default.")
    flags.DEFINE_integer(
        "seeds", 3, "Trainings, of seeds 0, 1, ...", lower_bound=1, flag_values=values
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "As of cpmn-train.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "set", [], "Change one setting, as section.field=value.", flag_values=values
    )


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of a table or line of a figure.

    Attributes:
      name: as it is shown.
      settings: ``section.field=value`` on top of the preset and ``--set``.
    """

    name: str
    settings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Result:
    """One variant of one seed; fractions.

    Attributes:
      variant: its name.
      seed: of the training.
      tiou: thresholds.
      map: by protocol, mAP at each tIoU.
      top_class: share of the videos whose best-scored detection has one of the video's labels.
      detections: their number.
      videos_without_detections: videos of the split that no detection is in.
      model: name of the model's folder in the bank.
    """

    variant: str
    seed: int
    tiou: list[float]
    map: dict[str, list[float]]
    top_class: float
    detections: int
    videos_without_detections: int
    model: str

    def average(self, protocol: str) -> float:
        """Mean of the mAP over tIoU."""
        return sum(self.map[protocol]) / len(self.tiou)


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


class Study:
    """The data, the models and the results that the flags name.

    Args:
      values: the flags of :func:`define_flags`.

    Raises:
      UserError: if the data cannot be read or a setting is wrong.
    """

    def __init__(self, values: flags.FlagValues):
        cli.require(values, "data_dir", "output_dir")
        logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every checkpoint otherwise
        self._flags = values
        self.output = pathlib.Path(values.output_dir)
        self.config = with_overrides(preset(values.preset), values.set)
        self._bar = ProgressBar()
        self.bank = Bank(
            self.output,
            values.data_dir,
            self.config,
            precision=values.precision,
            progress=self._bar.update,
            report=self._bar.report,
        )
        self.split = Split.open(values.data_dir, values.split or self.config.data.test_split)
        self.annotations = pathlib.Path(values.data_dir) / "annotations.json"
        self.truth = load_annotations(self.annotations).subset(self.split.name)

    def changes(self, setting: str) -> bool:
        """Whether a ``section.field=value`` differs from what the flags say already."""
        return with_overrides(self.config, [setting]) != self.config

    def model_of(self, variant: Variant, seed: int) -> tuple[pathlib.Path, list[str]]:
        """The folder of the variant's model, trained now if need be, and its late settings."""
        early, late = apart(list(variant.settings))
        folder = self.bank.trained(early, seed)
        self._bar.end()
        return folder, late

    def results(self, variants: list[Variant]) -> list[Result]:
        """All variants over all seeds, one after another; each is kept as soon as it is there."""
        found = []
        for seed in range(self._flags.seeds):
            for variant in variants:
                print(f"{variant.name}, seed {seed}", flush=True)
                found.append(self._result(variant, seed))
        return found

    def _result(self, variant: Variant, seed: int) -> Result:
        folder, late = self.model_of(variant, seed)
        judged = {
            "model": folder.name,
            "late": sorted(late),
            "form": 2,  # of what is kept; another number has it judged anew
            "records": self.split.manifest.fingerprint(self.split.name),
        }
        path = self.output / "results" / f"{digest(judged)}.json"
        if not path.is_file():
            write_json(path, self._judge(folder, late))
        return Result(variant.name, seed, model=folder.name, **read_json(path))

    def _judge(self, folder: pathlib.Path, late: list[str]) -> dict[str, Any]:
        model, _ = load_model(folder, late)
        detections, _ = inference.detect_split(inference.compiled(model), self.split)
        tiou = parse_tiou(TIOU[self._flags.preset])
        judged = {
            name: evaluate(self.truth, detections, protocol=name, tiou=tiou) for name in PROTOCOLS
        }
        counts = judged[PROTOCOLS[0]].counts
        return {
            "tiou": list(tiou),
            "map": {name: result.map.tolist() for name, result in judged.items()},
            "top_class": top_class(self.truth, detections),
            "detections": len(detections),
            "videos_without_detections": counts.videos_without_detections,
        }

    def describe(self) -> dict[str, Any]:
        """What was run, as plain values."""
        source = self.split.manifest.source
        return {
            "data": source.get("description", str(self._flags.data_dir)),
            "simulated": self.split.manifest.simulated,
            "split": self.split.name,
            "videos": len(self.truth.videos),
            "instances": sum(len(video.instances) for video in self.truth.videos.values()),
            "annotations": str(self.annotations),
            "annotation_sha256": file_digest(self.annotations),
            "preset": self._flags.preset,
            "set": list(self._flags.set),
            "precision": self._flags.precision,
            "seeds": self._flags.seeds,
        }
