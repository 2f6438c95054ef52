"""cpmn-analyze from flags to tables, JSON and the page of plots."""

import json

import numpy as np
import pytest

from cpmn_tf.commands import analyze


@pytest.fixture
def files(tmp_path):
    """Truth of 30 classes with durations, and two runs on it."""
    generator = np.random.default_rng(0)
    database, runs = {}, ({}, {})
    for number in range(40):
        label, start = f"class {number % 30}", float(generator.uniform(0, 40))
        name = f"v{number}"
        database[name] = {
            "subset": "test",
            "duration": 60.0,
            "annotations": [{"segment": [start, start + 10], "label": label}],
        }
        for run, noise in zip(runs, (1.0, 4.0), strict=True):
            segments = start + np.array([0, 10]) + generator.normal(0, noise, (3, 2))
            run[name] = [
                {"label": label, "segment": sorted(segment), "score": float(generator.random())}
                for segment in segments.tolist()
            ]
    (tmp_path / "truth.json").write_text(json.dumps({"database": database}))
    for name, run in zip(("good", "bad"), runs, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": run}))
    return tmp_path


def run(files, *more):
    flags = [
        f"--annotations={files / 'truth.json'}",
        f"--detections={files / 'good.json'}",
        f"--output_dir={files / 'out'}",
        "--samples=50",
        *more,
    ]
    return analyze.main(flags)


def test_tables_json_and_page(files, capsys):
    assert run(files, f"--baseline={files / 'bad.json'}", "--preset=thumos14") == 0
    shown = capsys.readouterr().out
    for text in ("95 % from", "difference", "localization", "missed [%]", "41–80", "bad.json"):
        assert text in shown
    assert (files / "out" / "analysis.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((files / "out" / "analysis.json").read_text())
    assert result["protocol"] == "activitynet" and len(result["map"]) == 7
    assert result["bootstrap"]["samples"] == 50
    low, high = result["bootstrap"]["map_low"], result["bootstrap"]["map_high"]
    assert all(one <= other for one, other in zip(low, high, strict=True))
    assert len(result["errors"]["shares_by_rank"]) == 10
    assert set(result["sensitivity"]) == {"length", "coverage", "instances"}
    assert result["baseline"]["average_difference"] == pytest.approx(
        result["average_map"] - result["baseline"]["average_map"]
    )
    assert result["baseline"]["detection_file"].endswith("bad.json")
    assert result["instances"] == 40 and result["annotation_file"].endswith("truth.json")


def test_without_baseline_and_by_the_other_protocol(files, capsys):
    assert run(files, "--protocol=thumos14", "--tiou=0.5", "--seed=3") == 0
    assert "difference" not in capsys.readouterr().out
    result = json.loads((files / "out" / "analysis.json").read_text())
    assert result["protocol"] == "thumos14" and "baseline" not in result


def test_errors_are_one_line(files, capsys):
    assert run(files, f"--baseline={files / 'none.json'}") == 1
    error = capsys.readouterr().err
    assert "none.json: cannot be read" in error and error.count("\n") == 1
    assert not (files / "out").exists()
    assert run(files, "--samples=1") == 2
