"""What TensorFlow Serving finds beside a graph."""

import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.serving import warmup
from cpmn_tf.training import load_model


def test_every_request_runs_and_fits_a_batch(exported):
    reason = "the extra [serving] is not installed"
    log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=reason)
    folder = exported / "1"
    signatures = tf.saved_model.load(str(folder)).signatures
    most = int(re.search(r"max_batch_size { value: (\d+) }", warmup.BATCHING)[1])
    run, units = [], []
    dataset = tf.data.TFRecordDataset(str(folder / "assets.extra" / warmup.FILE))
    for record in dataset.as_numpy_iterator():
        request = log.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        name = request.model_spec.signature_name
        found = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        assert not found["status"].numpy().any() and found["counts"].numpy().any()
        assert len(found["counts"]) <= most
        run.append(name)
        if name == "detect":
            units.append(inputs["lengths"].tolist())
    assert run == ["detect", "serialized"] * len(warmup.REQUESTS)
    assert units == [list(lengths) for lengths in warmup.REQUESTS]


def test_without_its_messages_there_are_none(drawn_model_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    assert not warmup.write(load_model(drawn_model_dir), tmp_path)
    assert not list(tmp_path.iterdir())


def test_padding_as_batching_does_it_changes_nothing(drawn_model_dir):
    """TensorFlow Serving pads with a tensor's first value, whatever that is."""
    assert "pad_variable_length_inputs: true" in warmup.BATCHING
    model = load_model(drawn_model_dir)
    rng = np.random.default_rng(0)
    alone = {
        name: rng.normal(size=(1, 60, width)).astype(np.float32)
        for name, width in model.streams.items()
    }
    padded = {
        name: np.pad(values, [(0, 0), (0, 40), (0, 0)], constant_values=values.flat[0])
        for name, values in alone.items()
    }
    given = tf.constant([60]), tf.constant([10.0]), tf.constant([6.0])
    one, other = model(alone, *given), model(padded, *given)
    assert one.counts.numpy().tolist() == other.counts.numpy().tolist() != [0]
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)


def test_parameters_that_are_there_stay(tmp_path):
    warmup.write_batching(tmp_path)
    assert (tmp_path / warmup.BATCHING_FILE).read_text() == warmup.BATCHING
    (tmp_path / warmup.BATCHING_FILE).write_text("max_batch_size { value: 2 }")
    warmup.write_batching(tmp_path)
    assert (tmp_path / warmup.BATCHING_FILE).read_text() == "max_batch_size { value: 2 }"
