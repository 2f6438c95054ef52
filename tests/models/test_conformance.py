"""Every module, run through every promise that all modules make."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import cpmn_tf.models
from cpmn_tf.config import CascadeConfig, Config, PyramidConfig, with_overrides
from cpmn_tf.models import CPMN, CascadedClassifier, PyramidAttention, TemporalClassifier
from cpmn_tf.training.model_folder import plain_variables

LENGTHS, WIDTH, CLASSES = (24, 17, 3), 5, 3
CONFIG = with_overrides(
    Config(),
    [
        "cascade.filters=6",
        "cascade.units=12",
        "pyramid.filters=6",
        "pyramid.window=16",
        "pyramid.stride=16",
    ],
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A module and how it is called.

    Attributes:
      model: its class.
      arguments: of its constructor.
      run: (model, inputs) to a flat list of tensors.
      comparable: how many of the tensors neither XLA nor a video's place in the batch changes.
        Random erasing draws by both; its first stage, of which nothing is hidden, does not.
      static: whether all shapes follow from the inputs', as XLA wants it.
    """

    model: type[keras.Model]
    arguments: dict[str, Any]
    run: Callable[[keras.Model, dict[str, tf.Tensor]], list[tf.Tensor]]
    comparable: int | None = None
    static: bool = True

    def make(self, filled, **kwargs) -> keras.Model:
        model = self.model(**self.arguments, **kwargs)
        if not model.built:
            model.build((None, None, WIDTH))
        return filled(model)


def plain(model, inputs):
    return list(model(inputs["features"], inputs["valid"]))


def cascaded(**options):
    def run(model, inputs):
        stages = model(inputs["features"], inputs["valid"], inputs["labels"], **options)
        return [tensor for stage in stages for tensor in (stage.logits, stage.tcas)]

    return run


def on_video(model, inputs):
    lengths = tf.reduce_sum(tf.cast(inputs["valid"], tf.int32), axis=1)
    return list(model.call_on_video(inputs["features"], lengths))


def cpmn(model, inputs):
    lengths = tf.reduce_sum(tf.cast(inputs["valid"], tf.int32), axis=1)
    features = {"rgb": inputs["features"], "flow": inputs["features"][..., 1:]}
    # Rates and durations that bfloat16 would round.
    rates = tf.fill(tf.shape(lengths), 2.01)
    durations = tf.cast(lengths, tf.float32) / 2.01 - 0.01
    found = model(features, lengths, rates, durations)
    return list(found)


def cascade(**options):
    return {
        "num_classes": CLASSES,
        "config": CascadeConfig(**{"filters": 6, "threshold": 0.7, **options}),
    }


def pyramid(**options):
    return {"num_classes": CLASSES, "config": PyramidConfig(filters=6, **options)}


both = {"streams": {"rgb": WIDTH, "flow": WIDTH - 1}, "num_classes": CLASSES, "config": CONFIG}
hidden = {"seed": tf.constant([1, 2]), "training": True}

CASES = {
    "classifier": Case(TemporalClassifier, {"num_classes": CLASSES, "filters": 6}, plain),
    "cascade-adversarial": Case(CascadedClassifier, cascade(stages=3), cascaded()),
    "cascade-per_class": Case(
        CascadedClassifier, cascade(), cascaded(per_class=True), static=False
    ),
    "cascade-random": Case(
        CascadedClassifier,
        cascade(erasing="random", random_segment=4),
        cascaded(**hidden),
        comparable=2,
    ),
    "cascade-none": Case(CascadedClassifier, cascade(erasing="none"), cascaded()),
    "cascade-mean": Case(CascadedClassifier, cascade(erased_value="mean"), cascaded()),
    "pyramid-top_down": Case(PyramidAttention, pyramid(), plain),
    "pyramid-bottom_up": Case(PyramidAttention, pyramid(lateral="bottom_up"), plain),
    "pyramid-none": Case(PyramidAttention, pyramid(lateral="none", levels=2), plain),
    "pyramid-on_video": Case(PyramidAttention, pyramid(window=16, stride=8), on_video),
    "cpmn": Case(CPMN, both, cpmn, static=False),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(len(LENGTHS), max(LENGTHS), WIDTH))
    return {
        "features": tf.constant(features, tf.float32),
        "valid": tf.sequence_mask(LENGTHS),
        "labels": tf.constant([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]]),
    }


@pytest.fixture(scope="module")
def ready(inputs, filled):
    """(case) to its model and what that says of ``inputs``, op by op; made once for all tests."""
    made = {}

    def get(case: Case) -> tuple[keras.Model, list[tf.Tensor]]:
        if id(case) not in made:
            model = case.make(filled)
            tf.config.run_functions_eagerly(True)
            made[id(case)] = model, case.run(model, inputs)
            tf.config.run_functions_eagerly(False)
        return made[id(case)]

    return get


def same(ours, theirs, **tolerance):
    for one, two in zip(ours, theirs, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, **({"rtol": 1e-4, "atol": 1e-5} | tolerance))


