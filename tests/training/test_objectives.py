"""What one step minimises, at which rate, and from which weights."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.models import CascadedClassifier, PyramidAttention
from cpmn_tf.training import objectives
from cpmn_tf.training.step import initialize, learning_rate, make_optimizer, make_step

SEED = tf.constant([0, 0])


def config(*settings: str) -> Config:
    small = ["cascade.filters=4", "pyramid.filters=4", "cascade.threshold=0.6"]
    return with_overrides(Config(), [*small, *settings])


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "features": tf.constant(rng.normal(size=(3, 16, 5)), tf.float16),
        "valid": tf.sequence_mask([16, 9, 4], 16),
        "labels": tf.constant([[1.0, 0, 1], [0, 1, 0], [1, 1, 1]]),
    }


def cascade(settings: Config):
    model = CascadedClassifier(num_classes=3, config=settings.cascade)
    model.build((None, None, 5))
    initialize(model, 7)
    return model


def cross_entropy(logits, labels):
    """Per row, the sum over classes of -ψ·log(y) - (1 - ψ)·log(1 - y)."""
    y = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return (-labels * np.log(y) - (1 - labels) * np.log(1 - y)).sum(axis=1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("stages", [1, 3])
def test_the_cascade_adds_its_stages(batch, reduction, stages):
    settings = config(f"training.class_reduction={reduction}", f"cascade.stages={stages}")
    model, labels = cascade(settings), batch["labels"].numpy()
    loss = objectives.cascade_loss(model, batch, settings, SEED)
    rows = model(tf.cast(batch["features"], tf.float32), batch["valid"], batch["labels"])
    wanted = sum(cross_entropy(stage.logits, labels).mean() for stage in rows)
    assert len(rows) == stages
    wanted /= {"mean": 3, "sum": 1}[reduction]  # of three classes
    np.testing.assert_allclose(loss.classification, wanted, 1e-5)
    # λ·Σ½w² over all stages' kernels and biases.
    weights = sum((v.numpy().astype(np.float64) ** 2).sum() for v in model.variables)
    np.testing.assert_allclose(loss.regularization, 0.0025 * weights / 2, rtol=1e-5)


def test_copies_share_their_videos_weight(batch):
    settings = config("cascade.erased_classes=per_class")
    model, labels = cascade(settings), batch["labels"].numpy()
    features = tf.cast(batch["features"], tf.float32)
    first, second = model(features, batch["valid"], batch["labels"], per_class=True)
    # Videos of 2, 1 and 3 labels, of which each counts 1/3.
    assert second.video.numpy().tolist() == [0, 0, 1, 2, 2, 2]
    weights = np.array([1 / 6, 1 / 6, 1 / 3, 1 / 9, 1 / 9, 1 / 9])
    assert weights.sum() == pytest.approx(1)
    copies = cross_entropy(second.logits, labels[second.video.numpy()])
    wanted = cross_entropy(first.logits, labels).mean() + (weights * copies).sum()
    loss = objectives.cascade_loss(model, batch, settings, SEED)
    np.testing.assert_allclose(loss.classification, wanted, rtol=1e-5)


def test_a_batch_without_labels_has_no_copies_and_a_finite_loss(batch):
    settings = config("cascade.erased_classes=per_class")
    model, empty = cascade(settings), {**batch, "labels": tf.zeros([3, 3])}
    with tf.GradientTape() as tape:
        loss = objectives.cascade_loss(model, empty, settings, SEED)
    logits = model.first_stage(tf.cast(batch["features"], tf.float32), batch["valid"]).logits
    wanted = cross_entropy(logits, np.zeros([3, 3])).mean()
    np.testing.assert_allclose(loss.classification, wanted, rtol=1e-5)
    gradients = tape.gradient(loss.classification, model.stages[0].trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_each_stage_learns_from_its_own_loss_alone(batch):
    """The joint loss equals training the classifiers separately, as the paper does."""
    settings = config("training.cascade_l2=0")
    model, labels = cascade(settings), batch["labels"]
    with tf.GradientTape(persistent=True) as tape:
        joint = objectives.cascade_loss(model, batch, settings, SEED).classification
        stages = model(tf.cast(batch["features"], tf.float32), batch["valid"], labels)
        alone = [objectives.cross_entropy(stage.logits, labels, "sum") for stage in stages]
    for stage, loss in zip(model.stages, alone, strict=True):
        ours = tape.gradient(joint, stage.trainable_variables)
        theirs = tape.gradient(loss, stage.trainable_variables)
        for one, two in zip(ours, theirs, strict=True):
            assert np.abs(two).max() > 0
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-8)


def test_the_gradient_of_the_regularization_is_lambda_w(batch):
    settings = config("training.cascade_l2=0.25")
    model = cascade(settings)
    with tf.GradientTape() as tape:
        penalty = objectives.cascade_loss(model, batch, settings, SEED).regularization
    for gradient, variable in zip(
        tape.gradient(penalty, model.trainable_variables), model.variables, strict=True
    ):
        np.testing.assert_allclose(gradient, 0.25 * variable.numpy(), rtol=1e-6)


def test_later_classifiers_have_their_own_lambda(batch):
    settings = config("training.cascade_l2=0.25", "training.mining_l2=10", "cascade.stages=3")
    model = cascade(settings)
    with tf.GradientTape(persistent=True) as tape:
        penalty = objectives.cascade_loss(model, batch, settings, SEED).regularization
    of_stage = [
        sum((v.numpy().astype(np.float64) ** 2).sum() for v in stage.variables) / 2
        for stage in model.stages
    ]
    np.testing.assert_allclose(penalty, 0.25 * of_stage[0] + 2.5 * sum(of_stage[1:]), rtol=1e-5)
    for stage, scale in zip(model.stages, (0.25, 2.5, 2.5), strict=True):
        gradients = tape.gradient(penalty, stage.trainable_variables)
        for gradient, variable in zip(gradients, stage.variables, strict=True):
            np.testing.assert_allclose(gradient, scale * variable.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["cascade.erased_classes=per_class"],
        ["cascade.erasing=hide_and_seek", "cascade.dropout=0.5", "cascade.mining_dropout=0.3"],
        ["training.coactivity=2", "training.group_size=2", "training.loss=both"],
        [
            "training.coactivity=2",
            "training.group_size=2",
            "cascade.erased_classes=per_class",
            "cascade.pooling=soft_selection",
            "training.loss=softmax",
        ],
    ],
)
def test_the_losses_of_a_batchs_parts_add_up_to_its_own(settings):
    """What is drawn included, and in a last batch that is filled up: 5 videos in 4 parts of 2."""
    settings = config("cascade.random_segment=4", "training.batch_size=8", *settings)
    rng = np.random.default_rng(0)
    whole = {
        "features": tf.constant(rng.normal(size=(5, 16, 5)), tf.float16),
        "valid": tf.sequence_mask([16, 9, 4, 12, 7], 16),
        "labels": tf.constant([[1.0, 0, 1], [1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]]),
    }
    filled = {
        "features": tf.pad(whole["features"], [[0, 3], [0, 0], [0, 0]]),
        "valid": tf.pad(whole["valid"], [[0, 3], [0, 0]], constant_values=True),
        "labels": tf.pad(whole["labels"], [[0, 3], [0, 0]]),
        "rows": tf.constant([5] * 5 + [0] * 3),
    }
    model = cascade(settings)

    def losses(batch, seed):
        with tf.GradientTape() as tape:
            loss = objectives.cascade_loss(model, batch, settings, tf.constant(seed, tf.int64))
            drawn = loss.classification + (0.0 if loss.coactivity is None else loss.coactivity)
        gradients = tape.gradient(drawn, model.trainable_variables)
        return [drawn.numpy(), *(gradient.numpy() for gradient in gradients)]

    parts = [
        losses({key: value[first : first + 2] for key, value in filled.items()}, [3, 9, first, 8])
        for first in (0, 2, 4, 6)
    ]
    for wanted, *found in zip(losses(whole, [3, 9]), *parts, strict=True):
        np.testing.assert_allclose(sum(found), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "both"])
@pytest.mark.parametrize("module", ["cascade", "pyramid"])
def test_the_softmax_loss_is_that_of_both_modules(batch, module, kind):
    settings = config(f"training.loss={kind}")
    labels = batch["labels"].numpy()
    if module == "cascade":
        model, loss_of = cascade(settings), objectives.cascade_loss
        stages = model(tf.cast(batch["features"], tf.float32), batch["valid"], batch["labels"])
        logits = [stage.logits.numpy().astype(np.float64) for stage in stages]
    else:
        model = PyramidAttention(num_classes=3, config=settings.pyramid)
        model.build((None, None, 5))
        initialize(model, 3)
        loss_of = objectives.pyramid_loss
        logits = [model(tf.cast(batch["features"], tf.float32), batch["valid"])[0].numpy()]
    wanted = 0.0
    for each in logits:
        log_softmax = each - np.log(np.exp(each).sum(axis=1, keepdims=True))
        losses = -labels / labels.sum(axis=1, keepdims=True) * log_softmax
        if kind == "both":
            losses = (losses + np.log1p(np.exp(each)) - labels * each) / 2
        wanted += losses.sum(axis=1).mean()
    loss = loss_of(model, batch, settings, SEED)
    np.testing.assert_allclose(loss.classification, wanted, rtol=1e-5)


def test_the_gradient_is_that_of_small_steps(batch):
    settings = config("cascade.stages=1")
    model = cascade(settings)

    def total():
        loss = objectives.cascade_loss(model, batch, settings, SEED)
        return loss.classification + loss.regularization

    with tf.GradientTape() as tape:
        value = total()
    gradients = tape.gradient(value, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        before, direction = variable.numpy(), gradient.numpy() / np.linalg.norm(gradient)
        ends = []
        for step in (1e-3, -1e-3):
            variable.assign(before + step * direction)
            ends.append(float(total()))
        variable.assign(before)
        slope = (ends[0] - ends[1]) / 2e-3
        np.testing.assert_allclose(slope, np.linalg.norm(gradient), rtol=0.02)


def test_the_pyramids_loss_and_no_regularization_of_it(batch):
    for settings, scale in ((config(), 0.0), (config("training.pyramid_l2=0.5"), 0.5)):
        model = PyramidAttention(num_classes=3, config=settings.pyramid)
        model.build((None, None, 5))
        initialize(model, 3)
        loss = objectives.pyramid_loss(model, batch, settings, SEED)
        logits, _ = model(tf.cast(batch["features"], tf.float32), batch["valid"])
        wanted = cross_entropy(logits, batch["labels"].numpy()).mean()
        np.testing.assert_allclose(loss.classification, wanted, rtol=1e-5)
        weights = sum((v.numpy().astype(np.float64) ** 2).sum() for v in model.variables)
        np.testing.assert_allclose(loss.regularization, scale * weights / 2, rtol=1e-5)


# W-TALC's co-activity loss.


def coactivity(videos, labels, groups, margin=0.5):
    """As its paper prints it, over (Z [T, K], w [K, C]) in float64: per group and class."""
    found = {}
    for group in sorted(set(groups)):
        members = [index for index, own in enumerate(groups) if own == group]
        for c in range(labels.shape[1]):
            pairs = [
                (m, n)
                for m, n in itertools.combinations(members, 2)
                if labels[m, c] and labels[n, c]
            ]
            if not pairs:
                continue
            losses = []
            for pair in pairs:
                high, low = [], []
                for index in pair:
                    z, w = videos[index]
                    a = np.exp(z @ w[:, c])
                    a /= a.sum()
                    high.append(z.T @ a)
                    low.append(z.T @ (1 - a) / (len(z) - 1))

                def distance(one, two):
                    return 1 - one @ two / np.sqrt((one @ one) * (two @ two))

                near = distance(*high) + margin
                losses.append(
                    max(0, near - distance(high[0], low[1])) / 2
                    + max(0, near - distance(low[0], high[1])) / 2
                )
            found[group, c] = np.mean(losses)
    return found


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(5)
    lengths, w = [9, 6, 7, 4, 8], rng.normal(size=(5, 3))
    z = np.maximum(rng.normal(size=(5, 9, 5)), 0.01)
    labels = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 1, 1]])
    return lengths, w, z, labels, [0, 0, 1, 1, 1]


def test_the_coactivity_loss_is_that_of_its_paper(pairs):
    lengths, w, z, labels, groups = pairs
    videos = [(each[:length], w) for each, length in zip(z, lengths, strict=True)]
    wanted = coactivity(videos, labels, groups)
    # Group 0 shares classes 0 and 2; of group 1, two videos show class 0, three class 1, two 2.
    assert set(wanted) == {(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)}
    assert all(0.1 < value < 1 for value in wanted.values())
    valid = tf.sequence_mask(lengths)
    given = tf.constant(z, tf.float32), valid, tf.constant(labels, tf.float32)
    tcas = tf.constant(z @ w, tf.float32)
    terms, shared = objectives.coactivity_terms(tcas, *given, tf.constant(groups))
    for row, group in enumerate(groups):
        for c in range(3):
            assert shared[row, c] == ((group, c) in wanted)
            np.testing.assert_allclose(terms[row, c], wanted.get((group, c), 0), rtol=1e-5)
    of_group = [np.mean([v for (g, _), v in wanted.items() if g == group]) for group in (0, 1)]
    ours = objectives.coactivity_loss(tcas, *given, tf.constant(groups))
    np.testing.assert_allclose(ours, np.mean(of_group), rtol=1e-5)
    alone = objectives.coactivity_loss(tcas, *given, tf.range(5))
    assert alone == 0


def test_the_coactivity_gradient_is_that_of_small_steps(pairs):
    _, w, z, _, _ = pairs
    values = [tf.constant(z), tf.constant(w)]  # in float64
    labels = pairs[3]

    def loss(z, w):
        valid = tf.sequence_mask(pairs[0])
        return objectives.coactivity_loss(
            z @ w, z, valid, tf.constant(labels, tf.float64), tf.constant(pairs[4])
        )

    with tf.GradientTape() as tape:
        tape.watch(values)
        result = loss(*values)
    rng = np.random.default_rng(0)
    for index, gradient in enumerate(tape.gradient(result, values)):
        direction = rng.normal(size=gradient.shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = list(values)
            moved[index] += step * direction
            ends.append(float(loss(*moved)))
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-5)
        assert abs(slope) > 1e-3


def test_groups_over_devices_give_the_same_loss(pairs):
    lengths, w, z, labels, _ = pairs
    valid, labels = tf.sequence_mask(lengths), tf.constant(labels, tf.float32)
    z, tcas = tf.constant(z, tf.float32), tf.constant(z @ w, tf.float32)
    groups = tf.constant([0, 0, 1, 1])
    whole = objectives.coactivity_loss(tcas[:4], z[:4], valid[:4], labels[:4], groups)
    halves = [
        objectives.coactivity_loss(tcas[p], z[p], valid[p], labels[p], groups[p])
        for p in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(whole, np.mean(halves), rtol=1e-6)
    assert halves[0] > 0 and halves[1] > 0 and halves[0] != halves[1]


@pytest.mark.parametrize("copies", ["union", "per_class"])
def test_every_stage_has_its_coactivity_loss(batch, copies):
    settings = config(
        "training.coactivity=0.5",
        "training.group_size=2",
        "cascade.mining_pooling=unerased",
        f"cascade.erased_classes={copies}",
    )
    model = cascade(settings)
    batch = {**batch, "labels": tf.constant([[1.0, 0, 1], [1, 0, 1], [1, 1, 1]])}
    loss = objectives.cascade_loss(model, batch, settings, SEED)
    per_class, labels = copies == "per_class", batch["labels"].numpy()
    features = tf.cast(batch["features"], tf.float32)
    stages = model(
        features, batch["valid"], batch["labels"], per_class=per_class, seed=SEED, training=True
    )
    wanted = 0.0
    for number, (stage, classifier) in enumerate(zip(stages, model.stages, strict=True)):
        video = stage.video.numpy()
        shown = labels[video]
        if per_class and number:
            shown = np.eye(3)[[0, 2, 0, 2, 0, 1, 2]]  # labels of videos 0, 0, 1, 1, 2, 2, 2
        seen = tf.gather(batch["valid"], video).numpy() & ~stage.erased.numpy()
        w = classifier.classifier.kernel.numpy()
        z = stage.encoded.numpy()
        videos = [(z[row][seen[row]].astype(np.float64), w) for row in range(len(video))]
        groups = (video // 2).tolist()  # videos 0 and 1, and video 2 by itself
        found = coactivity(videos, shown, groups)
        for group in (0, 1):
            own = [value for (g, _), value in found.items() if g == group]
            wanted += np.mean(own) / 2 if own else 0
    np.testing.assert_allclose(loss.coactivity, 0.5 * wanted, rtol=1e-4, atol=1e-6)
    assert len(loss.parts()) == 3
    assert len(objectives.cascade_loss(model, batch, config(), SEED).parts()) == 2


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction='max' must be sum or mean"):
        objectives.cross_entropy(tf.zeros([1, 1]), tf.zeros([1, 1]), "max")


# The rate.


def test_the_rate_changes_on_the_first_step_of_epoch_31():
    # 13 steps an epoch: epoch 30 ends with step 389 (counted from 0), epoch 31 begins with 390.
    schedule = learning_rate(Config(), 13)
    rates = [float(schedule(step)) for step in (0, 388, 389, 390, 391, 13 * 150 - 1)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4], rtol=1e-6)


def test_no_first_part_means_the_second_rate_at_once():
    schedule = learning_rate(config("training.epochs=0"), 13)
    np.testing.assert_allclose(float(schedule(0)), 1e-4, rtol=1e-6)


def test_the_optimizer_itself_changes_on_that_step():
    """A constant gradient makes each of Adam's updates as long as the rate."""
    settings = config("training.epochs=2")
    weight = tf.Variable([0.0])
    optimizer = make_optimizer(settings, 3, [weight])
    steps = []
    for _ in range(9):
        before = weight.numpy()
        optimizer.apply([tf.constant([1.0])], [weight])
        steps.append(float((before - weight.numpy())[0]))
    # 2 epochs of 3 steps, then the second rate.
    np.testing.assert_allclose(steps, [1e-3] * 6 + [1e-4] * 3, rtol=1e-2)


