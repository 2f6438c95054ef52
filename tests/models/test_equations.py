"""Every equation of the paper, one by one, against NumPy written from the paper (conftest.py)."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import (
    CascadeConfig,
    Config,
    LocalizationConfig,
    PyramidConfig,
    with_overrides,
)
from cpmn_tf.localization import Trace, detections_of
from cpmn_tf.models import CascadedClassifier, PyramidAttention, TemporalClassifier
from cpmn_tf.models.erasing import normalize_tcas
from cpmn_tf.models.fusion import (
    cascaded_tcas,
    class_scores,
    curve_to_average,
    curve_to_cut,
    select_classes,
)
from cpmn_tf.models.layers import dropout, pool_attention, pool_top
from cpmn_tf.models.pyramid import attention_map
from cpmn_tf.training.objectives import cross_entropy, l2_penalty

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(autouse=True, scope="module")
def op_by_op():
    """Without tracing a graph for every shape; test_conformance.py holds graph and eager equal."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def sequences(lengths, width=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, width)) for length in lengths]


# Eq. 1-2: the classifier.


@pytest.fixture(params=[(3, 2), (1, 1), (5, 3), (4, 2)], ids=lambda p: f"kernel{p[0]}x{p[1]}")
def classifier(request, filled):
    kernel, layers = request.param
    model = TemporalClassifier(num_classes=3, filters=6, num_layers=layers, kernel_size=kernel)
    model.build((None, None, 5))
    return filled(model)


def test_equations_1_and_2(classifier, paper, arrays, padded):
    videos = sequences([9, 1, 4])
    logits, tcas = classifier(*padded(videos))
    for row, video in enumerate(videos):
        wanted, curve = paper.classify(video, arrays(classifier))
        np.testing.assert_allclose(logits[row], wanted, **CLOSE)
        np.testing.assert_allclose(tcas[row, : len(video)], curve, **CLOSE)
        assert not tcas[row, len(video) :].numpy().any()


def test_a_score_is_the_mean_of_its_activations_plus_the_bias(classifier, padded):
    logits, tcas = classifier(*padded(sequences([6])))
    bias = classifier.classifier.bias.numpy()
    np.testing.assert_allclose(logits[0], tcas[0].numpy().mean(axis=0) + bias, **CLOSE)


@pytest.mark.parametrize("chunk", [1, 4, 9, 50])
def test_chunks_change_nothing(classifier, padded, chunk):
    features, valid = padded(sequences([9, 1, 4]))
    logits, tcas = classifier(features, valid)
    in_chunks = classifier(features, valid, chunk=chunk)
    np.testing.assert_allclose(in_chunks[0], logits, **CLOSE)
    np.testing.assert_allclose(in_chunks[1], tcas, **CLOSE)


def test_equation_2_by_hand():
    model = TemporalClassifier(num_classes=1, filters=1, num_layers=1)
    model.build((None, None, 1))
    # Kernel (1, 2, 3) and bias -1 on 1, 0, 2: taps before, at and after each unit.
    #   t=0: 2·1 + 3·0 - 1 = 1;  t=1: 1·1 + 2·0 + 3·2 - 1 = 6;  t=2: 1·0 + 2·2 - 1 = 3.
    # With w = 2 and b = 5: M = 2, 12, 6 and s = 2 · (1 + 6 + 3) / 3 + 5 = 35/3.
    for variable, value in zip(model.variables, ([1, 2, 3], -1, 2, 5), strict=True):
        variable.assign(tf.reshape(tf.constant(value, tf.float32), variable.shape))
    logits, tcas = model(tf.constant([[[1.0], [0.0], [2.0], [9.0]]]), tf.sequence_mask([3], 4))
    np.testing.assert_allclose(tcas[0, :, 0], [2, 12, 6, 0])
    np.testing.assert_allclose(logits, [[35 / 3]], rtol=1e-6)


