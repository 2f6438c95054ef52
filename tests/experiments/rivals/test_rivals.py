"""The rivals' settings give their papers' equations; the references are plain NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import with_overrides
from cpmn_tf.models import CascadedClassifier, erasing
from cpmn_tf.training.objectives import cascade_loss
from experiments import rivals
from experiments.rivals import cam, hide_and_seek, untrimmednet

BATCH, UNITS, WIDTH, CLASSES = 2, 30, 4, 3
LENGTHS = (30, 19)
LABELS = np.array([[1.0, 0, 1], [0, 1, 0]])
SEED = (3, 5)


def softmax(values, axis):
    values = np.exp(values - values.max(axis, keepdims=True))
    return values / values.sum(axis, keepdims=True)


def normalised_cross_entropy(scores):
    """The mean over videos of -Σ_c ȳ^c log softmax(s)^c."""
    wanted = LABELS / LABELS.sum(axis=1, keepdims=True)
    return -(wanted * np.log(softmax(np.array(scores), 1))).sum(axis=1).mean()


def convolve(features, kernel, bias):
    """ReLU of a convolution of odd kernel, zero-padded to the same length."""
    reach = len(kernel) // 2
    padded = np.pad(features, [(reach, reach), (0, 0)])
    taps = [padded[k : k + len(features)] @ kernel[k] for k in range(len(kernel))]
    return np.maximum(sum(taps) + bias, 0)


@pytest.fixture
def compare():
    """Ours for some settings: the training loss, and M and Z of each video in NumPy."""

    def run(settings):
        config = with_overrides(rivals.BASE, [*settings, "cascade.filters=5"])
        cascade = CascadedClassifier(num_classes=CLASSES, config=config.cascade)
        cascade.build((None, None, WIDTH))
        rng = np.random.default_rng(0)
        for variable in cascade.trainable_variables:
            variable.assign(rng.normal(size=variable.shape) * 0.7)
        features = rng.normal(size=(BATCH, UNITS, WIDTH))
        valid = tf.sequence_mask(LENGTHS, UNITS)
        batch = {
            "features": tf.constant(features, tf.float32),
            "valid": valid,
            "labels": tf.constant(LABELS, tf.float32),
        }
        ours = cascade_loss(cascade, batch, config, tf.constant(SEED, tf.int64)).classification
        videos = [x[:length] for x, length in zip(features, LENGTHS, strict=True)]
        weights = [v.numpy().astype(np.float64) for v in cascade.trainable_variables]
        return cascade, config, float(ours), videos, weights

    return run


def test_cam(compare):
    cascade, config, ours, videos, weights = compare(cam.SETTINGS)
    kernel_1, bias_1, kernel_2, bias_2, classes, bias = weights
    losses = []
    for features, labels in zip(videos, LABELS, strict=True):
        encoded = convolve(convolve(features, kernel_1, bias_1), kernel_2, bias_2)
        scores = encoded.mean(axis=0) @ classes + bias
        chance = 1 / (1 + np.exp(-scores))
        losses.append(-np.log(np.where(labels > 0, chance, 1 - chance)).sum())
        one = tf.constant(features[np.newaxis], tf.float32)
        tcas = cascade.first_stage(one, tf.fill([1, len(features)], True)).tcas[0]
        np.testing.assert_allclose(tcas, encoded @ classes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours, np.mean(losses), rtol=1e-5)
    section = config.localization
    assert (section.thresholds, section.threshold_range) == ((0.2,), "max")


def test_hide_and_seek(compare):
    settings = (*hide_and_seek.SETTINGS, "cascade.random_segment=4")
    cascade, config, ours, videos, weights = compare(settings)
    kernel_1, bias_1, kernel_2, bias_2, classes, bias = weights
    valid = tf.sequence_mask(LENGTHS, UNITS)
    drawn = tf.constant([SEED[0], SEED[1] * 64], tf.int64)
    hidden = erasing.random_mask(valid, drawn, 4, 0.5).numpy()
    assert 0 < hidden.sum() < sum(LENGTHS)
    scores = []
    for features, mask in zip(videos, hidden, strict=True):
        mean = features.mean(axis=0)
        left = np.where(mask[: len(features), np.newaxis], mean, features)
        encoded = convolve(convolve(left, kernel_1, bias_1), kernel_2, bias_2)
        scores.append((encoded @ classes + bias).max(axis=0))
    np.testing.assert_allclose(ours, normalised_cross_entropy(scores), rtol=1e-5)
    # At inference nothing is hidden.
    whole = cascade.first_stage(tf.constant(videos[0][np.newaxis], tf.float32), valid[:1])
    encoded = convolve(convolve(videos[0], kernel_1, bias_1), kernel_2, bias_2)
    np.testing.assert_allclose(whole.tcas[0], encoded @ classes, rtol=1e-4, atol=1e-5)
    assert config.localization.thresholds == (0.5,)
    published = with_overrides(rivals.BASE, [*hide_and_seek.SETTINGS])
    assert 20 * published.cascade.random_segment == hide_and_seek.UNITS


def test_untrimmednet_soft(compare):
    _, _, ours, videos, weights = compare(untrimmednet.SOFT)
    kernel, hidden_bias, classes, bias, selector, selector_bias = weights
    chances = []
    for features in videos:
        encoded = convolve(features, kernel, hidden_bias)
        attention = softmax(encoded @ selector[:, 0] + selector_bias, 0)
        chances.append(attention @ softmax(encoded @ classes + bias, 1))
    wanted = LABELS / LABELS.sum(axis=1, keepdims=True)
    expected = -(wanted * np.log(chances)).sum(axis=1).mean()
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_untrimmednet_hard(compare):
    _, _, ours, videos, weights = compare(untrimmednet.HARD)
    kernel, hidden_bias, classes, bias = weights
    scores = []
    for features in videos:
        units = np.sort(convolve(features, kernel, hidden_bias) @ classes + bias, axis=0)
        scores.append(units[::-1][: -(-len(features) // 8)].mean(axis=0))
    np.testing.assert_allclose(ours, normalised_cross_entropy(scores), rtol=1e-5)
