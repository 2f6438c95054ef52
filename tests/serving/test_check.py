"""What an export is compared with before it becomes a version."""

import pathlib

import pytest

from cpmn_tf.commands import export
from cpmn_tf.errors import UserError
from cpmn_tf.serving import check, saved_model, videos
from cpmn_tf.training import load_model


@pytest.fixture(scope="module")
def model(drawn_model_dir):
    return load_model(drawn_model_dir)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> pathlib.Path:
    return saved_model.export(model, tmp_path_factory.mktemp("export"))


def test_what_is_the_models_passes_and_is_said(model, folder):
    line = check.check(folder, model)
    assert (
        "drawn videos of (300, 70, 1) units: detect, detect_with_class_scores, serialized" in line
    )
    assert " 0 detections" not in line


def test_another_models_export_is_named(model, drawn_model_dir, folder):
    (example,) = videos.drawn(model.streams, [90])
    other = load_model(drawn_model_dir, {"localization.top_k": 1})
    with pytest.raises(UserError, match="detect gives other counts than the model of the video"):
        check.check(folder, other, example)


def test_an_export_that_does_not_run_is_named(model, tmp_path):
    with pytest.raises(UserError, match=r"does not run without this package \(.*SavedModel"):
        check.check(tmp_path, model)


def test_what_fails_does_not_become_a_version(
    capsys, data_set, drawn_model_dir, tmp_path, monkeypatch
):
    """As the command does it, on an example."""
    flags = [f"--model_dir={drawn_model_dir}", f"--export_dir={tmp_path / 'export'}", "--check"]
    flags += [f"--example_data={data_set}", "--example=video_012"]
    assert export.main(flags) == 0
    assert "checked on the example 'video_012': detect, " in capsys.readouterr().out
    run = check._run

    def altered(folder, given):
        found = run(folder, given)
        found["serialized"]["scores"] = found["serialized"]["scores"] + 0.001
        return found

    monkeypatch.setattr(check, "_run", altered)
    assert export.main(flags) == 1
    error = capsys.readouterr().err
    assert "the export's serialized gives other scores than the model" in error
    assert len(error.splitlines()) == 1
    names = sorted(path.name for path in (tmp_path / "export").iterdir())
    assert names == ["1", "batching.config"]
