"""Where studies are run: a data set, models trained over seeds, and results that are kept.

Each variant is trained once per seed (:mod:`experiments.harness.bank` sees to it that two variants
share what they can), localized and judged by both protocols; a result once computed is kept. A run
that is killed goes on where it was, and the same command gives the same numbers. Where its table is
in the output folder already, wherever that was made, it trains only what the table lacks.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging

from cpmn_tf.commands import cli
from cpmn_tf.config import PRESETS, TIOU, Config, parse_settings, preset, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import evaluate, parse_tiou
from cpmn_tf.files import file_sha256, read_json, write_json
from cpmn_tf.formats.annotations import Annotations, load_annotations
from cpmn_tf.formats.detections import Detections
from cpmn_tf.inference import localize
from cpmn_tf.training import load_model
from cpmn_tf.training.model_folder import INFERENCE_SETTINGS
from cpmn_tf.training.resolve import resolve
from experiments.harness import report
from experiments.harness.bank import differing, digest, minutes, train_once
from experiments.harness.study import PROTOCOLS, Result, Study, Variant


def define_flags(module: ModuleType, values: cli.Flags) -> None:
    """Flags of every experiment, and the module's own; only what trains over seeds has --seeds."""
    values.choice("preset", PRESETS, "Settings to start from.", default="thumos14")
    values.string("data_dir", "Data set of cpmn-build-records.")
    values.string("output_dir", "Folder of models and results; experiments may share one.")
    values.string("split", "Split to evaluate on; the preset's by default.")
    precisions = ["float32", "mixed_float16", "mixed_bfloat16"]
    values.choice("precision", precisions, "As of cpmn-train.", default="float32")
    values.repeated("set", "Change one setting, as section.field=value.")
    if hasattr(module, "STUDY"):
        define_seeds(values)
    if hasattr(module, "define_flags"):
        module.define_flags(values)


def define_seeds(values: cli.Flags) -> None:
    """The flag of experiments that train more than once."""
    values.integer("seeds", "Trainings, of seeds 0, 1, ...", default=3, least=1)


def by_phase(settings: Sequence[str]) -> tuple[list[str], list[str]]:
    """``section.field=value`` that act in training, and those that act at inference only."""
    inference_only = [s for s in settings if s.partition("=")[0].strip() in INFERENCE_SETTINGS]
    return [s for s in settings if s not in inference_only], inference_only


def top_class(truth: Annotations, detections: Detections) -> float:
    """Share of ``truth``'s videos whose best-scored detection has one of the video's labels."""
    best: dict[str, str] = {}
    for row in np.argsort(-detections.score, kind="stable"):
        label = detections.classes[detections.label[row]]
        best.setdefault(detections.videos[detections.video[row]], label)
    right = sum(best.get(name) in video.labels for name, video in truth.videos.items())
    return right / len(truth.videos)


