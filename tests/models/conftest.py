"""The paper in NumPy, slow and written out, and small models with weights of their own.

Nothing here is taken from the code under test: one video at a time, one unit after another, no
padding, float64. Symbols as in the paper: T units, G features, K filters, C classes.
"""

import types

import numpy as np
import pytest
import tensorflow as tf


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def convolve(x, kernel, bias):
    """ "Same" convolution and ReLU: x [T, G], kernel [k, G, K] -> [T, K]."""
    size = len(kernel)
    out = np.zeros([len(x), kernel.shape[2]])
    for t in range(len(x)):
        out[t] = bias
        for tap in range(size):
            source = t + tap - (size - 1) // 2
            if 0 <= source < len(x):
                out[t] += x[source] @ kernel[tap]
    return np.maximum(out, 0)


def classify(x, weights):
    """Eq. 1 (as a mean) and Eq. 2: logits [C] and T-CAS [T, C] of x [T, G]."""
    *convolutions, w, b = weights
    z = x
    for kernel, bias in zip(convolutions[::2], convolutions[1::2], strict=True):
        z = convolve(z, kernel, bias)
    tcas = np.zeros([len(z), w.shape[1]])
    for t in range(len(z)):
        for c in range(w.shape[1]):
            tcas[t, c] = np.sum(w[:, c] * z[t])
    logits = [np.sum(w[:, c] * z.mean(axis=0)) + b[c] for c in range(len(b))]
    return np.array(logits), tcas


def pooled(x, weights, pooling, k=8):
    """Logits [C] of x [T, G] by another pooling: "top", or by attention of weights (.., v, u)."""
    *classifier, v, u = (*weights, None, None) if pooling == "top" else weights
    _, tcas = classify(x, classifier)
    if pooling == "top":
        most = -(-len(x) // k)
        return np.sort(tcas, axis=0)[len(x) - most :].mean(axis=0) + classifier[-1]
    z = x
    for kernel, bias in zip(classifier[:-2:2], classifier[1:-2:2], strict=True):
        z = convolve(z, kernel, bias)
    attention = np.exp(z @ v + u)
    if pooling == "soft_selection":
        chances = np.exp(tcas + classifier[-1])
        chances /= chances.sum(axis=1, keepdims=True)
        return np.log((attention / attention.sum() * chances).sum(axis=0))
    return (attention / attention.sum() * tcas).sum(axis=0) + classifier[-1]


def min_max(curve):
    """To [0, 1]; a constant curve to zeros."""
    spread = curve.max() - curve.min()
    return (curve - curve.min()) / spread if spread > 0 else np.zeros_like(curve)


def normalize(curve, method):
    if method == "sigmoid":
        return sigmoid(curve)
    if method == "ratio_to_max":
        varies = curve.max() > curve.min() and curve.max() > 0
        return np.maximum(curve, 0) / curve.max() if varies else np.zeros_like(curve)
    return min_max(curve)


def mask(tcas, classes, threshold, method="min_max"):
    """Algorithm 1, line 11, joined over the classes: [T, C] -> [T] bool."""
    found = np.zeros(len(tcas), bool)
    for c in classes:
        for t, value in enumerate(normalize(tcas[:, c], method)):
            found[t] |= value > threshold
    return found


def erase(x, erased, value="zero"):
    """Algorithm 1, line 12."""
    filling = x.mean(axis=0) if value == "mean" else np.zeros(x.shape[1])
    return np.where(erased[:, None], filling, x)


def pool(x):
    """Max-pooling by 2; an odd last unit stands alone."""
    return np.array([x[t : t + 2].max(axis=0) for t in range(0, len(x), 2)])


def pairs(weights):
    """[w, b, w, b, ...] as [(w, b), ...]."""
    return list(zip(weights[::2], weights[1::2], strict=True))


def label_maps(x, encoders, predictors, lateral):
    """K_l of one window x [T, G], finest first; encoders and predictors are (W, b) per level."""
    levels = [x]
    for _ in encoders[1:]:
        levels.append(pool(levels[-1]))
    hidden = [np.maximum(level @ w + b, 0) for level, (w, b) in zip(levels, encoders, strict=True)]
    if lateral == "top_down":
        for l in range(len(hidden) - 2, -1, -1):  # noqa: E741
            for t in range(len(hidden[l])):
                hidden[l][t] += hidden[l + 1][t // 2]
    elif lateral == "bottom_up":
        for l in range(1, len(hidden)):  # noqa: E741
            hidden[l] += pool(hidden[l - 1])
    return [h @ w + b for h, (w, b) in zip(hidden, predictors, strict=True)]


def attend(x, encoders, predictors, lateral):
    """Logits [C] and the added label maps [T, C] of one window."""
    maps = label_maps(x, encoders, predictors, lateral)
    logits = np.mean([m.mean(axis=0) for m in maps], axis=0)
    heat = [sum(m[t // 2**level] for level, m in enumerate(maps)) for t in range(len(x))]
    return logits, np.array(heat)


def attend_video(x, window, stride, *weights, score=sigmoid):
    """Probabilities [C] and heat [T, C] of a whole video, window after window."""
    starts = [*range(0, max(len(x) - window, 0), min(stride, window)), max(len(x) - window, 0)]
    total, count, scores, seen = 0, np.zeros(len(x)), 0, 0
    for start in starts:
        part = x[start : start + window]
        logits, maps = attend(part, *weights)
        heat = np.zeros([len(x), maps.shape[1]])
        heat[start : start + window] = maps
        total, scores = total + heat, scores + score(logits) * len(part)
        count[start : start + window] += 1
        seen += len(part)
    return scores / seen, total / count[:, None]


def attention(heat):
    """Eq. 3 of one class, [T]; a constant map attends everywhere."""
    spread = heat.max() - heat.min()
    return (heat - heat.min()) / spread if spread > 0 else np.ones_like(heat)


@pytest.fixture(scope="session")
def paper() -> types.SimpleNamespace:
    """The functions above."""
    functions = (
        sigmoid,
        convolve,
        classify,
        pooled,
        min_max,
        normalize,
        mask,
        erase,
        pool,
        label_maps,
        attend,
        attend_video,
        attention,
        pairs,
    )
    return types.SimpleNamespace(**{function.__name__: function for function in functions})


def fill(model, seed: int = 0):
    """Weights and biases of a size that lets every class and unit differ."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        size = 0.8 / np.sqrt(np.prod(variable.shape[:-1]) or 1) if len(variable.shape) > 1 else 0.3
        variable.assign(rng.normal(size=variable.shape) * size)
    return model


@pytest.fixture(scope="session")
def filled():
    """:func:`fill`."""
    return fill


@pytest.fixture(scope="session")
def arrays():
    """A model's weights as float64 arrays, in order."""
    return lambda model: [np.asarray(variable, np.float64) for variable in model.variables]


@pytest.fixture(scope="session")
def padded():
    """Sequences [T_i, G] as one batch, junk in the padding, and their mask."""

    def pad(sequences, junk=7.0):
        batch = np.full([len(sequences), max(map(len, sequences)), sequences[0].shape[1]], junk)
        for row, sequence in zip(batch, sequences, strict=True):
            row[: len(sequence)] = sequence
        valid = tf.sequence_mask([len(sequence) for sequence in sequences])
        return tf.constant(batch, tf.float32), valid

    return pad
