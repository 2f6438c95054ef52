"""Experiments by their names: killed and taken up, listed, and as the results page prints them."""

import dataclasses
import importlib
import json
import pathlib
import pkgutil
import re
import shlex
import shutil

import numpy as np
import pytest
from absl import flags

import experiments
from cpmn_tf.commands import cli
from cpmn_tf.config import preset, with_overrides
from experiments import run
from experiments.harness import lab
from experiments.harness.study import Study, Variant
from experiments.paper import fig5_threshold, table3

ROOT = pathlib.Path(__file__).parents[2]


def test_table_3_killed_and_taken_up_gives_the_same_file(
    data_set, small_settings, tmp_path, monkeypatch, capsys
):
    one = dataclasses.replace(table3.STUDY, variants=table3.STUDY.variants[:4])
    monkeypatch.setattr(table3, "STUDY", one)  # one control row: each is a training of its own
    short = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    arguments = ["--preset=watch", f"--data_dir={data_set}", "--seeds=1"]
    arguments += [f"--set={item}" for item in short]
    assert run.main(["table3", *arguments, f"--output_dir={tmp_path / 'whole'}"]) == 0

    # The bank is shared: training that is killed is tested by itself.
    for name in ("models", "modules"):
        shutil.copytree(tmp_path / "whole" / name, tmp_path / "cut" / name)
    judge, calls = lab.Lab.judge, []

    def killed(self, detections):
        calls.append(detections)
        if len(calls) == 2:  # after the first row
            raise KeyboardInterrupt
        return judge(self, detections)

    monkeypatch.setattr(lab.Lab, "judge", killed)
    cut = [*arguments, f"--output_dir={tmp_path / 'cut'}"]
    assert run.main(["table3", *cut]) == 130
    assert run.main(["table3", *cut]) == 0
    assert len(calls) == 2 + 3  # of four rows the one that was there is not computed again
    whole, resumed = (
        json.loads((tmp_path / name / "table3.json").read_text()) for name in ("whole", "cut")
    )
    assert whole == resumed
    assert {row["variant"] for row in whole["results"]} == set(whole["variants"])
    text = (tmp_path / "cut" / "table3.md").read_text()
    assert whole["annotation_sha256"] in text and "5 videos, 10 instances" in text
    assert " to original T-CAS; " in text
    assert (tmp_path / "cut" / "table3.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("| + mining T-CAS |") == 4  # twice printed, two protocols

    # Another machine that has the table alone trains and judges nothing that is in it.
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "cut" / "table3.json", tmp_path / "other")
    monkeypatch.setattr(lab.Lab, "judge", None)
    assert run.main(["table3", *arguments, f"--output_dir={tmp_path / 'other'}"]) == 0
    assert json.loads((tmp_path / "other" / "table3.json").read_text()) == whole
    assert not (tmp_path / "other" / "models").exists()


def test_table_1_wants_its_thresholds(data_set, tmp_path, capsys):
    arguments = [f"--data_dir={data_set}", f"--output_dir={tmp_path}", "--preset=activitynet13"]
    assert run.main(["table1", *arguments]) == 1
    assert "use --preset=thumos14" in capsys.readouterr().err


def test_thresholds_are_the_papers():
    named = {variant.name: variant.settings[0] for variant in fig5_threshold.STUDY.variants}
    assert named == {f"ζ = 0.{k}": f"cascade.threshold=0.{k}" for k in range(3, 8)}


def test_table_2_runs_on_data_of_its_form(data_set, small_settings, tmp_path, capsys):
    short = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    arguments = ["--preset=activitynet13", f"--data_dir={data_set}", "--seeds=1"]
    arguments += [f"--output_dir={tmp_path}", *(f"--set={item}" for item in short)]
    assert run.main(["table2", *arguments]) == 0
    text = (tmp_path / "table2.md").read_text()
    assert "| ActivityNet-1.3 (published) | not named | 39.29 | 24.09 | 6.71 | 24.42 |" in text
    assert text.count("| weak | CPMN, this code |") == 2
    # The average is over tIoU 0.5:0.05:0.95, not over the three that are shown.
    found = json.loads((tmp_path / "table2.json").read_text())["results"][0]
    assert len(found["tiou"]) == 10
    average = f"{100 * np.mean(found['map']['activitynet']):.1f}"
    assert f"| {average} |" in text


# What modules import that show or measure [video], [serving] and [benchmark].
OF_EXTRAS = {"av", "tensorflow_serving", "torch"}


def missing_extra(module: str) -> str:
    """Imports a module; of an extra that is not installed, the module that it lacks."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        assert error.name in OF_EXTRAS
        return error.name
    return ""


def test_every_module_is_imported_beside_the_others():
    assert not flags.FLAGS.is_parsed()
    for module in pkgutil.walk_packages(experiments.__path__, "experiments."):
        missing_extra(module.name)
    assert "rounds" not in flags.FLAGS  # what flags an import defines it defines for all


def test_a_study_is_found_by_its_file_alone(capsys):
    for name, path in run.files().items():
        module = run.load(name)
        assert pathlib.Path(module.__file__) == path
        assert isinstance(getattr(module, "STUDY", None), Study) or callable(module.run)
    assert run.main([]) == 0
    assert "fig5_sampling     Figure 5, left: how training samples" in capsys.readouterr().out
    assert run.main(["tabel3"]) == 2
    assert "'tabel3'" in capsys.readouterr().err
    assert run.main(["table3", "--help"]) == 0
    assert "Table 3: what each part" in capsys.readouterr().out


def test_an_option_that_the_preset_has_is_no_row():
    here = lab.Lab.__new__(lab.Lab)
    here.config = preset("thumos14")
    first, changed = Variant("the preset"), Variant("other", ("localization.p_act=phi",))
    rows = [first, Variant("the same", ("localization.p_act=raw",)), changed]
    assert here.distinct(rows) == [first, changed]
    here.config = with_overrides(here.config, ["localization.p_act=phi"])
    assert here.distinct(rows) == rows[:2]


@pytest.mark.parametrize("name", ["fig4_fig6", "rehearsal"])
def test_what_trains_once_takes_no_number_of_seeds(name, data_set, tmp_path, capsys):
    arguments = [f"--data_dir={data_set}", f"--output_dir={tmp_path}", "--seeds=2"]
    assert run.main([name, *arguments]) == 2
    assert "'seeds'" in capsys.readouterr().err


def commands_of_the_page() -> list[str]:
    pages = [path.read_text("utf-8") for path in (ROOT / "experiments").glob("*.md")]
    found = re.findall(r"python -m experiments\.[^`\n]+", "\n".join(pages))
    return sorted({command for command in found if "NAME" not in command})


@pytest.mark.parametrize("command", commands_of_the_page())
def test_a_command_on_the_page_runs_as_printed(command, monkeypatch):
    """Its module is there, and a study takes its flags."""
    monkeypatch.chdir(ROOT)  # of the flag file
    _, _, module, *words = shlex.split(command, comments=True)
    if module != "experiments.run":
        if missing := missing_extra(module):
            pytest.skip(f"{missing} is not installed")
        return
    if not words:  # the listing
        assert run.main(words) == 0
        return
    parsed = []
    execute = cli.execute

    def parse_only(program, description, define, run, argv):
        return execute(program, description, define, parsed.append, argv)

    monkeypatch.setattr(cli, "execute", parse_only)
    assert run.main(words) == 0
    (values,) = parsed
    for folder in getattr(values, "results", None) or []:
        assert "..." not in folder
