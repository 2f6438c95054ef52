"""`tests/` mirrors the packages: a module is tested in the folder that mirrors its own."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
TESTS = ROOT / "tests"

# What has no interface of its own worth a test is tested through what uses it, by these files.
THROUGH = {
    "cpmn_tf.cluster": "tfrecords_tools/test_cluster.py",
    "cpmn_tf.commands.evaluation_inputs": "commands/test_evaluate.py",
    "cpmn_tf.commands.progress": "commands/test_train.py",
    "cpmn_tf.evaluation.matching": "evaluation/test_rules.py",
    "cpmn_tf.evaluation.precision": "evaluation/test_rules.py",
    "cpmn_tf.evaluation.results": "evaluation/test_protocols.py",
    "cpmn_tf.evaluation.thumos14": "evaluation/test_rules.py",
    "cpmn_tf.formats.arrays": "formats/test_class_scores.py",
    "cpmn_tf.formats.tables": "formats/test_detection_files.py",
    "cpmn_tf.models.layers": "models/test_equations.py",
    "cpmn_tf.models.timeline": "models/test_whole_model.py",
    "cpmn_tf.notices": "commands/test_cli.py",
    "cpmn_tf.plotting.curves": "plotting/test_drawing.py",
    "cpmn_tf.plotting.panels": "plotting/test_drawing.py",
    "cpmn_tf.serving.model": "serving/test_server.py",
    "cpmn_tf.serving.replica": "serving/test_server.py",
    "cpmn_tf.serving.settings": "serving/test_server.py",
    "cpmn_tf.training.events": "commands/test_train.py",
    "cpmn_tf.training.model_folder": "commands/test_train.py",
    "cpmn_tf.training.train_model": "commands/test_train.py",
    "cpmn_tf.training.validation": "commands/test_train.py",
    "tfrecords_tools.building": "tfrecords_tools/commands/test_build_records.py",
    "tfrecords_tools.validation": "tfrecords_tools/commands/test_validate_records.py",
    "tfrecords_tools.source_flags": "tfrecords_tools/sources/test_open_source.py",
    "tfrecords_tools.sources.labels": "tfrecords_tools/sources/test_layouts.py",
    "tfrecords_tools.reading.databases": "tfrecords_tools/sources/test_wtalc.py",
    "tfrecords_tools.reading.descriptors": "tfrecords_tools/sources/test_watch.py",
    "tfrecords_tools.reading.feature_folders": "tfrecords_tools/sources/test_folders.py",
    "tfrecords_tools.reading.object_arrays": "tfrecords_tools/sources/test_wtalc.py",
    "experiments.benchmarks.evaluation": "experiments/benchmarks/test_benchmarks.py",
    "experiments.benchmarks.serving": "experiments/benchmarks/test_benchmarks.py",
    "experiments.benchmarks.serving_load": "experiments/benchmarks/test_benchmarks.py",
    # A study is data: test_run.py makes each of them and runs some.
    "experiments.ours.more_options": "experiments/test_run.py",
    "experiments.ours.normalization": "experiments/test_run.py",
    "experiments.ours.options": "experiments/test_run.py",
    "experiments.ours.rivals_otherwise": "experiments/ours/test_rivals.py",
    "experiments.ours.second_classifier": "experiments/test_run.py",
    "experiments.ours.training_options": "experiments/test_run.py",
    "experiments.paper.fig5_sampling": "experiments/test_run.py",
    "experiments.paper.fig5_threshold": "experiments/test_run.py",
    "experiments.paper.table1": "experiments/test_run.py",
    "experiments.paper.table2": "experiments/test_run.py",
    "experiments.paper.table3": "experiments/test_run.py",
    "experiments.paper.third_classifier": "experiments/test_run.py",
}


def mirror(path: pathlib.Path) -> pathlib.Path:
    """The folder of a module's tests: `cpmn_tf` is `tests/` itself, other packages are in it."""
    parts = path.relative_to(ROOT).parent.parts
    return TESTS.joinpath(*(parts[1:] if parts[0] == "cpmn_tf" else parts))


def modules() -> list[pathlib.Path]:
    """All modules of the three packages."""
    return [
        path
        for package in ("cpmn_tf", "tfrecords_tools", "experiments")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__init__.py"
    ]


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def named_in(folder: pathlib.Path) -> set[str]:
    """Modules that the tests of one folder import, by their own name or through their package."""
    names = {name for path in folder.glob("*.py") for name in imports(path)}
    for package in {name.rpartition(".")[0] for name in names}:
        init = ROOT.joinpath(*package.split("."), "__init__.py")
        for name in imports(init) if package and init.exists() else ():
            module, _, attribute = name.rpartition(".")
            if f"{package}.{attribute}" in names:
                names.add(module)
    return names


def test_every_module_is_tested_in_the_folder_that_mirrors_its_own():
    without, names = {}, set()
    for path in modules():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        names.add(name)
        folder = mirror(path)
        if not (folder / f"test_{path.stem}.py").exists() and name not in named_in(folder):
            without[name] = folder.relative_to(ROOT).as_posix()
    assert {name: folder for name, folder in without.items() if name not in THROUGH} == {}
    assert set(THROUGH) <= names, "some are gone"
    assert all((TESTS / path).is_file() for path in THROUGH.values())


def test_every_folder_of_tests_mirrors_a_package():
    folders = {mirror(path) for path in modules()} | {TESTS / "docs", TESTS / "notebooks"}
    assert {path.parent for path in TESTS.rglob("test_*.py")} <= folders