def test_a_step_updates_and_reports_the_loss_before_it(batch):
    settings = config()
    model = cascade(settings)
    before = objectives.cascade_loss(model, batch, settings, SEED)
    optimizer = make_optimizer(settings, 1, model.trainable_variables)
    step = make_step(model, optimizer, objectives.cascade_loss, settings, seed=0)
    reported = step(batch, tf.constant(0, tf.int64))
    np.testing.assert_allclose(reported, before.parts(), rtol=1e-5)
    for _ in range(4):
        reported = step(batch, tf.constant(0, tf.int64))
    assert reported[0] < before.classification
    assert int(optimizer.iterations) == 5


# The weights.


def test_initial_weights_come_from_the_seed_alone():
    settings, drawn = config(), []
    for seed, noise in ((7, 1), (7, 2), (8, 1)):
        tf.random.set_seed(noise)
        model = CascadedClassifier(num_classes=3, config=settings.cascade)
        model.build((None, None, 5))
        initialize(model, seed)
        drawn.append([variable.numpy() for variable in model.variables])
    for first, again, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(first, again)
        if first.ndim == 1:
            assert not first.any()  # biases
        else:
            assert (first != other).any()


def test_initial_kernels_are_glorot_uniform_and_differ_between_stages():
    settings = config("cascade.filters=40")
    model = CascadedClassifier(num_classes=3, config=settings.cascade)
    model.build((None, None, 20))
    initialize(model, 0)
    kernels = [[v.numpy() for v in stage.variables if v.ndim > 1] for stage in model.stages]
    # sqrt(6 / (fan in + fan out)): 3 · 20 and 3 · 40, 3 · 40 twice, 40 and 3.
    limits = [(6 / 180) ** 0.5, (6 / 240) ** 0.5, (6 / 43) ** 0.5]
    for one, other, limit in zip(*kernels, limits, strict=True):
        assert np.abs(one).max() <= limit
        assert np.abs(one).max() > 0.9 * limit
        assert abs(one.mean()) < 4 * limit / (3 * one.size) ** 0.5  # sd of a mean: limit / sqrt(3n)
        assert (one != other).any()
