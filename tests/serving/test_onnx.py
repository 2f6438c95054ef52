"""``score`` as ONNX gives what TensorFlow gives."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.commands import export
from cpmn_tf.errors import UserError
from cpmn_tf.serving import onnx, videos
from cpmn_tf.serving.saved_model import score
from cpmn_tf.training import load_model


@pytest.fixture(scope="module")
def runtime():
    reason = "the extra [onnx] is not installed"
    pytest.importorskip("tf2onnx", reason=reason)
    return pytest.importorskip("onnxruntime", reason=reason)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["cascade.inference=every_unit", "cascade.inference_erasing=per_class"],
    ],
)
def test_score_is_tensorflows(capsys, drawn_model_dir, tmp_path, runtime, settings, monkeypatch):
    """At lengths and batch sizes that the export itself does not compare."""
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


def test_a_difference_is_an_error_and_leaves_nothing(
    drawn_model_dir, tmp_path, runtime, monkeypatch
):
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"ONNX gives another \w+ than TensorFlow"):
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
