"""Folds of a data set in one table."""

import json

import pytest

from experiments import run
from experiments.harness.report import publish
from experiments.harness.study import PROTOCOLS, Result, Variant

VARIANTS = [
    Variant("the preset"),
    Variant("an option", ("localization.nms=soft",)),
    Variant("a control", ("cascade.erasing=none",), to=("an option",)),
]


def execute(*arguments) -> int:
    return run.main(["join", *arguments])


@pytest.fixture
def folds(tmp_path):
    """Two folds with one training, seed 0, each."""
    for place, (videos, base, better) in enumerate([(4, 0.2, 0.3), (6, 0.4, 0.7)]):
        results = [
            Result(variant.name, 0, [0.5], {key: [value] for key in PROTOCOLS}, 1.0, 9, 0, "m")
            for variant, value in zip(VARIANTS, (base, better, base), strict=True)
        ]
        facts = {
            "title": "Options",
            "paper": "nothing",
            "data": "small data",
            "simulated": True,
            "preset": "thumos14",
            "set": [],
            "precision": "float32",
            "split": "held_out",
            "videos": videos,
            "instances": 2 * videos,
            "annotations": "annotations.json",
            "annotation_sha256": "0",
            "seeds": 1,
        }
        (tmp_path / str(place)).mkdir()
        publish(tmp_path / str(place) / "options", facts, VARIANTS, results, 0)
    return tmp_path


def test_trainings_of_all_folds_are_told_apart(folds):
    paths = f"--results={folds / '0'},{folds / '1'}"
    assert execute(paths, "--name=options", f"--output_dir={folds}") == 0
    text = (folds / "options.md").read_text()
    assert "SIMULATED; small data; 2 trainings" in text
    assert "Split held_out, 10 videos, 20 instances; 2 data sets." in text
    # Means 0.3 and 0.5; differences of 10 and 30 points: 20 ± 14.14 / sqrt(2).
    assert "| the preset | 30.0 | 30.0 ± 14.1 |  |" in text
    assert "| an option | 50.0 | 50.0 ± 28.3 | +20.0 ± 10.0 |" in text
    assert "| a control | 30.0 | 30.0 ± 14.1 | -20.0 ± 10.0 to an option |" in text
    seeds = [item["seed"] for item in json.loads((folds / "options.json").read_text())["results"]]
    assert sorted(seeds) == [0, 0, 0, 1, 1, 1]


def test_runs_of_other_settings_are_refused(folds, capsys):
    path = folds / "1" / "options.json"
    path.write_text(path.read_text().replace('"float32"', '"mixed_bfloat16"'))
    paths = f"--results={folds / '0'},{folds / '1'}"
    assert execute(paths, "--name=options", f"--output_dir={folds}") == 1
    assert "options.json: precision is not as in" in capsys.readouterr().err
    assert not (folds / "options.json").exists()


@pytest.mark.parametrize("written", [[1.0, 2.0], {"data": "of a rehearsal", "seconds": {}}])
def test_a_file_that_is_no_table_is_named_in_one_line(folds, capsys, written):
    (folds / "1" / "options.json").write_text(json.dumps(written))
    paths = f"--results={folds / '0'},{folds / '1'}"
    assert execute(paths, "--name=options", f"--output_dir={folds}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "1/options.json: is not the table of an experiment" in line
