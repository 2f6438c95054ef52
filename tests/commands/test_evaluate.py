"""cpmn-evaluate from flags to screen and JSON."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

from cpmn_tf.commands import analyze, evaluate

ANNOTATIONS = {
    "database": {
        "a": {
            "subset": "test",
            "duration": 30,
            "annotations": [
                {"segment": [0, 10], "label": "run"},
                {"segment": [12, 20], "label": "jump"},
            ],
            "ambiguous": [[21, 25]],
        },
        "b": {"subset": "test", "annotations": []},
        "c": {"subset": "validation", "annotations": [{"segment": [0, 1], "label": "run"}]},
    }
}
RESULTS = {
    "results": {
        "a": [
            {"label": "run", "segment": [0, 5], "score": 0.5},
            {"label": "run", "segment": [20, 26], "score": 0.75},
            {"label": "swim", "segment": [20, 26], "score": 0.75},
        ]
    }
}


@pytest.fixture
def flags(tmp_path):
    """Writes both files; flags that give them, and others by keyword (None leaves one out)."""

    def build(truth=ANNOTATIONS, results=RESULTS, **others):
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "found.json").write_text(json.dumps(results))
        given = {
            "annotations": tmp_path / "truth.json",
            "detections": tmp_path / "found.json",
            "split": "test",
            "output": tmp_path / "out.json",
            **others,
        }
        return [f"--{name}={value}" for name, value in given.items() if value is not None]

    build.folder = tmp_path
    return build


def output(flags):
    return json.loads((flags.folder / "out.json").read_text())


def test_one_protocol(flags, capsys):
    assert evaluate.main(flags(tiou="0.4,0.5")) == 0
    result = output(flags)
    # run: F T (tIoU 0.5 ≥ 0.5) gives 1/2; jump has no detection.
    assert result["protocol"] == "activitynet"
    assert result["tiou"] == [0.4, 0.5]
    assert result["map"] == [0.25, 0.25]
    assert result["average_map"] == 0.25
    assert result["per_class"] == {"jump": [0.0, 0.0], "run": [0.5, 0.5]}
    for name, key in (("truth.json", "annotation"), ("found.json", "detection")):
        path = flags.folder / name
        assert result[f"{key}_file"] == str(path)
        assert result[f"{key}_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (result["split"], result["videos"], result["instances"]) == ("test", 2, 2)
    assert result["videos_without_detections"] == 1
    shown = capsys.readouterr().out
    for text in ("activitynet", "25.00", "50.00", "truth.json", result["annotation_sha256"]):
        assert text in shown
    assert "2 videos, 2 instances of 2 classes" in shown
    assert "1 video without detections" in shown
    assert "1 detection of 'swim', which is no class of the data set" in shown


def test_both_protocols_side_by_side(flags, capsys):
    assert evaluate.main(flags(protocol="both", tiou="0.4")) == 0
    result = output(flags)
    # thumos14 drops the detection that touches (21, 25): T alone gives 1.
    assert result["activitynet"]["map"] == [0.25]
    assert result["thumos14"]["map"] == [0.5]
    assert result["thumos14"]["protocol"] == "thumos14"
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("run"))
    assert line.split() == ["run", "50.00", "100.00"]


def test_the_preset_names_split_and_thresholds(flags):
    assert evaluate.main(flags(split=None, preset="thumos14")) == 0
    assert output(flags)["split"] == "test"
    assert output(flags)["tiou"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert evaluate.main(flags(preset="activitynet13")) == 0  # --split is given
    assert len(output(flags)["tiou"]) == 10


def test_the_only_subset_needs_no_name(flags, capsys):
    database = {name: ANNOTATIONS["database"][name] for name in "ab"}
    assert evaluate.main(flags(truth={"database": database}, split=None)) == 0
    assert output(flags)["split"] == "test"
    assert evaluate.main(flags(split=None)) == 1
    assert "name the subset with --split; there are: test, validation" in capsys.readouterr().err


def test_official_annotations_and_text_detections(flags):
    folder = flags.folder / "official"
    folder.mkdir()
    (folder / "Diving_test.txt").write_text("v 0 10\n")
    (folder / "Ambiguous_test.txt").write_text("v 20 30\n")
    (flags.folder / "found.txt").write_text("v 25 35 26 0.9\nv 0 9 26 0.8\n")
    changes = {"annotations": folder, "detections": flags.folder / "found.txt", "split": None}
    assert evaluate.main(flags(protocol="both", tiou="0.5", **changes)) == 0
    assert output(flags)["activitynet"]["map"] == [0.5]
    assert output(flags)["thumos14"]["map"] == [1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tiou": "0.5:0.5"}, "--tiou=0.5:0.5: write first:step:last"),
        ({"split": "train"}, "no video belongs to the subset 'train'; there are: test, validation"),
        ({"truth": {"database": {}}, "split": None}, "name the subset with --split"),
        (
            {"results": {"results": {"x": RESULTS["results"]["a"]}}},
            "its videos are others ('x', …)",
        ),
        (
            {"results": {"results": {"a": [{"label": "w", "segment": [0, 1], "score": 1}]}}},
            "none of its classes ('w'",
        ),
        (
            {"results": {"results": {"a": [{"label": "run", "segment": [0, 900], "score": 1}]}}},
            "times must be seconds",
        ),
        ({"results": {"results": {"a": [{"label": "run", "segment": [3, 1]}]}}}, "video 'a'"),
        ({"results": []}, "not a JSON object"),
        ({"output": "/proc/none/out.json"}, "/proc/none/out.json: cannot be written"),
        ({"output": pathlib.Path(__file__).parent}, "commands: cannot be written (Is a directory)"),
        (
            {"truth": {"database": {"a": {"subset": "test", "annotations": [{"label": "run"}]}}}},
            "truth.json: the subset 'test' holds no instance",
        ),
    ],
)
def test_errors_are_one_line(flags, capsys, changes, message):
    assert evaluate.main(flags(**changes)) == 1
    shown, error = capsys.readouterr()
    assert message in error and error.count("\n") == 1 and not shown
    assert not (flags.folder / "out.json").exists()


def test_no_detections_at_all_is_a_result(flags):
    assert evaluate.main(flags(results={"results": {"a": []}})) == 0
    assert output(flags)["average_map"] == 0
    assert output(flags)["videos_without_detections"] == 2


def test_notes_tell_what_was_counted_how(flags, capsys):
    found = {
        "a": [{"label": "run", "segment": [0, 10], "score": "2"}],
        "x": [{"label": "run", "segment": [0, 10], "score": 1}] * 2,
    }
    truth = json.loads(json.dumps(ANNOTATIONS).replace("jump", "jump\\n\\u001b[31m"))
    assert evaluate.main(flags(truth, {"results": found}, tiou="0.5")) == 0
    shown = capsys.readouterr().out
    assert "2 videos, 2 instances of 2 classes, 1 ambiguous interval\n" in shown
    assert "note         1 class without detections, with an AP of 0\n" in shown
    assert "note         2 detections in 1 video outside the split, counted as false" in shown
    assert "jump\\n\\x1b[31m" in shown  # no name may reach into the terminal


def test_instances_given_twice_and_the_order_of_the_file(flags, capsys):
    truth = json.loads(json.dumps(ANNOTATIONS))
    items = truth["database"]["a"]["annotations"]
    items += [{"segment": [0.0004, 10], "label": "run"}, {"segment": [12, 20], "label": "jump"}]
    results = {"results": {"a": [{**item, "score": 1} for item in items[:2]]}}
    twice = "note         2 instances within 0.01 s of another of the class in the same video; "
    assert evaluate.main(flags(truth, results)) == 0
    assert output(flags)["average_map"] == 0.5
    assert f"{twice}drop_duplicates leaves such out\n" in capsys.readouterr().out
    arguments = [*flags(truth, results), "--drop_duplicates", "--order=file"]
    assert evaluate.main(arguments) == 0
    result, shown = output(flags), capsys.readouterr().out
    assert (result["average_map"], result["instances"], result["dropped_instances"]) == (1, 2, 2)
    assert f"{twice}left out\n" in shown
    assert "instances, and detections of one score, are in the order of the files\n" in shown
    assert len(result["notes"]) == 2
    assert analyze.main([*arguments[:-3], "--drop_duplicates", f"--output_dir={flags.folder}"]) == 0
    assert f"{twice}left out\n" in capsys.readouterr().out


@pytest.mark.parametrize(("factor", "what"), [(30, "28 times"), (1 / 30, "within 1 s")])
def test_a_truth_that_is_not_in_seconds_is_refused(flags, capsys, factor, what):
    """Frames, and fractions of the duration, of twelve instances; the detections are right."""
    items = [{"segment": [n, n + 2], "label": "run"} for n in range(4, 28, 2)]
    found = {"results": {"a": [{**item, "score": 1} for item in items]}}
    for item in items:
        item["segment"] = [time * factor for time in item["segment"]]
    truth = {"database": {"a": {"subset": "test", "duration": 30, "annotations": items}}}
    assert evaluate.main(flags(truth, found)) == 1
    error = capsys.readouterr().err
    assert "truth.json: " in error and what in error and "times must be seconds" in error
    assert error.count("\n") == 1


def test_late_times_are_doubted_where_no_duration_is_known(flags, capsys):
    truth = json.loads(json.dumps(ANNOTATIONS).replace('"duration": 30, ', ""))
    assert evaluate.main(flags(truth, tiou="0.5")) == 0
    assert "seconds?" not in capsys.readouterr().out
    frames = json.loads(json.dumps(RESULTS).replace("[20, 26]", "[600, 780]"))
    assert evaluate.main(flags(truth, frames, tiou="0.5")) == 0
    # Of class run and jump: (780 + 5) / 2 s against (10 + 20) / 2 s.
    assert "detections end 26.2 times as late as the instances" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"annotations": [{"segment": [5, 1], "label": "a"}]}, "ends before it starts (5.0 > 1.0)"),
        ({"annotations": [{"segment": ["?", 1], "label": "a"}]}, "of 'a' is '?', not a number"),
        ({"annotations": "run"}, "annotations is not a JSON list"),
        ({"annotations": [], "ambiguous": 5}, "ambiguous is not a JSON list"),
        ({"annotations": [], "duration": "1:30"}, "duration is '1:30', not a number"),
    ],
)
def test_a_bad_entry_matters_in_the_split_that_is_evaluated(flags, capsys, entry, message):
    def judged(subset):
        truth = {"database": {**ANNOTATIONS["database"], "d": {"subset": subset, **entry}}}
        return evaluate.main(flags(truth, tiou="0.4"))

    assert judged("validation") == 0
    shown = capsys.readouterr().out
    assert "note         1 defect in other subsets, which are not evaluated; the first: " in shown
    assert "truth.json: video 'd': " in shown and message in shown
    assert output(flags)["map"] == [0.25]
    assert judged("test") == 1
    assert message in capsys.readouterr().err


def test_a_table_of_which_no_line_can_be_read(flags, capsys):
    (flags.folder / "truth.csv").write_text("a,0,10,run\nb,1,2,run\n")
    assert evaluate.main(flags(annotations=flags.folder / "truth.csv", split=None)) == 1
    assert "truth.csv line 1: has 4 fields instead of 2; fix it" in capsys.readouterr().err


def test_a_video_that_is_there_twice_matters_in_any_split(flags, capsys):
    arguments = flags()
    path = flags.folder / "truth.json"
    text = path.read_text()
    path.write_text(text.replace('"c": {', '"a": {"subset": "validation"}, "c": {'))
    assert evaluate.main(arguments) == 1
    assert "the key 'a' is in one object 2 times" in capsys.readouterr().err


def test_a_reader_that_goes_away_leaves_no_traceback_and_the_file(flags):
    program = [sys.executable, "-m", "cpmn_tf.commands.evaluate", *flags()]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")
    assert output(flags)["protocol"] == "activitynet"


def test_ambiguous_as_a_label_in_json(flags, capsys):
    """As several toolboxes write THUMOS14: as a class its AP is 0, and mAP 2/3 or less."""

    def segments(*items):
        return [{"label": label, "segment": [start, end]} for label, start, end in items]

    actions = {
        "v1": segments(("Jump", 5, 10), ("Dive", 20, 30)),
        "v2": segments(("Jump", 15, 25)),
        "v3": segments(("Dive", 1, 9)),
    }
    found = {key: [{**item, "score": 0.5} for item in items] for key, items in actions.items()}
    found["v1"].append({"label": "Jump", "segment": [40, 50], "score": 0.99})
    actions["v1"] += segments(("Ambiguous", 40, 50))
    truth = {key: {"subset": "test", "annotations": items} for key, items in actions.items()}
    changes = {"protocol": "both", "tiou": "0.5", "split": None}
    assert evaluate.main(flags({"database": truth}, {"results": found}, **changes)) == 0
    # Jump: F T T has precisions 1/2 and 2/3, by ActivityNet's interpolation 2/3; Dive 1.
    assert output(flags)["activitynet"]["average_map"] == pytest.approx(5 / 6)  # 83.33
    assert output(flags)["thumos14"]["average_map"] == 1.0  # the one at [40, 50] is left out
    note = "labelled 'Ambiguous', so ambiguous intervals and no instances: 1"
    assert capsys.readouterr().out.count(note) == 1 and note in output(flags)["thumos14"]["notes"]


def test_names_that_read_the_same_are_the_same(flags, capsys):
    """In form D, as macOS writes it, `Plongée` gave 50 instead of 100."""
    truth = {"v": {"subset": "test", "annotations": []}}
    for label, segment in (("Plong\u00e9e", [0, 9]), ("Jump", [20, 30])):
        truth["v"]["annotations"].append({"label": label, "segment": segment})
    found = [{**item, "score": 1} for item in truth["v"]["annotations"]]
    found[0] = {**found[0], "label": "Plonge\u0301e"}
    changes = {"tiou": "0.5", "split": None}
    assert evaluate.main(flags({"database": truth}, {"results": {"v": found}}, **changes)) == 0
    assert output(flags)["average_map"] == 1.0
    assert list(output(flags)["per_class"]) == ["Jump", "Plong\u00e9e"]
    for wrong, name in ((" v", "v"), ("v", "jump")):
        found[1] = {**found[1], "label": name if name == "jump" else "Jump"}
        assert (
            evaluate.main(flags({"database": truth}, {"results": {wrong: found}}, **changes)) == 1
        )
        error = capsys.readouterr().err
        assert "found.json: the" in error and "differ by blanks" in error


def test_an_instance_without_a_segment_is_an_error_where_it_is_evaluated(flags, capsys):
    truth = json.loads(json.dumps(ANNOTATIONS))
    truth["database"]["c"]["annotations"].append({"label": "run"})  # not evaluated
    truth["database"]["b"]["annotations"] = [{"label": "Background", "segment": [0, 1]}]
    assert evaluate.main(flags(truth)) == 0
    assert "'Background' counts as a class; if it stands for no action" in capsys.readouterr().out
    truth["database"]["a"]["annotations"].append({"label": "run"})
    assert evaluate.main(flags(truth)) == 1
    error = capsys.readouterr().err
    assert "truth.json: video 'a': an annotation of 'run' has no segment" in error


def test_missing_flags_and_help(flags, capsys):
    assert evaluate.main(["--annotations=x"]) == 2
    assert "detections" in capsys.readouterr().err
    assert evaluate.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("annotations", "detections", "protocol", "split", "tiou", "output", "preset"):
        assert f"--{name}" in shown


def test_evaluation_does_not_load_tensorflow_or_matplotlib():
    program = (
        "import sys; import cpmn_tf.commands.evaluate, cpmn_tf.commands.analyze; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
