"""Every public class has an example in its docstring, and every example runs.

The public classes are those of the API page, which has every class that a package offers.
"""

import doctest
import importlib
import inspect
import json
import pathlib
import re

import numpy as np
import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
MODULES = re.findall(r"automodule:: ([\w.]+)", PAGE)
NAMES = re.findall(r"auto(?:class|function):: ([\w.]+)", PAGE)
PACKAGES = [
    "cpmn_tf",
    "cpmn_tf.evaluation",
    "cpmn_tf.localization",
    "cpmn_tf.models",
    "cpmn_tf.plotting",
    "cpmn_tf.training",
    "tfrecords_tools",
]


def documented() -> dict[str, object]:
    """The page's classes and functions by name; without the extra [video], but for its own."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if not key.startswith("_") and getattr(value, "__module__", None) == name:
                found[f"{name}.{key}"] = value
    for name in NAMES:
        module, _, key = name.rpartition(".")
        try:
            found[name] = getattr(importlib.import_module(module), key)
        except ModuleNotFoundError as error:
            if error.name not in ("av", "cv2"):
                raise
    return found


def test_every_class_has_an_example():
    classes = {name: value for name, value in documented().items() if inspect.isclass(value)}
    assert len(classes) > 20
    assert not [name for name, value in classes.items() if ">>> " not in (value.__doc__ or "")]


def test_every_class_of_a_package_is_on_the_page():
    shown = list(documented().values())
    for name in PACKAGES:
        package = importlib.import_module(name)
        for key in package.__all__:
            value = getattr(package, key)
            assert not inspect.isclass(value) or value in shown, f"{name}.{key}"


EXAMPLES = {
    name: value for name, value in documented().items() if ">>> " in (inspect.getdoc(value) or "")
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, data_set, model_dir, tmp_path, monkeypatch):
    """Runs it where ``records`` and ``model`` are a small data set and a model trained on it.

    ``features`` and ``labels.json`` are what records are built from.
    """
    (tmp_path / "features" / "rgb").mkdir(parents=True)
    np.save(tmp_path / "features" / "rgb" / "video_000.npy", np.ones([40, 8], np.float32))
    entry = {"subset": "training", "fps": 25, "annotations": [{"label": "Jump"}]}
    (tmp_path / "labels.json").write_text(json.dumps({"database": {"video_000": entry}}))
    (tmp_path / "records").symlink_to(data_set)
    (tmp_path / "model").symlink_to(model_dir)
    monkeypatch.chdir(tmp_path)
    value = EXAMPLES[name]
    names = dict(vars(importlib.import_module(value.__module__)))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    lines: list[str] = []
    for example in doctest.DocTestFinder(recurse=False).find(value, name, globs=names):
        runner.run(example, out=lines.append)
    assert runner.tries and not runner.failures, "".join(lines)
