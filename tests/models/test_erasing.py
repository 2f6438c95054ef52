"""Online adversarial erasing: what is hidden, from whom, and that nothing leaks back."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import CascadeConfig
from cpmn_tf.models import CascadedClassifier, erasing

EVERY = tf.ones([1, 4], tf.bool)


def mask(curve, threshold=0.4, normalization="min_max", valid=None) -> list[bool]:
    """The mask of one video's one class."""
    tcas = tf.constant(curve, tf.float32)[tf.newaxis, :, tf.newaxis]
    valid = tf.ones(tcas.shape[:2], tf.bool) if valid is None else tf.constant([valid])
    chosen = tf.constant([[True]])
    return erasing.erasing_mask(tcas, valid, chosen, threshold, normalization)[0].numpy().tolist()


def test_the_threshold_is_strict():
    # Min-max of 0, 2, 3, 4 is 0, 0.5, 0.75, 1.
    assert mask([0, 2, 3, 4], 0.5) == [False, False, True, True]
    assert mask([0, 2, 3, 4], 0.49) == [False, True, True, True]
    assert mask([0, 2, 3, 4], 1.0) == [False] * 4
    assert mask([0, 2, 3, 4], 0.0) == [False, True, True, True]


def test_normalisations_by_hand():
    # min_max of -4, -2, 2, 4: 0, 0.25, 0.75, 1. ratio_to_max: 0, 0, 0.5, 1.
    # sigmoid: 0.02, 0.12, 0.88, 0.98.
    curve = [-4, -2, 2, 4]
    assert mask(curve, 0.2) == [False, True, True, True]
    assert mask(curve, 0.5, "ratio_to_max") == [False, False, False, True]
    assert mask(curve, 0.1, "sigmoid") == [False, True, True, True]
    # All below zero: min-max still has a highest place, ratio_to_max has none.
    assert mask([-4, -3, -2, -1], 0.5) == [False, False, True, True]
    assert mask([-4, -3, -2, -1], 0.5, "ratio_to_max") == [False] * 4


@pytest.mark.parametrize("normalization", ["min_max", "ratio_to_max"])
@pytest.mark.parametrize("level", [-3.0, 0.0, 3.0])
def test_a_constant_map_erases_nothing(normalization, level):
    assert mask([level] * 4, 0.4, normalization) == [False] * 4
    rounding = [level, np.nextafter(np.float32(level), np.float32(9)), level, level]
    if level:
        assert mask(rounding, 0.4, normalization) == [False] * 4
    assert mask([level], 0.4, normalization) == [False]  # a video of one unit


def test_padding_is_neither_erased_nor_looked_at():
    # The 100 in the padding would bring 2 down to 0.02.
    assert mask([0, 2, 100, 100], valid=[True, True, False, False]) == [False, True, False, False]
    features = tf.fill([1, 4, 2], 7.0)
    erased = erasing.erase(
        features, tf.ones([1, 4], tf.bool), tf.constant([[True, True, False, False]])
    )
    assert erased[0, :, 0].numpy().tolist() == [0, 0, 7, 7]


def test_only_the_given_classes_are_erased_and_joined():
    tcas = tf.constant([[[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 0]]])
    for chosen, wanted in (
        ([0, 0, 0], [False] * 4),
        ([0, 1, 0], [False, True, False, False]),
        ([1, 0, 1], [True, False, True, False]),
    ):
        ours = erasing.erasing_mask(tcas, EVERY, tf.constant([chosen]) > 0)
        assert ours[0].numpy().tolist() == wanted


def test_the_mean_is_that_of_the_valid_units():
    features = tf.constant([[[1.0], [2.0], [6.0], [99.0]]])
    valid = tf.constant([[True, True, True, False]])
    erased = tf.constant([[False, True, False, True]])
    ours = erasing.erase(features, erased, valid, "mean")
    assert ours[0, :, 0].numpy().tolist() == [1, 3, 6, 99]  # (1 + 2 + 6) / 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_mean_keeps_its_digits_in_half_precision(dtype):
    # 3000 units of 50: the sum, 150 000, is beyond float16, and bfloat16 cannot count to 3000.
    features, valid = tf.fill([1, 3000, 1], tf.constant(50, dtype)), tf.ones([1, 3000], tf.bool)
    ours = erasing.erase(features, valid, valid, "mean")
    assert ours.dtype == dtype
    assert set(tf.cast(ours, tf.float32).numpy().ravel()) == {50.0}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: erasing.normalize_tcas(tf.zeros([1, 4, 1]), EVERY, "softmax"), "softmax"),
        (lambda: erasing.erase(tf.zeros([1, 4, 1]), EVERY, EVERY, "noise"), "noise"),
        (lambda: CascadeConfig(erasing="soft"), "soft"),
        (lambda: CascadeConfig(stages=0), "stages=0"),
    ],
)
def test_unknown_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_graph_and_eager_agree():
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(3, 40, 5)), tf.float32)
    tcas = tf.constant(rng.normal(size=(3, 40, 4)), tf.float32)
    valid = tf.sequence_mask([40, 7, 1], 40)
    chosen = tf.constant(rng.integers(0, 2, (3, 4)), tf.bool)
    erased = erasing.erasing_mask(tcas, valid, chosen)
    for function, arguments in (
        *((erasing.normalize_tcas, (tcas, valid, m)) for m in ("min_max", "sigmoid")),
        *((erasing.erasing_mask, (tcas, valid, chosen, t)) for t in (0.3, 0.7)),
        *((erasing.erase, (features, erased, valid, v)) for v in ("zero", "mean")),
        (erasing.random_mask, (valid, tf.constant([1, 2]), 6, 0.5)),
    ):
        graph, eager = function(*arguments), function.python_function(*arguments)
        if graph.dtype == tf.bool:
            np.testing.assert_array_equal(graph, eager)
        else:
            np.testing.assert_allclose(graph, eager, rtol=1e-6, atol=1e-6)


