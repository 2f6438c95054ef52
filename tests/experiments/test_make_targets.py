"""`make experiments-...` runs what the results page shows, and what is finished once only."""

import importlib.util
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

from cpmn_tf.commands import cli, serve
from experiments import demo, run

ROOT = pathlib.Path(__file__).parents[2]
TARGETS = [
    f"experiments-{name}" for name in ("watch", "short", "simulated", "folds", "recipe", "rivals")
]


@pytest.fixture
def folder(tmp_path):
    """A copy of the Makefiles, with an installation that is finished."""
    (tmp_path / "experiments").mkdir()
    for name in ("Makefile", "setup.py", "pyproject.toml", "experiments/experiments.mk"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def test_fuzz_is_a_target(folder):
    call = ["make", "--dry-run", "--no-print-directory", "fuzz"]
    shown = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    module = "experiments.benchmarks.fuzz_protocols"
    assert shown.strip() == f".venv/bin/python -m {module}"
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize("name", ["video", "serving", "cluster", "onnx"])
def test_an_extra_is_installed_once(folder, name):
    call = ["make", "--dry-run", "--no-print-directory", f".venv/{name}"]
    shown = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert f"--editable '.[{name}]'" in shown and "pip check" in shown
    assert shown.splitlines()[-1] == f"touch .venv/{name}"
    (folder / ".venv" / name).touch()
    shown = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "pip install" not in shown


def test_the_clusters_demo_needs_its_extra(folder):
    call = ["make", "--dry-run", "--no-print-directory", "cluster-demo"]
    shown = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "--editable '.[cluster]'" in shown
    module = "experiments.cluster_demo"
    assert shown.splitlines()[-1] == (
        f".venv/bin/python -m {module} --output_dir=runs/cluster-demo"
    )
    assert importlib.util.find_spec(module)


def test_serve_shows_what_the_demo_exported(folder):
    (folder / ".venv" / "serving").touch()
    call = ["make", "--dry-run", "--no-print-directory", "serve"]
    shown = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    made, _, served = shown.splitlines()
    out = made.removeprefix(".venv/bin/python -m experiments.demo --output_dir=")
    (exported,) = (command for _, output, command in demo.steps() if output == "export")
    flags = dict(word.split("=") for word in exported.split() if "=" in word)
    program, argument = served.split()
    assert program == ".venv/bin/cpmn-serve"
    assert argument == f"--model_base_path={flags['--export_dir'].replace('OUT', out)}"
    # and the address that is printed is the command's
    values = cli.Flags()
    serve.define_flags(values)
    values(["cpmn-serve"])
    assert f"http://{values.host}:{values.rest_api_port} " in shown


def commands(folder: pathlib.Path, *targets: str) -> list[str]:
    """The experiments that make would run."""
    call = ["make", "--dry-run", "--no-print-directory", *targets]
    lines = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\.venv/bin/(python -m experiments\.run .*)$", lines, re.MULTILINE)


def test_every_table_of_the_targets_data_sets_is_made(folder):
    """What the page shows of the full schedule is made by hand: it takes hours."""
    made = {command.split(" --seeds")[0] for command in commands(folder, *TARGETS)}
    page = (ROOT / "experiments" / "README.md").read_text("utf-8")
    shown = re.findall(r"`(python -m experiments\.run [^`]*runs/results/[^`]*)`", page)
    shown = {command.split(" --seeds")[0] for command in shown}
    assert len(shown) > 15
    assert {command for command in shown if "simulated_full" not in command} <= made


def test_rivals_are_compared_on_four_data_sets(folder):
    made = commands(folder, "experiments-rivals")
    seeds = {"watch": 5, "short": 5, "simulated_single": 3, "simulated_several": 3}
    for name, number in seeds.items():
        own = [call for call in made if f"--output_dir=runs/results/{name} " in f"{call} "]
        real = name in ("watch", "short")
        others = ["one_out", "rivals_otherwise"] if real else ["beside"]
        assert [call.split()[3] for call in own] == ["rivals", *others]
        (call,) = (call for call in own if " rivals " in call)
        half = [call.split()[3] for call in own if "--precision=mixed_bfloat16" in call]
        assert half == ["rivals", *(["rivals_otherwise"] if real else [])]
        assert call.endswith(f"--seeds={number}") and f"--data_dir=runs/{name} " in call


def test_the_recipe_is_judged_on_folds_of_four_kinds(folder):
    made = commands(folder, "experiments-recipe")
    for kind, folds in {"watch": 3, "short": 3, "single": 2, "several": 2}.items():
        own = [call for call in made if f"--output_dir=runs/results/recipe/{kind}_" in call]
        assert len(own) == folds and all("--split=held_out" in call for call in own)
        (call,) = (c for c in made if f"--output_dir=runs/results/recipe_{kind} " in f"{c} ")
        assert call.count(f"runs/results/recipe/{kind}_") == folds


def test_parts_of_the_method_are_judged_on_every_data_set(folder):
    made = "\n".join(commands(folder, *TARGETS[:-1]))
    for name in ("watch", "short"):
        for study in ("table3", "why_mining", "second_classifier"):
            assert re.search(rf" {study} --preset=watch .*--data_dir=runs/{name} ", made)
    small = "--flagfile=experiments/small.flags"
    assert f" second_classifier {small} --data_dir=runs/simulated " in made
    for name in ("", "_easier", "_harder", "_sceneless", "_single", "_several"):
        assert f" why_mining {small} --data_dir=runs/simulated{name} " in made
        table3 = " table3 --flagfile=experiments/shortened.flags"
        full = name in ("", "_easier", "_harder")
        assert (f"{table3} --data_dir=runs/simulated{name} " in made) == full


def test_the_targets_give_flags_that_the_experiments_take(folder, monkeypatch):
    execute = cli.execute
    monkeypatch.chdir(ROOT)  # of the flag file
    monkeypatch.setattr(
        cli, "execute", lambda name, text, define, _, argv: execute(name, text, define, id, argv)
    )
    for command in commands(folder, *TARGETS):
        assert run.main(shlex.split(command)[3:]) == 0, command


def test_an_interrupted_make_goes_on_where_it_was(folder):
    """Programs that note their call; the third one is interrupted."""
    (folder / "runs").mkdir()
    for name in ("python", "cpmn-build-records"):
        program = folder / ".venv" / "bin" / name
        program.write_text(
            '#!/bin/sh\necho "$0 $*" >> calls\n'
            'case "$*" in *fig4_fig6*) test -e resumed || exit 130;; esac\n'
        )
        program.chmod(0o755)
    call = ["make", "experiments-watch"]
    assert subprocess.run(call, cwd=folder, capture_output=True, check=False).returncode == 2
    (folder / "resumed").touch()
    assert subprocess.run(call, cwd=folder, capture_output=True, check=False).returncode == 0
    calls = (folder / "calls").read_text()
    assert calls.count("experiments.run table3 ") == 1
    assert calls.count("experiments.run fig4_fig6 ") == 2
    assert calls.count("cpmn-build-records ") == 2  # watch, watch_val
    assert subprocess.run(call, cwd=folder, capture_output=True, check=False).returncode == 0
    assert (folder / "calls").read_text() == calls
