"""Adversarial erasing, step by step: what is erased, and the model of both steps."""

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.config import with_overrides, with_settings
from cpmn_tf.data.pipeline import Split
from cpmn_tf.training import load_model
from experiments import rivals
from experiments.harness import bank
from experiments.rivals import adversarial_erasing

UNITS = 200  # more than any video has: each is taken whole


@pytest.fixture
def config(small_settings):
    untrained = ["training.epochs=0", "training.final_epochs=0", f"cascade.units={UNITS}"]
    settings = [*small_settings, *untrained, *adversarial_erasing.SETTINGS]
    settings = [item for item in settings if not item.startswith("pyramid.")]
    return with_overrides(rivals.BASE, settings)


def test_what_the_first_classifier_finds_is_erased(data_set, config, tmp_path):
    folder = adversarial_erasing.train(tmp_path, data_set, config, seed=0)
    (erased,) = (tmp_path / "erased").iterdir()
    alone = {"cascade.stages": 1, "cascade.erasing": "none", "localization.mining": False}
    first = load_model(bank.train_once(tmp_path, data_set, with_settings(config, alone), seed=0))
    pairs = zip(
        inference.batches(Split.open(data_set, "training")),
        inference.batches(Split.open(erased, "training")),
        strict=True,
    )
    shares = []
    for before, after in pairs:
        for key in ("id", "labels", "rate", "duration", "length"):
            np.testing.assert_array_equal(before[key], after[key])
        (label,) = np.flatnonzero(before["labels"][0])
        for name, features in before["features"].items():
            valid = tf.fill(tf.shape(features)[:2], True)
            curve = first.cascades[name].stages[0](features, valid)[1][0, :, label].numpy()
            found = (curve - curve.min()) / (curve.max() - curve.min()) > 0.4
            shares.append(found.mean())
            left = np.where(found[:, np.newaxis], 0, features[0])
            np.testing.assert_array_equal(after["features"][name][0], left)
    assert 0.05 < np.mean(shares) < 0.95
    # It is not done twice, and the folder is one that inference reads.
    written = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.tfrecord"))]
    assert adversarial_erasing.train(tmp_path, data_set, config, seed=0) == folder
    assert written == [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.tfrecord"))]
    assert [len(cascade.stages) for cascade in load_model(folder).cascades.values()] == [2, 2]
    assert bank.minutes(folder) > 0  # those of erasing; nothing was trained


def test_each_stage_is_its_steps_classifier(data_set, config, tmp_path):
    one = with_settings(
        config, {"cascade.stages": 1, "cascade.erasing": "none", "localization.mining": False}
    )
    steps = [bank.train_once(tmp_path, data_set, one, seed=seed) for seed in (0, 1)]
    adversarial_erasing.join(steps, config, tmp_path / "joined")
    joined = load_model(tmp_path / "joined")
    assert joined.config == config
    for name, cascade in joined.cascades.items():
        for stage, step in zip(cascade.stages, steps, strict=True):
            (own,) = load_model(step).cascades[name].stages
            for ours, theirs in zip(stage.variables, own.variables, strict=True):
                np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        kernels = [stage.convolutions[0].kernel.numpy() for stage in cascade.stages]
        assert (kernels[0] != kernels[1]).any()


def test_passes_over_the_data():
    """Two steps of 30 epochs, and one reading to erase; online, 30."""
    assert adversarial_erasing.passes(30) == 61
    assert adversarial_erasing.passes(30, steps=3) == 92
