"""Adversarial erasing as it was before it was online (Wei et al., CVPR 2017), on features in time.

A classifier is trained, what it finds in the training videos is erased from them, and the next one
is trained from the start on what is left:

- step n trains a classifier on F_n, as CAM: :func:`experiments.harness.bank.train_once`;
- its map of each class that the video shows, over ζ of its range, is erased,
  F_(n+1) = erase(F_n, M_n > ζ): :func:`cpmn_tf.models.erasing.erasing_mask` and
  :func:`cpmn_tf.models.erasing.erase`;
- at inference the steps' regions are joined, M = max_n M_n:
  :func:`cpmn_tf.models.fusion.cascaded_tcas`, each classifier seeing what those before it left, as
  :class:`~cpmn_tf.models.cascade.CascadedClassifier` runs them.

Two steps, and the classifiers and ζ = 0.4 of CPMN, so that what differs from its online erasing is
when the masks are made: here once, by a classifier whose training is over.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.config import CascadeConfig, Config, with_settings
from cpmn_tf.data.pipeline import Split
from cpmn_tf.data.records import VideoRecord
from cpmn_tf.files import replaced
from cpmn_tf.models import CPMN, erasing
from cpmn_tf.models.timeline import Timeline
from cpmn_tf.training import load_model
from cpmn_tf.training.model_folder import module_folder, plain_variables
from experiments import rivals
from experiments.harness import bank
from tfrecords_tools.writing import write_shards

SETTINGS = ("cascade.stages=2", "cascade.erasing=adversarial", "localization.mining=true")
OTHERS = {
    **rivals.OTHERS,
    "ζ of the maximum": ("cascade.normalization=ratio_to_max",),
}


def passes(epochs: int, steps: int = 2) -> int:
    """How often the training videos are read: each step's epochs, and once for each erasing.

    Online erasing trains all its classifiers in the ``epochs`` of one.
    """
    return steps * epochs + steps - 1


def train(
    folder: pathlib.Path,
    data_dir: str | pathlib.Path,
    config: Config,
    *,
    seed: int,
    precision: str = "float32",
) -> pathlib.Path:
    """Trains ``cascade.stages`` classifiers one after another; the folder of them all.

    The arguments are those of :func:`experiments.harness.bank.train_once`.
    """
    alone = {"cascade.stages": 1, "cascade.erasing": "none", "localization.mining": False}
    one = with_settings(config, alone)
    found = [bank.train_once(folder, data_dir, one, seed=seed, precision=precision)]
    erased: list[pathlib.Path] = []
    for _ in range(1, config.cascade.stages):
        cut = config.cascade.threshold, config.cascade.normalization, config.cascade.erased_value
        before = erased[-1] if erased else data_dir
        erased.append(folder / "erased" / bank.digest([found[-1].name, *cut]))
        if not erased[-1].is_dir():
            with replaced(erased[-1]) as temporary:
                _erase(found[-1], Split.open(before, one.data.train_split), config, temporary)
        found.append(bank.train_once(folder, erased[-1], one, seed=seed, precision=precision))
    names = [step.name for step in found]
    joined = folder / "models" / f"{bank.digest([bank.differing(config), *names])}_seed{seed}"
    if not joined.is_dir():
        with replaced(joined) as temporary:
            join(found, config, temporary)
            spent = sum(60 * bank.minutes(step) for step in found)
            spent += sum(map(bank.seconds_of, erased))
            bank.add_seconds(next(temporary.glob("streams/*/cascade")), spent)
    return joined


def _erase(step: pathlib.Path, split: Split, config: Config, folder: pathlib.Path) -> None:
    """Writes the training videos without what a step's classifier found in them."""
    begin = time.process_time()
    folder.mkdir()
    plan = dataclasses.replace(split.manifest, splits={})
    videos = left_over(load_model(step), split, config.cascade)
    write_shards(folder, plan, ((split.name, record) for record in videos)).save(folder)
    bank.add_seconds(folder, time.process_time() - begin)


def left_over(model: CPMN, split: Split, config: CascadeConfig) -> Iterator[VideoRecord]:
    """The videos of a split, erased where the model finds one of a video's own classes.

    Args:
      model: of one classifier per stream.
      split: the videos.
      config: ζ, the normalization, and what erased units become.
    """
    erase = {name: _eraser(model, name, config) for name in model.branches}
    for video in inference.batches(split):
        labels = video["labels"]
        features = video["features"].items()
        yield VideoRecord(
            id=video["id"][0].numpy().decode(),
            duration=float(video["duration"][0]),
            rate=float(video["rate"][0]),
            labels=tuple(np.flatnonzero(labels[0]).tolist()),
            features={name: erase[name](values, labels)[0].numpy() for name, values in features},
        )


def _eraser(model: CPMN, stream: str, config: CascadeConfig) -> Callable[..., tf.Tensor]:
    """A function of [1, units, G] features and [1, C] labels that returns what is left."""
    cascade = model.cascades[stream]
    signature = [
        tf.TensorSpec([1, None, model.branches[stream]]),
        tf.TensorSpec([1, model.num_classes]),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def erase(features: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        line = Timeline(model.config, features, tf.shape(features)[1:2])
        tcas = cascade.first_stage(line.samples, line.samples_valid).tcas[0]
        maps = line.from_samples(tf.transpose(tcas), tf.zeros([model.num_classes], tf.int32))
        maps = tf.transpose(maps)[tf.newaxis]
        cut = config.threshold, config.normalization
        found = erasing.erasing_mask(maps, line.valid, labels > 0, *cut)
        return erasing.erase(features, found, line.valid, config.erased_value)

    return erase


def join(steps: list[pathlib.Path], config: Config, folder: pathlib.Path) -> None:
    """Writes the folder of one model whose stages are the steps' classifiers."""
    models = [load_model(step) for step in steps]
    manifest = dataclasses.replace(models[0].manifest, config=config)
    manifest.claim(folder)
    joined = CPMN(streams=manifest.streams, num_classes=len(manifest.classes), config=config)
    for name, cascade in joined.cascades.items():
        for stage, model in zip(cascade.stages, models, strict=True):
            stage.set_weights(model.cascades[name].stages[0].get_weights())
        state = tf.train.Checkpoint(weights=plain_variables(cascade), finished=tf.Variable(True))
        own = module_folder(folder, name, "cascade")
        tf.train.CheckpointManager(state, str(own), max_to_keep=1).save()
