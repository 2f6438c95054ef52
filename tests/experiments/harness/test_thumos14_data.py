"""Where THUMOS14's data is looked for."""

import pytest

from experiments.harness import thumos14_data


def test_named_by_the_environment_beside_the_repository_or_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(thumos14_data, "BESIDE", tmp_path / "beside")
    monkeypatch.delenv("CPMN_THUMOS14_DIR", raising=False)
    assert thumos14_data.thumos14_dir() is None
    (tmp_path / "beside").mkdir()
    assert thumos14_data.thumos14_dir() == tmp_path / "beside"
    monkeypatch.setenv("CPMN_THUMOS14_DIR", str(tmp_path))
    assert thumos14_data.thumos14_dir() == tmp_path


def test_a_named_folder_that_is_missing_is_an_error_and_no_skipped_test(tmp_path, monkeypatch):
    monkeypatch.setenv("CPMN_THUMOS14_DIR", str(tmp_path / "typo"))
    with pytest.raises(NotADirectoryError, match="CPMN_THUMOS14_DIR="):
        thumos14_data.thumos14_dir()