@pytest.mark.parametrize(
    "pooling, k", [("top", 8), ("top", 2), ("top", 1), ("attention", 8), ("soft_selection", 8)]
)
def test_other_poolings(paper, arrays, padded, filled, pooling, k):
    model = TemporalClassifier(num_classes=3, filters=6, pooling=pooling, pooling_k=k)
    model.build((None, None, 5))
    videos = sequences([17, 1, 8])  # the top of 17 by k = 8 is 3 units, by k = 2 it is 9
    inputs = padded(videos)
    logits, tcas = filled(model)(*inputs)
    weights = arrays(model)
    for row, video in enumerate(videos):
        np.testing.assert_allclose(logits[row], paper.pooled(video, weights, pooling, k), **CLOSE)
        np.testing.assert_allclose(
            tcas[row, : len(video)], paper.classify(video, weights[:6])[1], **CLOSE
        )
    in_chunks = model(*inputs, chunk=4)
    np.testing.assert_allclose(in_chunks[0], logits, **CLOSE)
    np.testing.assert_allclose(in_chunks[1], tcas, **CLOSE)


def test_poolings_by_hand():
    values = tf.constant([[[1.0], [5.0], [3.0], [99.0]], [[-1.0], [99.0], [99.0], [99.0]]])
    valid = tf.sequence_mask([3, 1], 4)
    # ⌈3/2⌉ = 2 of 1, 5, 3; ⌈1/2⌉ = 1 of -1.
    np.testing.assert_allclose(pool_top(values, valid, 2), [[4.0], [-1.0]])
    # Weights 1/4, 1/2, 1/4.
    attention = tf.constant([[0.0, np.log(2), 0.0, 50.0], [7.0, 50.0, 50.0, 50.0]], tf.float32)
    np.testing.assert_allclose(pool_attention(values, attention, valid), [[3.5], [-1.0]], 1e-6)
    nothing = tf.zeros_like(valid)
    assert not pool_top(values, nothing, 2).numpy().any()
    assert not pool_attention(values, attention, nothing).numpy().any()


# Algorithm 1: from A's T-CAS to what B is fed.


@pytest.mark.parametrize("method", ["min_max", "ratio_to_max", "sigmoid"])
def test_normalised_tcas(paper, padded, method):
    curves = [*sequences([9, 4]), -np.abs(sequences([5])[0]), np.ones([3, 5])]
    tcas, valid = padded(curves)
    ours = normalize_tcas(tcas, valid, method)
    for row, curve in enumerate(curves):
        wanted = [paper.normalize(column, method) for column in curve.T]
        np.testing.assert_allclose(ours[row, : len(curve)], np.transpose(wanted), **CLOSE)
        assert not ours[row, len(curve) :].numpy().any()


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("value", ["zero", "mean"])
def test_algorithm_1(paper, filled, arrays, padded, stages, value):
    videos, labels = sequences([20, 9]), [[0, 2], [1]]
    config = CascadeConfig(stages=stages, filters=6, erased_value=value, threshold=0.6)
    model = CascadedClassifier(num_classes=3, config=config)
    model.build((None, None, 5))
    filled(model)
    chosen = tf.reduce_max(tf.one_hot(tf.ragged.constant(labels).to_tensor(-1), 3), axis=1)
    ours = model(*padded(videos), chosen)
    assert len(ours) == stages
    for row, video in enumerate(videos):
        erased, left = np.zeros(len(video), bool), video
        for stage, weights in zip(ours, model.stages, strict=True):
            logits, tcas = paper.classify(left, arrays(weights))
            np.testing.assert_array_equal(stage.erased[row, : len(video)], erased)
            np.testing.assert_allclose(stage.logits[row], logits, **CLOSE)
            np.testing.assert_allclose(stage.tcas[row, : len(video)], tcas, **CLOSE)
            erased = erased | paper.mask(tcas, labels[row], 0.6)
            left = paper.erase(video, erased, value)
        hidden = ours[-1].erased[row].numpy().sum()
        assert (0 < hidden < len(video)) == (stages > 1)


