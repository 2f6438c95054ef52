"""Where THUMOS14's files for the golden tests are looked for."""

import pathlib

import pytest


@pytest.fixture
def conftest(pytestconfig):
    """The module beside this one that looks for them."""
    return pytestconfig.pluginmanager.get_plugin(
        str(pathlib.Path(__file__).with_name("conftest.py"))
    )


def test_named_by_the_environment_beside_the_repository_or_nowhere(conftest, tmp_path, monkeypatch):
    monkeypatch.setattr(conftest, "BESIDE", tmp_path / "beside")
    monkeypatch.delenv("CPMN_THUMOS14_DIR", raising=False)
    assert conftest.thumos14_dir() is None
    (tmp_path / "beside").mkdir()
    assert conftest.thumos14_dir() == tmp_path / "beside"
    monkeypatch.setenv("CPMN_THUMOS14_DIR", str(tmp_path))
    assert conftest.thumos14_dir() == tmp_path


def test_a_named_folder_that_is_missing_is_an_error_and_no_skipped_test(
    conftest, tmp_path, monkeypatch
):
    monkeypatch.setenv("CPMN_THUMOS14_DIR", str(tmp_path / "typo"))
    with pytest.raises(NotADirectoryError, match="CPMN_THUMOS14_DIR="):
        conftest.thumos14_dir()