class Lab:
    """The data, the models and the results that the flags name.

    Args:
      values: the flags of every experiment.

    Raises:
      UserError: if the data cannot be read or a setting is wrong.
    """

    def __init__(self, values: cli.Flags):
        cli.require(values, "data_dir", "output_dir")
        logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every checkpoint otherwise
        self.flags = values
        self.output = pathlib.Path(values.output_dir)
        self.config = with_overrides(preset(values.preset), values.set)
        self.split = Split.open(values.data_dir, values.split or self.config.data.test_split)
        self.tiou = parse_tiou(TIOU[values.preset])
        self._annotations = pathlib.Path(values.data_dir) / "annotations.json"
        self.truth = load_annotations(self._annotations).subset(self.split.name)

    def distinct(self, variants: Sequence[Variant]) -> list[Variant]:
        """The variants without those that have the settings of an earlier one."""
        first: dict[Any, Variant] = {}
        for variant in variants:
            first.setdefault((self.configured(variant), variant.train), variant)
        return list(first.values())

    def base(self, variant: Variant) -> Config:
        """What the variant's settings are on top of."""
        if variant.base is None:
            return self.config
        splits = {name: getattr(self.config.data, name) for name in ("train_split", "test_split")}
        data = dataclasses.replace(variant.base.data, **splits)
        return dataclasses.replace(variant.base, data=data)

    def configured(self, variant: Variant) -> Config:
        """All of the variant's settings."""
        return with_overrides(self.base(variant), variant.settings)

    def resolved(self, variant: Variant) -> Config:
        """The same, with what the training videos decide filled in."""
        training = self.training
        return resolve(self.configured(variant), training.lengths, training.manifest.rate)

    def trained(self, variant: Variant, seed: int) -> tuple[pathlib.Path, list[str]]:
        """The folder of the variant's model, trained now if need be, and its inference settings."""
        training, inference_only = by_phase(variant.settings)
        config = with_overrides(self.base(variant), training)
        data_dir, precision = self.flags.data_dir, self.flags.precision
        train = variant.train or train_once
        folder = train(self.output, data_dir, config, seed=seed, precision=precision)
        return folder, inference_only

    def results(self, variants: Sequence[Variant], path: pathlib.Path) -> list[Result]:
        """All variants over all seeds, one after another; each is kept as soon as it is there.

        Args:
          variants: the rows.
          path: of the table that will be written, without its ending. Results that it holds from
            a run before, on this machine or another, are taken over.
        """
        table = path.with_suffix(".json")
        kept = read_json(table)["results"] if table.is_file() else []
        known = {result["key"]: result for result in kept if result.get("key")}
        found = []
        for seed in range(self.flags.seeds):
            for variant in variants:
                print(f"{variant.name}, seed {seed}", flush=True)
                found.append(self._result(variant, seed, known))
        return found

    def _result(self, variant: Variant, seed: int, known: dict[str, dict[str, Any]]) -> Result:
        key = self._key(variant, seed)
        if key in known:
            return Result(**{**known[key], "variant": variant.name})
        path = self.output / "results" / f"{key}.json"
        if not path.is_file():
            folder, settings = self.trained(variant, seed)
            model = load_model(folder, parse_settings(settings))
            judged = self.judge(localize(model, self.split))
            write_json(path, judged | {"model": folder.name, "minutes": minutes(folder)})
        return Result(variant.name, seed, key=key, **read_json(path))

    def _key(self, variant: Variant, seed: int) -> str:
        """What a result depends on: settings, how it is trained, both splits' records."""
        splits, settings = (self.training, self.split), differing(self.resolved(variant))
        judged = {
            "settings": {k: v for k, v in settings.items() if k != "preset"},
            "train": variant.train.__module__ if variant.train else "",
            "seed": seed,
            "precision": self.flags.precision,
            "records": [split.manifest.fingerprint(split.name) for split in splits],
            "form": 3,  # of what is kept; another number has it judged anew
        }
        return digest(judged)

    @functools.cached_property
    def training(self) -> Split:
        """The videos that models are trained on."""
        return Split.open(self.flags.data_dir, self.config.data.train_split)

    def judge(self, detections: Detections) -> dict[str, Any]:
        """mAP by both protocols and what else a :class:`Result` holds of its detections."""
        judged = {
            name: evaluate(self.truth, detections, protocol=name, tiou=self.tiou)
            for name in PROTOCOLS
        }
        counts = judged[PROTOCOLS[0]].counts
        return {
            "tiou": list(self.tiou),
            "map": {name: result.map.tolist() for name, result in judged.items()},
            "top_class": top_class(self.truth, detections),
            "detections": len(detections),
            "videos_without_detections": counts.videos_without_detections,
        }

    def describe(self) -> dict[str, Any]:
        """What was run, as plain values."""
        source = self.split.manifest.source
        return {
            "data": source.get("description", str(self.flags.data_dir)),
            "simulated": self.split.manifest.simulated,
            "split": self.split.name,
            "videos": len(self.truth.videos),
            "instances": sum(len(video.instances) for video in self.truth.videos.values()),
            "annotations": str(self._annotations),
            "annotation_sha256": file_sha256(self._annotations),
            "preset": self.flags.preset,
            "set": list(self.flags.set),
            "precision": self.flags.precision,
        }


def run(module: ModuleType, values: cli.Flags) -> None:
    """Runs the module's study, or what it does itself.

    Raises:
      UserError: if the data cannot be read, a setting is wrong, or ``--preset`` reports other tIoU
        than published rows do.
    """
    if not hasattr(module, "STUDY"):
        return module.run(Lab(values))
    study: Study = module.STUDY
    published = study.published
    if published and not set(published.tiou) <= set(parse_tiou(TIOU[values.preset])):
        raise UserError(
            f"--preset={values.preset} reports other tIoU; use --preset={published.preset}"
        )
    lab = Lab(values)
    variants = lab.distinct(study.variants)
    path = lab.output / module.__name__.rpartition(".")[2]
    results = lab.results(variants, path)
    facts = {"title": study.title, "paper": study.paper}
    facts |= {**lab.describe(), "seeds": values.seeds}
    appendix = report.beside(published, results, facts) if published else ""
    report.publish(path, facts, variants, results, study.reference, appendix)
