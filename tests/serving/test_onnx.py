"""``score`` as ONNX gives what TensorFlow gives."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.commands import export
from cpmn_tf.errors import UserError
from cpmn_tf.serving import onnx, videos
from cpmn_tf.serving.saved_model import score, score_specs
from cpmn_tf.training import load_model


@pytest.fixture(scope="module")
def runtime():
    reason = "the extra [onnx] is not installed"
    pytest.importorskip("tf2onnx", reason=reason)
    return pytest.importorskip("onnxruntime", reason=reason)


def test_score_is_tensorflows(capsys, drawn_model_dir, tmp_path, runtime, monkeypatch):
    """At lengths and batch sizes that the export itself does not compare; a copy per class."""
    settings = ["cascade.inference_erasing=per_class"]
    monkeypatch.setattr("cpmn_tf.models.pyramid.CHUNK_UNITS", 64)
    monkeypatch.setattr(onnx, "BATCHES", ((40,),))
    flags = [f"--model_dir={drawn_model_dir}", f"--export_dir={tmp_path}", "--format=onnx"]
    assert export.main([*flags, *(f"--set={item}" for item in settings)]) == 0
    assert f"ONNX: {tmp_path / 'score.onnx'}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["score.onnx"]
    session = runtime.InferenceSession(str(tmp_path / "score.onnx"))
    said = json.loads(session.get_modelmeta().custom_metadata_map["model.json"])
    assert said["classes"] == ["Dive", "Jump", "Throw"] and len(said["status"]) > 1
    model = load_model(drawn_model_dir, dict(item.split("=") for item in settings))
    for lengths in ((33,), (150, 2, 64), (700, 90)):
        inputs = videos.arrays(videos.drawn(model.streams, lengths, seed=1), model.streams)
        del inputs["durations"]
        found = dict(
            zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True)
        )
        wanted = score(model, {name: tf.constant(values) for name, values in inputs.items()})
        assert set(found) == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, 1e-4, 1e-4, err_msg=name)
    inputs["lengths"] = np.array([701, 90], np.int32)
    assert session.run(["status"], inputs)[0].tolist() == [1, 0]


def test_the_added_operation_is_tensorflows(runtime):
    import tf2onnx

    specs = [tf.TensorSpec([None, None], tf.float32, name=name) for name in ("table", "queries")]
    search = tf.function(lambda table, queries: tf.searchsorted(table, queries, side="right"))
    proto, _ = tf2onnx.convert.from_function(
        search, specs, opset=onnx.OPSET, custom_op_handlers={"UpperBound": (onnx._upper_bound, [])}
    )
    session = runtime.InferenceSession(proto.SerializeToString())
    rng = np.random.default_rng(0)
    for entries, queries in ((1, 1), (5, 40), (300, 200)):  # whole numbers: many are equal
        table = np.sort(rng.integers(0, 50, [3, entries]).astype(np.float32))
        asked = rng.integers(-2, 53, [3, queries]).astype(np.float32)
        (found,) = session.run(None, {"table": table, "queries": asked})
        np.testing.assert_array_equal(found, search(table, asked))


def test_a_difference_is_an_error_and_leaves_nothing(
    drawn_model_dir, tmp_path, runtime, monkeypatch
):
    """A graph that takes what `score` does, and gives class scores that are all 0."""
    from onnx import TensorProto, helper

    model = load_model(drawn_model_dir)
    kinds = {tf.float32: TensorProto.FLOAT, tf.int32: TensorProto.INT32}
    inputs = [
        helper.make_tensor_value_info(name, kinds[spec.dtype], [None] * spec.shape.rank)
        for name, spec in score_specs(model).items()
    ]
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, 3], [0.0] * 3)
    node = helper.make_node("Constant", [], ["class_scores"], value=zeros)
    output = helper.make_tensor_value_info("class_scores", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([node], "zeros", inputs, [output])
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", onnx.OPSET)], ir_version=10
    )
    monkeypatch.setattr("tf2onnx.convert.from_function", lambda *_, **__: (proto, None))
    with pytest.raises(UserError, match="ONNX gives another class_scores than TensorFlow"):
        onnx.export_onnx(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("no op\nmore"), "no op"), (AssertionError(), "AssertionError")]
)
def test_what_cannot_be_converted_is_one_line(
    drawn_model_dir, tmp_path, runtime, monkeypatch, error, said
):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("tf2onnx.convert.from_function", fails)
    with pytest.raises(UserError, match=rf"no graph of these settings \({said}\); export a"):
        onnx.export_onnx(load_model(drawn_model_dir), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_says_so(drawn_model_dir, tmp_path, monkeypatch):
    for name in ("onnxruntime", "tf2onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"`format=onnx`: \w+ is missing; pip install '.\[onnx\]'"):
        onnx.export_onnx(load_model(drawn_model_dir), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_flags_that_do_not_go_together(capsys, tmp_path):
    flags = ["--model_dir=m", f"--export_dir={tmp_path}", "--format=onnx", "--check"]
    assert export.main(flags) == 2
    assert "--format=onnx takes neither --check" in capsys.readouterr().err