# The cascade.


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(5)
    features = tf.constant(rng.normal(size=(3, 30, 4)), tf.float32)
    labels = tf.constant([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]])
    return features, tf.sequence_mask([30, 19, 6], 30), labels


def cascade(filled, **options) -> CascadedClassifier:
    model = CascadedClassifier(num_classes=3, config=CascadeConfig(filters=6, **options))
    model.build((None, None, 4))
    return filled(model)


def test_no_gradient_passes_a_mask(batch, filled):
    model = cascade(filled, stages=3, erased_value="mean", threshold=0.7)
    features, valid, labels = batch
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        stages = model(features, valid, labels)
        losses = [tf.reduce_sum(tf.square(stage.logits)) for stage in stages]
    for loss, own in zip(losses, model.stages, strict=True):
        for stage in model.stages:
            gradients = tape.gradient(loss, stage.trainable_variables)
            if stage is own:
                assert all(np.abs(gradient).max() > 0 for gradient in gradients)
            else:
                assert gradients == [None] * len(gradients)
    # Nor does a loss reach the features that were hidden from it.
    hidden = stages[2].erased & valid
    reached = tape.gradient(losses[2], features)
    assert hidden.numpy().any()
    assert not tf.boolean_mask(reached, hidden).numpy().any()


def test_masks_accumulate(batch, filled):
    features, valid, labels = batch
    stages = cascade(filled, stages=3, threshold=0.7)(features, valid, labels)
    assert not stages[0].erased.numpy().any()
    erased = np.zeros(valid.shape, bool)
    for earlier, later in itertools.pairwise(stages):
        erased |= erasing.erasing_mask(earlier.tcas, valid, labels > 0, 0.7).numpy()
        np.testing.assert_array_equal(later.erased, erased)
        assert (later.erased.numpy().sum(1) > earlier.erased.numpy().sum(1)).all()
        assert not (later.erased & ~valid).numpy().any()


def test_each_copy_erases_its_own_class(batch, filled):
    features, valid, labels = batch
    model = cascade(filled, stages=3, threshold=0.7)
    union = model(features, valid, labels)
    copies = model(features, valid, labels, per_class=True)
    # One row per video and label, in this order.
    pairs = [(0, 0), (0, 2), (1, 1), (2, 2)]
    assert copies[0].video.numpy().tolist() == [0, 1, 2]
    for number in (1, 2):
        assert copies[number].video.numpy().tolist() == [video for video, _ in pairs]
    for row, (video, label) in enumerate(pairs):
        alone = model(features[video : video + 1], valid[video : video + 1], tf.one_hot([label], 3))
        for ours, wanted in zip(copies[1:], alone[1:], strict=True):
            np.testing.assert_array_equal(ours.erased[row], wanted.erased[0])
            np.testing.assert_allclose(ours.logits[row], wanted.logits[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(ours.tcas[row], wanted.tcas[0], rtol=1e-4, atol=1e-5)
    # Stage B of the union hides what either copy of video 0 hides.
    joined = copies[1].erased[0] | copies[1].erased[1]
    np.testing.assert_array_equal(union[1].erased[0], joined)
    assert (copies[1].erased[0] != copies[1].erased[1]).numpy().any()


def test_no_label_erases_nothing_and_makes_no_copy(batch, filled):
    features, valid, labels = batch
    model = cascade(filled)
    assert not model(features, valid, tf.zeros_like(labels))[1].erased.numpy().any()
    assert model(features, valid, tf.zeros_like(labels), per_class=True)[1].logits.shape == (0, 3)


def test_the_policy_none_hides_nothing(batch, filled):
    stages = cascade(filled, stages=3, erasing="none")(*batch, training=True)
    assert not any(stage.erased.numpy().any() for stage in stages)


def test_the_random_policy_hides_in_training_only(batch, filled):
    model = cascade(filled, stages=3, erasing="random", random_segment=5)
    assert not any(stage.erased.numpy().any() for stage in model(*batch))
    seed = tf.constant([3, 8], tf.int64)
    stages = model(*batch, seed=seed, training=True)
    again = model(*batch, seed=seed, training=True)
    other = model(*batch, seed=seed + 1, training=True)
    valid = batch[1]
    for number, stage in enumerate(stages):
        np.testing.assert_array_equal(stage.erased, again[number].erased)
        assert not (stage.erased & ~valid).numpy().any()
    assert (stages[1].erased != other[1].erased).numpy().any()
    # Stages hide segments of their own, joined to the earlier ones.
    assert not (stages[1].erased & ~stages[2].erased).numpy().any()
    assert (stages[1].erased != stages[2].erased).numpy().any()


def test_random_segments_have_their_length_and_rate():
    valid = tf.ones([400, 50], tf.bool)
    hidden = erasing.random_mask(valid, tf.constant([0, 1]), 8, 0.3).numpy()
    # 50 units are 6 segments of 8 and one of 2.
    starts = [0, 8, 16, 24, 32, 40, 48]
    segments = hidden[:, starts]
    np.testing.assert_array_equal(hidden, np.repeat(segments, 8, axis=1)[:, :50])
    # 2800 draws at 0.3: their mean is within 4 · sqrt(0.3 · 0.7 / 2800) = 0.035.
    assert abs(segments.mean() - 0.3) < 0.035
    assert erasing.random_mask(valid, tf.constant([0, 1]), 8, 0.0).numpy().sum() == 0
    assert erasing.random_mask(valid, tf.constant([0, 1]), 8, 1.0).numpy().all()
