"""W-TALC's settings give W-TALC: a float64 transcription of the paper, with the same weights."""

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.models import CPMN
from cpmn_tf.training.objectives import cascade_loss
from experiments import rivals
from experiments.rivals import wtalc

WIDTHS, CLASSES = {"rgb": 4, "flow": 2}, 3
LENGTHS = (20, 17, 9, 24)
LABELS = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 1, 0]])
SEED = (7, 11)


def forward(features, weights, kept):
    """X_t -> Z_t = dropout(ReLU(W X_t + b)) and A_t = w Z_t + b', of one video."""
    hidden, hidden_bias, classes, class_bias = weights
    encoded = np.maximum(features @ hidden + hidden_bias, 0) * kept
    return encoded, encoded @ classes + class_bias


def highest(activations):
    """s^c: the mean of the ⌈T/8⌉ highest A_t^c."""
    count = -(-len(activations) // 8)
    return np.sort(activations, axis=0)[-count:].mean(axis=0)


def multiple_instance_loss(scores, labels):
    """-Σ_c ȳ^c log softmax(s)^c."""
    return -labels / labels.sum() @ (scores - np.log(np.exp(scores).sum()))


def coactivity_loss(videos, labels):
    """Over the classes that at least two of the videos show, the mean of the mean over pairs."""

    def distance(one, two):
        return 1 - one @ two / np.linalg.norm(one) / np.linalg.norm(two)

    of_class = []
    for number in range(CLASSES):
        high, low = [], []
        for (encoded, activations), shown in zip(videos, labels, strict=True):
            if shown[number]:
                attention = np.exp(activations[:, number])
                attention /= attention.sum()
                high.append(attention @ encoded)
                low.append((1 - attention) @ encoded / (len(encoded) - 1))
        pairs = []
        for m in range(len(high)):
            for n in range(m + 1, len(high)):
                near = distance(high[m], high[n])
                one = max(0, near - distance(high[m], low[n]) + 0.5)
                two = max(0, near - distance(low[m], high[n]) + 0.5)
                pairs.append((one + two) / 2)
        if pairs:
            of_class.append(np.mean(pairs))
    return np.mean(of_class)


def losses(weights, features, kept, group):
    """Both losses of the batch; co-activity is the mean over groups of so many videos."""
    videos = [forward(x, weights, k) for x, k in zip(features, kept, strict=True)]
    entropy = [
        multiple_instance_loss(highest(a), y) for (_, a), y in zip(videos, LABELS, strict=True)
    ]
    starts = range(0, len(videos), group)
    similar = [coactivity_loss(videos[i : i + group], LABELS[i : i + group]) for i in starts]
    return np.mean(entropy), np.mean(similar)


def published(*settings: str) -> Config:
    width = sum(WIDTHS.values())
    mine = (*wtalc.SETTINGS, f"cascade.filters={width}", *settings)
    return with_overrides(rivals.BASE, list(mine))


def small_model(config: Config) -> CPMN:
    model = CPMN(streams=WIDTHS, num_classes=CLASSES, config=config)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.7)
    return model


@pytest.mark.parametrize("group", [2, 4])
def test_losses_and_gradients_are_the_papers(group):
    """By 4, all pairs of the batch as in the paper's formula; by 2, as batches are drawn here."""
    config = published(f"training.group_size={group}", "training.batch_size=4")
    (cascade,) = small_model(config).cascades.values()
    rng = np.random.default_rng(1)
    width = sum(WIDTHS.values())
    features = [rng.normal(size=(length, width)) for length in LENGTHS]
    units = max(LENGTHS)
    padded = np.stack([np.pad(x, [(0, units - len(x)), (0, 0)]) for x in features])
    batch = {
        "features": tf.constant(padded, tf.float32),
        "valid": tf.sequence_mask(LENGTHS, units),
        "labels": tf.constant(LABELS, tf.float32),
    }
    with tf.GradientTape() as tape:
        loss = cascade_loss(cascade, batch, config, tf.constant(SEED, tf.int64))
        total = 0.5 * tf.add_n(loss.parts())
    variables = cascade.trainable_variables
    gradients = tape.gradient(total, variables)

    drawn = tf.stack([-1 - SEED[0], SEED[1] * 64])
    kept = tf.nn.experimental.stateless_dropout(tf.ones([4, units, width]), 0.7, drawn).numpy()
    assert set(np.unique(kept).round(4)) == {0.0, np.float32(1 / 0.3).round(4)}
    kept = [k[:length].astype(np.float64) for k, length in zip(kept, LENGTHS, strict=True)]
    weights = [variable.numpy().astype(np.float64) for variable in variables]
    weights[0] = weights[0][0]  # kernel of size 1
    entropy, similar = losses(weights, features, kept, group)
    np.testing.assert_allclose(loss.classification, entropy, rtol=1e-5)
    np.testing.assert_allclose(loss.coactivity, similar, rtol=1e-5)

    def objective():
        decay = 5e-4 * sum((value**2).sum() for value in weights) / 2
        return 0.5 * sum(losses(weights, features, kept, group)) + decay

    np.testing.assert_allclose(total, objective(), rtol=1e-5)
    step = 1e-6
    for value, gradient in zip(weights, gradients, strict=True):
        ours = gradient.numpy().reshape(value.shape)
        for place in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                before = value[place]
                value[place] += sign * step
                sides.append(objective())
                value[place] = before
            expected = (sides[0] - sides[1]) / (2 * step)
            np.testing.assert_allclose(ours[place], expected, rtol=1e-5, atol=1e-5)


def test_detections_are_the_papers():
    config = published("localization.min_seconds=0.15")
    model = small_model(config)
    rng = np.random.default_rng(2)
    units, rate = 60, 10.0
    streams = {name: rng.normal(size=(1, units, width)) for name, width in WIDTHS.items()}
    found = model(
        {name: tf.constant(value, tf.float32) for name, value in streams.items()},
        lengths=[units],
        rates=[rate],
        durations=[units / rate],
    )
    weights = [variable.numpy().astype(np.float64) for variable in model.trainable_variables]
    weights[0] = weights[0][0]
    joined = np.concatenate([streams["rgb"][0], streams["flow"][0]], axis=1)
    _, activations = forward(joined, weights, 1.0)
    scores = highest(activations)
    expected = []
    for number in np.flatnonzero(scores > 0):
        curve = activations[:, number]
        active = curve > (curve.min() + curve.max()) / 2
        edges = np.flatnonzero(np.diff(np.pad(active.astype(int), 1)))
        for start, end in edges.reshape(-1, 2):
            if end - start >= 2:
                score = curve[start:end].max() + 0.7 * scores[number] - weights[3][number]
                expected.append((score, start / rate, end / rate, number))
    expected.sort(reverse=True)
    assert len(expected) > 5 and len({row[3] for row in expected}) > 1
    assert found.counts.numpy().tolist() == [len(expected)]
    np.testing.assert_allclose(found.scores[0], [row[0] for row in expected], rtol=1e-5)
    np.testing.assert_allclose(found.segments[0], [row[1:3] for row in expected], rtol=1e-5)
    assert found.labels[0].numpy().tolist() == [row[3] for row in expected]