def test_every_model_is_on_the_list():
    found = set()
    for info in pkgutil.iter_modules(cpmn_tf.models.__path__, "cpmn_tf.models."):
        for _, item in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
            if issubclass(item, keras.Model) and item.__module__.startswith("cpmn_tf."):
                found.add(item)
    assert found == {case.model for case in CASES.values()}


@every_case
def test_graph_is_eager(case, inputs, ready):
    model, wanted = ready(case)
    signature = {
        name: tf.TensorSpec([None] * (value.ndim - 1) + [value.shape[-1]], value.dtype)
        for name, value in inputs.items()
    } | {"valid": tf.TensorSpec([None, None], tf.bool)}
    graph = tf.function(lambda inputs: case.run(model, inputs), input_signature=[signature])
    same(graph(inputs), wanted)


@every_case
def test_a_padded_batch_is_one_video_at_a_time(case, inputs, ready):
    model, together = ready(case)
    together = together[: case.comparable]
    first = [0] * len(together)
    for row, length in enumerate(LENGTHS):
        video = {name: value[row : row + 1] for name, value in inputs.items()}
        video["features"], video["valid"] = (
            video["features"][:, :length],
            video["valid"][:, :length],
        )
        for number, alone in enumerate(case.run(model, video)[: case.comparable]):
            # A tensor may have several rows per video: the erased copies of its labels.
            ours = together[number][first[number] : first[number] + len(alone)]
            first[number] += len(alone)
            if alone.ndim > 1:
                ours, beyond = ours[:, : alone.shape[1]], ours[:, alone.shape[1] :]
                assert (beyond.numpy() == (-1 if beyond.dtype == tf.int32 else 0)).all()
            np.testing.assert_allclose(ours, alone, rtol=1e-4, atol=1e-5)
    assert first == [len(tensor) for tensor in together]


@every_case
def test_it_is_made_anew_from_its_settings(case, inputs, ready):
    model, wanted = ready(case)
    text = json.dumps(keras.saving.serialize_keras_object(model))
    for again in (
        case.model.from_config(model.get_config()),
        keras.saving.deserialize_keras_object(json.loads(text)),
    ):
        assert type(again) is case.model
        assert again.get_config() == model.get_config()
        if not again.built:
            again.build((None, None, WIDTH))
        again.set_weights(model.get_weights())
        same(case.run(again, inputs), wanted)


@every_case
def test_weights_come_back_from_files(case, inputs, ready, tmp_path):
    model, wanted = ready(case)
    path = str(tmp_path / "weights.weights.h5")
    model.save_weights(path)
    saved = tf.train.Checkpoint(weights=plain_variables(model)).save(str(tmp_path / "plain"))

    from_keras = case.make(lambda model: model)
    from_keras.load_weights(path)
    same(case.run(from_keras, inputs), wanted, rtol=1e-6)

    from_plain = case.make(lambda model: model)
    checkpoint = tf.train.Checkpoint(weights=plain_variables(from_plain))
    checkpoint.restore(saved).assert_consumed()
    same(case.run(from_plain, inputs), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.static],
    ids=[n for n in CASES if CASES[n].static],
)
def test_xla_compiles_it(case, inputs, ready):
    model, wanted = ready(case)
    compiled = tf.function(lambda inputs: case.run(model, inputs), jit_compile=True)
    ours = compiled(inputs)
    assert len(ours) == len(wanted)
    same(ours[: case.comparable], wanted[: case.comparable])


@every_case
def test_mixed_precision_stays_finite_and_gives_float32(case, inputs, ready, filled):
    model = case.make(filled, dtype="mixed_bfloat16")
    assert {variable.dtype for variable in model.variables} == {"float32"}
    ours = case.run(model, inputs)
    _, exact = ready(case)
    assert [tensor.dtype for tensor in ours] == [tensor.dtype for tensor in exact]
    assert all(np.isfinite(tensor).all() for tensor in ours)
    if case.model is CPMN:
        # Rounded curves cut other proposals; but time is not rounded.
        lengths = np.array(LENGTHS)
        ends = ours[0].numpy()[..., 1].max(axis=1)
        assert (ends <= lengths / 2.01 - 0.01 + 1e-5).all()
        units = np.minimum(ours[0].numpy() * 2.01, lengths[:, None, None])
        np.testing.assert_allclose(units, np.rint(units), atol=0.03)
    else:
        # The first stage's scores are those of float32 but for 8 bits of mantissa.
        np.testing.assert_allclose(ours[0], exact[0], atol=0.05)
        assert (ours[0] != exact[0]).numpy().any()


def test_a_saved_keras_file_opens(inputs, ready, tmp_path):
    model, wanted = ready(CASES["cpmn"])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config == CONFIG
    assert list(again.streams) == ["rgb", "flow"]
    same(cpmn(again, inputs), wanted, rtol=1e-6)
