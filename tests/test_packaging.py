"""What is installed and released: one version, commands that exist, tools that agree."""

import importlib
import pathlib
import pkgutil
import re
import runpy

import pytest
import yaml

import cpmn_tf
import cpmn_tf.commands
import tfrecords_tools.commands

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def metadata(monkeypatch) -> dict:
    """What `setup.py` hands to setuptools."""
    kept = {}
    monkeypatch.setattr("setuptools.setup", lambda **keywords: kept.update(keywords))
    runpy.run_path(str(ROOT / "setup.py"))
    return kept


def test_version_is_the_same_everywhere(metadata):
    released = re.findall(r"^## (\d\S*) \(", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert metadata["version"] == cpmn_tf.__version__ == released[0] == citation[1]


def test_changelog_has_an_unreleased_section_first():
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"


def test_every_entry_point_is_a_function_without_required_arguments(metadata):
    for line in metadata["entry_points"]["console_scripts"]:
        name, target = line.split(" = ")
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_every_program_has_an_entry_point(metadata):
    named = {line.split(" = ")[1] for line in metadata["entry_points"]["console_scripts"]}
    programs = {
        f"{module.name}:main"
        for package in (cpmn_tf.commands, tfrecords_tools.commands)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        if hasattr(importlib.import_module(module.name), "main")
    }
    assert programs == named


def test_packages_and_their_types_are_in_the_wheel(metadata):
    for package in ("cpmn_tf", "tfrecords_tools"):
        folders = {path.parent for path in (ROOT / package).rglob("*.py")}
        names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
        assert names <= set(metadata["packages"])  # each has an __init__.py
        assert metadata["package_data"][package] == ["py.typed"]
        assert (ROOT / package / "py.typed").is_file()
    assert metadata["package_data"]["cpmn_tf.serving"] == ["page/index.html"]


def test_supported_pythons_are_the_same_everywhere(metadata):
    versions = ["3.11", "3.12", "3.13"]
    classified = [
        text.split(" :: ")[-1]
        for text in metadata["classifiers"]
        if text.startswith("Programming Language")
    ]
    assert metadata["python_requires"] == ">=3.11,<3.14"
    assert classified == versions
    assert re.findall(r'"(3\.\d+)"', (ROOT / "noxfile.py").read_text()) == versions
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["ci"]["strategy"]["matrix"]["python"] == versions
    offered = re.search(r"for python in (.*); do", (ROOT / "Makefile").read_text())[1]
    assert offered.split() == [f"python{version}" for version in reversed(versions)]


def test_hosted_ci_only_calls_what_runs_here_too():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step]
    assert commands == ["bash .ci/run"]
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_pre_commit_downloads_nothing_and_runs_the_tools_of_make_test():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["entry"].split(" --force-exclude")[0] in makefile


@pytest.mark.parametrize("form", ["bug", "data"])
def test_issue_forms_ask_for_what_an_answer_needs(form):
    text = (ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text()
    asked = {item["id"] for item in yaml.safe_load(text)["body"]}
    assert {"command", "validation", "versions", "expected"} <= asked
    assert "cpmn-validate-records" in text
