"""Tables and figures: arithmetic, models shared, runs that are killed and taken up."""

import json

import numpy as np
import pytest

from cpmn_tf.commands import cli
from cpmn_tf.config import Config, with_overrides
from cpmn_tf.formats.annotations import Annotations, Detections, Instance, Video
from cpmn_tf.training import load_model, train
from cpmn_tf.training.model_folder import MODULES, module_folder
from experiments.harness import published, report, study
from experiments.harness.bank import Bank, apart, module_settings
from experiments.harness.study import Result, Variant
from experiments.paper import fig4_fig6, fig5_threshold, table1, table2, table3


def execute(module, *arguments) -> int:
    return cli.execute("experiment", module.__doc__, study.define_flags, module.run, arguments)


def result(variant: str, seed: int, values: tuple[float, float]) -> Result:
    """A result whose two protocols are equal."""
    both = {name: list(values) for name in study.PROTOCOLS}
    return Result(variant, seed, [0.1, 0.5], both, 0.75, 10, 2, "model")


def test_a_module_depends_on_its_own_settings_alone():
    config = Config()
    other = with_overrides(
        config, ["cascade.threshold=0.7", "localization.top_k=5", "training.validate_every=3"]
    )
    assert module_settings(config, "pyramid") == module_settings(other, "pyramid")
    assert module_settings(config, "cascade") != module_settings(other, "cascade")
    windows = with_overrides(config, ["pyramid.window=128"])
    assert module_settings(config, "cascade") == module_settings(windows, "cascade")
    rates = with_overrides(config, ["training.learning_rate=0.1"])
    for module in MODULES:
        assert module_settings(config, module) != module_settings(rates, module)


def test_settings_that_act_late_are_told_apart():
    early, late = apart(["cascade.threshold=0.3", "localization.mining=false"])
    assert (early, late) == (["cascade.threshold=0.3"], ["localization.mining=false"])