def test_later_stages_may_pool_unerased_units_only(paper, filled, arrays, padded):
    config = CascadeConfig(filters=6, threshold=0.6, mining_pooling="unerased")
    model = CascadedClassifier(num_classes=3, config=config)
    model.build((None, None, 5))
    videos = sequences([20, 9])
    inputs = *padded(videos), tf.constant([[1, 0, 1], [0, 1, 0]])
    first, second = filled(model)(*inputs)
    weights = arrays(model.stages[1])
    for row, video in enumerate(videos):
        erased = second.erased[row, : len(video)].numpy()
        assert 0 < erased.sum() < len(video)
        _, tcas = paper.classify(paper.erase(video, erased), weights)
        wanted = np.where(erased[:, None], 0, tcas)
        np.testing.assert_allclose(second.tcas[row, : len(video)], wanted, **CLOSE)
        np.testing.assert_allclose(
            second.logits[row], tcas[~erased].mean(axis=0) + weights[-1], **CLOSE
        )
        assert not first.erased[row].numpy().any()
        pooled = paper.classify(video, arrays(model.stages[0]))[0]
        np.testing.assert_allclose(first.logits[row], pooled, **CLOSE)
    chunked = model.later_stages(*inputs[:2], first, inputs[2], chunk=4)[0]
    for ours, theirs in zip(chunked, second, strict=True):
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_dropout_changes_the_scores_of_its_stage_in_training_alone(filled, padded):
    features, valid = padded(sequences([20, 9]))
    labels = tf.constant([[1, 0, 1], [0, 1, 0]])
    usual = CascadedClassifier(num_classes=3, config=CascadeConfig(filters=40))
    usual.build((None, None, 5))
    plain = filled(usual)(features, valid, labels)
    for setting, changed in (("dropout", 0), ("mining_dropout", 1)):
        model = CascadedClassifier(
            num_classes=3, config=CascadeConfig(filters=40, **{setting: 0.7})
        )
        model.build((None, None, 5))
        filled(model)
        at_inference = model(features, valid, labels)
        drawn = [
            model(features, valid, labels, seed=tf.constant(seed, tf.int64), training=True)
            for seed in ([3, 5], [3, 5], [3, 6], [4, 5])
        ]
        for number, wanted in enumerate(plain):
            np.testing.assert_array_equal(at_inference[number].logits, wanted.logits)
            scores = {one[number].logits.numpy().tobytes() for one in drawn}
            assert len(scores) == (3 if number == changed else 1)
            for one in drawn:  # what is erased and localized comes of all of Z
                np.testing.assert_allclose(one[number].tcas, wanted.tcas, **CLOSE)
        z = (
            model.stages[changed]
            .encode(
                features if not changed else tf.where(plain[1].erased[..., None], 0.0, features),
                valid,
            )
            .numpy()
        )
        dropped = drawn[0][changed].encoded.numpy()
        kept = dropped != 0
        np.testing.assert_allclose(dropped[kept], z[kept] / 0.3, rtol=1e-5)
        assert kept.sum() / (z != 0).sum() == pytest.approx(0.3, abs=0.03)  # s.d. below 0.01
    both = CascadedClassifier(
        num_classes=3, config=CascadeConfig(filters=40, dropout=0.7, mining_dropout=0.7)
    )
    both.build((None, None, 5))
    one, other = filled(both)(features, valid, labels, seed=tf.constant([3, 5]), training=True)
    assert ((one.encoded == 0) != (other.encoded == 0)).numpy().mean() > 0.2


# The pyramid and Eq. 3.


