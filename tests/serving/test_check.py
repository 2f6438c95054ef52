"""What an export is compared with before it becomes a version."""

import contextlib
import io
import pathlib
import shutil
import types

import pytest

from cpmn_tf.commands import export
from cpmn_tf.errors import UserError
from cpmn_tf.serving import check, saved_model
from cpmn_tf.training import load_model


@pytest.fixture(scope="module")
def model(drawn_model_dir):
    return load_model(drawn_model_dir)


@pytest.fixture(scope="module")
def flags(data_set, drawn_model_dir) -> list[str]:
    example = [f"--example_data={data_set}", "--example=video_012"]
    return [f"--model_dir={drawn_model_dir}", "--check", *example]


@pytest.fixture(scope="module")
def exported(flags, tmp_path_factory) -> tuple[pathlib.Path, str]:
    """A version that passed, and what the command said."""
    folder = tmp_path_factory.mktemp("export")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert export.main([*flags, f"--export_dir={folder}"]) == 0
    return folder / "1", said.getvalue()


def answers(model, given) -> dict:
    """The model's own, as `check._run` returns an export's."""
    scores = given["detect_with_class_scores"]["class_scores"]
    return {
        signature: check._model(model, given["detect"], scores if "scores" in signature else None)
        for signature in given
    }


def test_what_is_the_models_passes_and_is_said(model, exported):
    folder, said = exported
    assert "checked on the example 'video_012': detect, detect_with_class_scores, serial" in said
    line = check.check(folder, model)
    assert line.startswith("checked on drawn videos of (300, 70, 1) units: detect, ")
    for text in (said, line):
        assert " detections in a process without" in text and " 0 detections" not in text


def test_another_models_export_is_named(model, drawn_model_dir, monkeypatch):
    other = load_model(drawn_model_dir, {"localization.top_k": 1})
    monkeypatch.setattr(check, "_run", lambda folder, given: answers(model, given))
    message = "detect gives other counts than the model of the video 'drawn, 300 units'"
    with pytest.raises(UserError, match=message):
        check.check(pathlib.Path("export"), other)


def test_an_export_that_does_not_run_is_named(model, tmp_path):
    with pytest.raises(UserError, match=r"does not run without this package \(.*SavedModel"):
        check.check(tmp_path, model)


def test_what_fails_does_not_become_a_version(
    capsys, model, flags, exported, tmp_path, monkeypatch
):
    def altered(folder, given):
        found = answers(model, given)
        found["serialized"]["scores"] = found["serialized"]["scores"] + 0.001
        return found

    monkeypatch.setattr(check, "_run", altered)
    at_hand = types.SimpleNamespace(write_out=lambda to, verbose: shutil.copytree(exported[0], to))
    monkeypatch.setattr(saved_model, "_archive", lambda *_: at_hand)
    assert export.main([*flags, f"--export_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert "the export's serialized gives other scores than the model" in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