def test_bank_shares_what_is_the_same_and_changes_no_bit(data_set, small_settings, tmp_path):
    short = [*small_settings, "training.epochs=1", "training.final_epochs=1"]
    config = with_overrides(Config(), short)
    bank = Bank(tmp_path / "bank", data_set, config)
    one = bank.trained([], 3)
    two = bank.trained(["cascade.threshold=0.9"], 3)
    assert one != two and bank.trained([], 3) == one
    for stream in ("rgb", "flow"):
        names = sorted(path.name for path in module_folder(one, stream, "pyramid").iterdir())
        for name in names:
            first, second = (module_folder(m, stream, "pyramid") / name for m in (one, two))
            assert first.samefile(second)
    changed = with_overrides(config, ["cascade.threshold=0.9"])
    train(data_dir=data_set, model_dir=tmp_path / "alone", config=changed, runtime=seeded(3))
    ours, alone = (load_model(folder)[0] for folder in (two, tmp_path / "alone"))
    for left, right in zip(ours.variables, alone.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def seeded(seed: int):
    from cpmn_tf.training.loop import Runtime

    return Runtime(seed=seed)


def test_table_3_killed_and_taken_up_gives_the_same_file(
    data_set, small_settings, tmp_path, monkeypatch, capsys
):
    short = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    arguments = ["--preset=watch", f"--data_dir={data_set}", "--seeds=1"]
    arguments += [f"--set={item}" for item in short]
    assert execute(table3, *arguments, f"--output_dir={tmp_path / 'whole'}") == 0

    judge, calls = study.Study._judge, []

    def killed(self, folder, late):
        calls.append(folder)
        if len(calls) == 2:  # after the first row
            raise KeyboardInterrupt
        return judge(self, folder, late)

    monkeypatch.setattr(study.Study, "_judge", killed)
    cut = [*arguments, f"--output_dir={tmp_path / 'cut'}"]
    assert execute(table3, *cut) == 130
    assert execute(table3, *cut) == 0
    assert len(calls) == 2 + 2  # the row that was there is not computed again
    whole, resumed = (
        json.loads((tmp_path / name / "table3.json").read_text()) for name in ("whole", "cut")
    )
    assert whole == resumed
    assert {row["variant"] for row in whole["results"]} == set(whole["variants"])
    text = (tmp_path / "cut" / "table3.md").read_text()
    assert whole["annotation_sha256"] in text and "5 videos, 10 instances" in text
    assert (tmp_path / "cut" / "table3.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("| + mining T-CAS |") == 4  # twice printed, two protocols


def test_table_means_and_errors():
    variants = [Variant("a"), Variant("b")]
    results = [
        result("a", 0, (0.30, 0.10)),  # average 0.20
        result("a", 1, (0.50, 0.30)),  # average 0.40
        result("b", 0, (0.40, 0.10)),  # average 0.25, +5 points
        result("b", 1, (0.60, 0.50)),  # average 0.55, +15 points
    ]
    lines = report.table(results, variants, "thumos14").splitlines()
    # a: mean 30, standard deviation sqrt(2 · 10²) = 14.1.
    assert lines[2] == "| a | 40.0 | 20.0 | 30.0 ± 14.1 |  | 75.0 ± 0.0 | 10 | 2.0 |"
    # b - a: 5 and 15, mean 10, standard deviation 7.07, standard error 7.07 / sqrt(2) = 5.0.
    assert "| b | 50.0 | 30.0 | 40.0 ± 21.2 | +10.0 ± 5.0 |" in lines[3]
    to_b = report.table(results, variants, "thumos14", reference=1).splitlines()
    assert "-10.0 ± 5.0" in to_b[2] and "| 40.0 ± 21.2 |  |" in to_b[3]


def test_published_rows_stand_beside_ours():
    results = [result("CPMN", 0, (0.30, 0.10)), result("CPMN", 1, (0.50, 0.30))]
    text = published.rows(results, (0.5,), (("full", "Theirs", (1.5, None)),), "T14", "simulated")
    assert "| full | Theirs | T14 (published) | not named | 1.5 | - |" in text
    # At 0.5: 10 and 30; averages 20 and 40.
    for protocol in study.PROTOCOLS:
        row = f"| weak | CPMN, this code | simulated | {protocol} | 20.0 ± 14.1 | 30.0 ± 14.1 |"
        assert row in text


def test_table_1_wants_its_thresholds(data_set, tmp_path, capsys):
    arguments = [f"--data_dir={data_set}", f"--output_dir={tmp_path}", "--preset=activitynet13"]
    assert execute(table1, *arguments) == 1
    assert "use --preset=thumos14" in capsys.readouterr().err


def test_thresholds_are_the_papers():
    named = {variant.name: variant.settings[0] for variant in fig5_threshold.VARIANTS}
    assert named == {f"ζ = 0.{k}": f"cascade.threshold=0.{k}" for k in range(3, 8)}


def test_top_class_counts_videos_without_detections_as_wrong():
    videos = {name: Video(name, "test", ("a",), (Instance(0, 1, "a"),)) for name in "uvw"}
    rows = [("u", "a", 0, 1, 0.4), ("u", "b", 0, 1, 0.5), ("v", "a", 0, 1, 0.1)]
    found = Detections.from_rows(["u", "v", "w"], rows)
    assert study.top_class(Annotations(videos, ("a", "b")), found) == pytest.approx(1 / 3)


def test_pictures_are_of_the_videos_they_say():
    def video(name, *spans, label="a", duration=100.0):
        instances = tuple(Instance(start, end, label) for start, end in spans)
        return Video(name, "test", (label,), instances, duration=duration)

    two = Video("two", "test", ("a", "b"), (Instance(0, 9, "a"), Instance(9, 18, "b")), duration=99)
    known = [
        video("one", (0, 9)),
        video("short", (0, 1), (5, 6), (7, 8)),
        video("dense", (0, 3), (3, 6), (6, 9), duration=9.0),
        video("shorter but alone", (0, 0.5)),
        two,
        Video("none", "test", ("a",), duration=9.0),
    ]
    truth = Annotations({item.id: item for item in known}, ("a", "b"))
    # Single-class videos by number of instances: 1, 1, 3, 3; the median is the third, "dense".
    assert fig4_fig6.chosen(truth) == {
        "fig4": "dense",
        "fig6a": "two",
        "fig6b": "dense",
        "fig6c": "short",
    }


def test_table_2_runs_on_data_of_its_form(data_set, small_settings, tmp_path, capsys):
    short = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    arguments = ["--preset=activitynet13", f"--data_dir={data_set}", "--seeds=1"]
    arguments += [f"--output_dir={tmp_path}", *(f"--set={item}" for item in short)]
    assert execute(table2, *arguments) == 0
    text = (tmp_path / "table2.md").read_text()
    assert "| ActivityNet-1.3 (published) | not named | 39.29 | 24.09 | 6.71 | 24.42 |" in text
    assert text.count("| weak | CPMN, this code |") == 2
    # The average is over tIoU 0.5:0.05:0.95, not over the three that are shown.
    found = json.loads((tmp_path / "table2.json").read_text())["results"][0]
    assert len(found["tiou"]) == 10
    average = f"{100 * np.mean(found['map']['activitynet']):.1f}"
    assert f"| {average} |" in text