@pytest.fixture(
    params=[("top_down", 4), ("bottom_up", 3), ("none", 4), ("top_down", 1)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def pyramid(request, filled):
    lateral, levels = request.param
    model = PyramidAttention(
        num_classes=3, config=PyramidConfig(levels=levels, filters=6, lateral=lateral)
    )
    model.build((None, None, 5))
    return filled(model)


def weights_of(pyramid, paper, arrays):
    encoders, predictors = (
        paper.pairs([value for layer in layers for value in arrays(layer)])
        for layers in (pyramid.encoders, pyramid.predictors)
    )
    return encoders, predictors, pyramid.config.lateral


def test_label_maps(pyramid, paper, arrays, padded):
    windows = sequences([16, 11, 1])
    features, valid = padded(windows)
    levels = pyramid.label_maps(features, valid)
    for row, window in enumerate(windows):
        wanted = paper.label_maps(window, *weights_of(pyramid, paper, arrays))
        for (maps, mask), level in zip(levels, wanted, strict=True):
            assert mask[row].numpy().sum() == len(level)
            np.testing.assert_allclose(maps[row, : len(level)], level, **CLOSE)


def test_window_logits_and_heat(pyramid, paper, arrays, padded):
    windows = sequences([13, 6, 1])  # 13 is no multiple of 8
    logits, heat = pyramid(*padded(windows))
    for row, window in enumerate(windows):
        wanted, maps = paper.attend(window, *weights_of(pyramid, paper, arrays))
        np.testing.assert_allclose(logits[row], wanted, **CLOSE)
        np.testing.assert_allclose(heat[row, : len(window)], maps, **CLOSE)
        assert not heat[row, len(window) :].numpy().any()


@pytest.mark.parametrize("chunk", [4096, 40, 1])  # all windows at a time, five or eight, one
@pytest.mark.parametrize("window, stride", [(8, 8), (8, 3), (8, 20), (5, 5)])
def test_windows_are_joined_into_a_video(
    pyramid, paper, arrays, padded, window, stride, chunk, monkeypatch
):
    monkeypatch.setattr("cpmn_tf.models.pyramid.CHUNK_UNITS", chunk)
    videos = sequences([29, 16, 9, 8, 3])
    features, _ = padded(videos)
    lengths = tf.constant([len(video) for video in videos])
    pyramid.config = dataclasses.replace(pyramid.config, window=window, stride=stride)
    scores, heat = pyramid.call_on_video(features, lengths)
    weights = weights_of(pyramid, paper, arrays)
    for row, video in enumerate(videos):
        wanted, maps = paper.attend_video(video, window, stride, *weights)
        np.testing.assert_allclose(scores[row], wanted, **CLOSE)
        np.testing.assert_allclose(heat[row, : len(video)], maps, **CLOSE)


def test_a_batch_without_videos_has_no_maps(pyramid):
    scores, heat = pyramid.call_on_video(tf.zeros([0, 9, 5]), tf.zeros([0], tf.int32))
    assert scores.shape == (0, 3) and heat.shape == (0, 9, 3)


def test_pyramid_by_hand():
    """One channel, one filter, identity everywhere: the label maps are the pooled input."""
    for lateral, heat in (
        # Levels: 1 3 2 0 | 3 2. Repeated and added: 1+3, 3+3, 2+2, 0+2.
        ("none", [4, 6, 4, 2]),
        # The coarse level is added to the fine one first: 4 6 4 2 | 3 2.
        ("top_down", [7, 9, 6, 4]),
        # The pooled fine level is added to the coarse one: 1 3 2 0 | 6 4.
        ("bottom_up", [7, 9, 6, 4]),
    ):
        model = PyramidAttention(
            num_classes=1, config=PyramidConfig(levels=2, filters=1, lateral=lateral)
        )
        model.build((None, None, 1))
        for variable in model.variables:
            variable.assign(tf.fill(variable.shape, float(len(variable.shape) > 1)))
        logits, ours = model(tf.constant([[[1.0], [3.0], [2.0], [0.0]]]), tf.ones([1, 4], bool))
        assert ours[0, :, 0].numpy().tolist() == heat
        means = {"none": (1.5 + 2.5) / 2, "top_down": (4 + 2.5) / 2, "bottom_up": (1.5 + 5) / 2}
        np.testing.assert_allclose(logits, [[means[lateral]]])


def test_equation_3(paper):
    rows = [np.array(row) for row in ([3.0, -1, 1, 0], [5.0, 7], [2.0, 2, 2], [4.0])]
    heat, valid = np.full([4, 4], 99.0), tf.sequence_mask([4, 2, 3, 1])
    for padded_row, row in zip(heat, rows, strict=True):
        padded_row[: len(row)] = row
    ours = attention_map(tf.constant(heat, tf.float32), valid).numpy()
    # (3 + 1) / 4, 0, (1 + 1) / 4, (0 + 1) / 4; constant maps and a single unit attend everywhere.
    np.testing.assert_allclose(ours, [[1, 0, 0.5, 0.25], [0, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
    for row, wanted in zip(ours, rows, strict=True):
        np.testing.assert_allclose(row[: len(wanted)], paper.attention(wanted))


def test_a_map_that_is_constant_but_for_rounding_attends_everywhere():
    heat = tf.constant([[1.0, np.nextafter(np.float32(1), np.float32(2)), 1.0]])
    assert attention_map(heat, tf.ones([1, 3], bool)).numpy().tolist() == [[1, 1, 1]]


# M(Cas), Eq. 4-5 and the class selection.


@pytest.mark.parametrize(
    "method, wanted",
    [
        ("raw", [[1, 4, 0], [5, 5, 0]]),
        # (1 + 2) / 3, 0, 2 / 3 and 0, 1, 1 / 5; a constant curve becomes 0, and -1, 0 the other.
        ("normalized", [[1, 1, 2 / 3], [0, 1, 0]]),
        ("mean", [[0, 1, 0], [2, 2.5, 0]]),
    ],
)
def test_the_cascaded_tcas_is_the_maximum_over_stages(method, wanted):
    a, b = tf.constant([[1.0, -2, 0], [5, 5, 9]]), tf.constant([[-1.0, 4, 0], [-1, 0, 9]])
    valid = tf.constant([[True] * 3, [True, True, False]])
    ours = cascaded_tcas([a, b], valid, method)
    np.testing.assert_allclose(tf.where(valid, ours, 0), wanted)


@pytest.mark.parametrize("method", ["raw", "normalized"])
def test_later_stages_count_above_their_gate(method):
    # sigmoid(log 3) = 0.75 and sigmoid(log 4) = 0.8: only log 4 is above a gate of 0.75.
    a = tf.constant([[0.0, 0.5, 1.0, -1.0]])
    b = tf.constant([[np.log(3), np.log(4), -2.0, np.log(4)]], tf.float32)
    valid = tf.ones([1, 4], bool)
    ours = cascaded_tcas([a, b], valid, method, 0.75 + 1e-6)
    # Min-max: A is 0.5, 0.75, 1 and 0; B is 1 where it is log 4.
    wanted = [0.0, np.log(4), 1.0, np.log(4)] if method == "raw" else [0.5, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(ours[0], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "settings, cut, act",
    [
        ([], [[0.5, 0.0], [0.45, 0.375]], [[0.0, 0.0], [0.0, np.log(3) / 2]]),
        (["p_act=phi"], [[0.5, 0.0], [0.45, 0.375]], [[0.5, 0.0], [0.45, 0.375]]),
        (
            ["attention=false"],
            [[0.0, -np.log(3)], [0.0, np.log(3)]],
            [[0.0, -np.log(3)], [0.0, np.log(3)]],
        ),
        (
            ["attention=false", "p_act=phi"],
            [[0.0, -np.log(3)], [0.0, np.log(3)]],
            [[0.5, 0.25], [0.5, 0.75]],
        ),
    ],
)
def test_equations_4_and_5_by_hand(settings, cut, act):
    # sigmoid(0) = 1/2, sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4; H is 1, 0 and 0.9, 0.5, and 1
    # without attention.
    cascaded = tf.constant([[0.0, -np.log(3)], [0.0, np.log(3)]], tf.float32)
    heat = tf.constant([[1.0, 0.0], [0.9, 0.5]])
    if "attention=false" in settings:
        heat = tf.ones_like(heat)
    config = with_overrides(Config(), [f"localization.{s}" for s in settings]).localization
    np.testing.assert_allclose(curve_to_cut(cascaded, heat, config), cut, rtol=1e-6)
    # A single stream is its own mean.
    streams = cascaded[:, tf.newaxis], heat[:, tf.newaxis]
    np.testing.assert_allclose(curve_to_average(*streams, config), act, rtol=1e-6)


@pytest.mark.parametrize(
    "settings, chosen",
    [
        (["top_k=1"], [[1], [0], [0]]),  # ties go to the lower index
        (["top_k=2"], [[1, 2], [0, 1], [0, 1]]),
        (["top_k=9"], [[0, 1, 2]] * 3),
        # At least half of 0.8, of 0.2 and of 0.
        (["selection=score"], [[1, 2], [0, 1, 2], [0, 1, 2]]),
        (["selection=score", "class_threshold=1"], [[1], [0, 1], [0, 1, 2]]),
        # Above 0.15, and the best.
        (["selection=absolute", "class_threshold=0.15"], [[1, 2], [0, 1], [0, 1, 2]]),
        (["selection=absolute", "class_threshold=0"], [[0, 1, 2], [0, 1, 2], [0, 1, 2]]),
    ],
)
def test_selected_classes(settings, chosen):
    scores = tf.constant([[0.1, 0.8, 0.4], [0.2, 0.2, 0.1], [0.0, 0.0, 0.0]])
    config = with_overrides(Config(), [f"localization.{s}" for s in settings])
    ours = select_classes(scores, config.localization).numpy()
    assert [np.flatnonzero(row).tolist() for row in ours] == chosen


def test_class_scores():
    logits = tf.constant([[0.0, np.log(3), np.log(4)], [0.0, 0.0, 0.0]], tf.float32)
    rows = tf.constant([[0, 1], [1, 2]])
    for activation, wanted in (
        ("sigmoid", [[1 / 2, 3 / 4, 4 / 5], [1 / 2] * 3]),
        ("softmax", [[1 / 8, 3 / 8, 4 / 8], [1 / 3] * 3]),
        ("none", logits),
    ):
        np.testing.assert_allclose(class_scores(logits, activation), wanted, rtol=1e-6)
        ours = class_scores(logits, activation, rows)
        np.testing.assert_allclose(ours, [wanted[0][1], wanted[1][2]], rtol=1e-6)


# Eq. 6: the loss.


def test_equation_6_by_hand(paper):
    # Sigmoid of log 3 is 3/4: -log(3/4) where the label is 1, -log(1/4) where it is 0.
    logits = tf.constant([[np.log(3.0), np.log(3.0)], [0.0, 0.0]], tf.float32)
    labels = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    rows = np.array([[-np.log(0.75), -np.log(0.25)], [np.log(2), np.log(2)]])
    np.testing.assert_allclose(cross_entropy(logits, labels, "sum"), rows.sum() / 2, rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(logits, labels, "mean"), rows.mean(), rtol=1e-6)
    weighted = cross_entropy(logits, labels, "sum", tf.constant([0.25, 0.75]))
    np.testing.assert_allclose(weighted, 0.25 * rows[0].sum() + 0.75 * rows[1].sum(), rtol=1e-6)


def test_softmax_cross_entropy_and_its_gradient():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(4, 6)) * 3, rng.integers(0, 2, (4, 6)).astype(float)
    labels[3] = 0  # a row without labels costs nothing
    wanted = labels / np.maximum(labels.sum(axis=1, keepdims=True), 1)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        ours = cross_entropy(given, tf.constant(labels, tf.float32), "sum", loss="softmax")
    np.testing.assert_allclose(ours, -(wanted * np.log(softmax)).sum() / 4, rtol=1e-5)
    gradient = (wanted.sum(axis=1, keepdims=True) * softmax - wanted) / 4
    np.testing.assert_allclose(tape.gradient(ours, given), gradient, atol=1e-6)
    mean = cross_entropy(given, tf.constant(labels, tf.float32), "mean", loss="softmax")
    np.testing.assert_allclose(mean, ours / 6, rtol=1e-6)
    with pytest.raises(ValueError, match="loss='hinge' must be sigmoid, softmax or both"):
        cross_entropy(given, given, "sum", loss="hinge")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_equation_6_against_numpy(paper, reduction):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 6)) * 3, rng.integers(0, 2, (4, 6))
    y = paper.sigmoid(logits)
    per_class = -labels * np.log(y) - (1 - labels) * np.log(1 - y)
    wanted = (per_class.sum(axis=1) if reduction == "sum" else per_class.mean(axis=1)).mean()
    ours = cross_entropy(tf.constant(logits, tf.float32), tf.cast(labels, tf.float32), reduction)
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_the_loss_of_a_certain_and_wrong_class_is_finite():
    # -log(sigmoid(-1000)) is 1000, not -log(0).
    ours = cross_entropy(tf.constant([[-1000.0]]), tf.constant([[1.0]]), "sum")
    np.testing.assert_allclose(ours, 1000.0)


def test_the_regularization_is_keras_l2_of_half_lambda(classifier):
    ours = l2_penalty(classifier.trainable_variables, 0.0025)
    keras_l2 = sum(keras.regularizers.L2(0.00125)(v) for v in classifier.trainable_variables)
    np.testing.assert_allclose(ours, keras_l2, rtol=1e-6)
    by_hand = sum(0.5 * (v.numpy().astype(np.float64) ** 2).sum() for v in classifier.variables)
    np.testing.assert_allclose(ours, 0.0025 * by_hand, rtol=1e-5)
    assert l2_penalty(classifier.trainable_variables, 0.0) == 0


# Eq. 7-8, from Φ of both streams to a score.


def test_equations_7_and_8(paper):
    rng = np.random.default_rng(3)
    phi = rng.uniform(size=(1, 2, 30)).astype(np.float32)
    cascaded = tf.constant(rng.normal(size=phi.shape), tf.float32)
    attention = phi / tf.sigmoid(cascaded)
    config = LocalizationConfig(nms="none", thresholds=(0.5,), p_act="phi")
    trace = Trace(
        class_scores=tf.constant([[0.6]]),
        rows=tf.constant([[0, 0]]),
        p_class=tf.constant([0.6]),
        original=cascaded,
        mining=cascaded,
        cascaded=cascaded,
        attention=attention,
        phi=curve_to_cut(cascaded, attention, config),
        act=curve_to_average(cascaded, attention, config),
        lengths=tf.constant([30]),
        unit_seconds=tf.constant([1.0]),
        status=tf.constant([0]),
    )
    found = detections_of(trace, tf.constant([30.0]), config)
    assert found.counts[0] > 5
    for (start, end), score in zip(found.segments[0].numpy(), found.scores[0].numpy(), strict=True):
        units = range(int(start), int(end))
        # The paper's t_end is the last unit, ours is the one after it.
        p_act = sum((phi[0, 0, t] + phi[0, 1, t]) / (2 * len(units)) for t in units)
        np.testing.assert_allclose(score, p_act * 0.6, rtol=1e-5)
        assert (phi[0, :, int(start) : int(end)] > 0.5 * phi[0].max(axis=1)[:, None]).all(1).any()


def test_what_a_row_draws_does_not_depend_on_the_rows_beside_it():
    """A part of a batch draws what it would in the whole; the whole draws as TensorFlow does."""
    seed, values = tf.constant([3, 5], tf.int64), tf.ones([7, 6, 5])
    whole = dropout(values, 0.4, seed)
    np.testing.assert_array_equal(whole, tf.nn.experimental.stateless_dropout(values, 0.4, seed))
    for rows in (7, 9):  # of a short batch, too, which is filled up
        part = dropout(values[2:5], 0.4, tf.constant([3, 5, 2, rows], tf.int64))
        np.testing.assert_array_equal(part, whole[2:5])
