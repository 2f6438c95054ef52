"""`cpmn-localize`: class scores, refusals; and the videos at the edges of what there is."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from cpmn_tf.commands import evaluate, export, localize, plot, train
from tfrecords_tools.commands import inspect_records


def detections(path) -> dict:
    return json.loads(path.read_text())["results"]


@pytest.fixture
def arguments(data_set, model_dir, tmp_path) -> list[str]:
    return [
        f"--data_dir={data_set}",
        f"--model_dir={model_dir}",
        f"--output={tmp_path / 'detections.json'}",
    ]


def test_external_class_scores_select_and_weigh(arguments, tmp_path):
    ids = [f"video_{number:03d}" for number in range(10, 15)]
    rows = "\n".join(f"{name},0.0,0.4,0.9" for name in ids)
    (tmp_path / "scores.csv").write_text(f"video,Dive,Jump,Throw\n{rows}\n")
    # With Eq. 7 on Φ, p_act is in (0, 1]: no score exceeds its class's.
    more = [f"--class_scores={tmp_path / 'scores.csv'}", "--set=localization.p_act=phi"]
    assert localize.main([*arguments, *more]) == 0
    found = detections(tmp_path / "detections.json")
    assert set(found) == set(ids)
    items = [item for video in found.values() for item in video]
    assert {item["label"] for item in items} == {"Jump", "Throw"}  # the top 2 of 3
    assert max(item["score"] for item in items if item["label"] == "Jump") <= 0.4
    assert max(item["score"] for item in items if item["label"] == "Throw") <= 0.9


def test_scores_of_untrimmednets_form(arguments, tmp_path, capsys):
    """Rows numbered by a pattern, more columns than classes, rows that sum to 2."""
    scores = np.full((15, 5), 0.1, np.float32)
    scores[:, 3] = 1.6
    np.save(tmp_path / "scores.npy", scores)
    (tmp_path / "names.txt").write_text("2 Dive\n4 Jump\n5 Throw\n")
    (tmp_path / "rows.txt").write_text("".join(f"video_{k:03d}\n" for k in range(15)))
    more = [
        f"--class_scores={tmp_path / 'scores.npy'}",
        f"--class_scores_classes={tmp_path / 'names.txt'}",
        f"--class_scores_rows={tmp_path / 'rows.txt'}",
        "--set=localization.p_act=phi",  # in (0, 1], so that the class's score decides
    ]
    assert localize.main([*arguments, *more]) == 1  # above 1 without a scale
    assert "above 1; give --class_scores_scale (its rows sum to 2, so" in capsys.readouterr().err
    assert localize.main([*arguments, *more, "--class_scores_scale=0.5"]) == 0
    best = {
        video: items[0]["label"]
        for video, items in detections(tmp_path / "detections.json").items()
        if items
    }
    assert set(best.values()) == {"Jump"}


@pytest.mark.parametrize(
    "change, expected",
    [
        (["--set=cascade.filters=3"], "acts in training only"),
        (["--split=nothing"], "has no split 'nothing'"),
        (["--class_scores=/nowhere.csv"], "/nowhere.csv"),
        (["--model_dir=/nowhere"], "/nowhere/model.json"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(capsys, arguments, tmp_path, change, expected):
    assert localize.main([*arguments, *change]) == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and expected in error
    assert not (tmp_path / "detections.json").exists()


@pytest.mark.parametrize(
    "change, expected",
    [
        ("--output=", "--output must be given"),
        ("--model_dir=", "give either --model_dir, --saved_model or --server"),
        ("--saved_model=x", "give either --model_dir, --saved_model or --server"),
    ],
)
def test_wrong_flags_end_with_2(capsys, arguments, tmp_path, change, expected):
    assert localize.main([*arguments, change]) == 2
    assert capsys.readouterr().err.startswith(f"cpmn-localize: {expected} (see")
    assert not (tmp_path / "detections.json").exists()


def test_a_faulty_video_leaves_the_others_theirs(
    model_dir, dataset_writer, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("cpmn_tf.data.records.all_finite", lambda _: True)  # our writer looks
    write, make = dataset_writer
    videos = make(4)
    videos[1]["rgb"][0, 0] = videos[2]["flow"][5, 5] = np.inf
    folder, output = write(tmp_path / "records", {"testing": videos}), tmp_path / "found.json"
    flags = [f"--data_dir={folder}", f"--model_dir={model_dir}", f"--output={output}"]
    assert localize.main([*flags, "--evaluate=thumos14"]) == 1
    shown, error = capsys.readouterr()
    fault = "its features are NaN or infinite within its length; encode it anew"
    more = f"(2 videos not localized; the others' detections are in {output})"
    assert error == f"cpmn-localize: error: {folder}: video 'video_001': {fault} {more}\n"
    assert f"{folder}: video 'video_002': {fault}\n" in shown and "mAP" not in shown
    one, said = output.read_bytes(), error
    for shard in ("1/2", "2/2"):
        for _ in range(2):  # written, and kept
            assert localize.main([*flags, f"--shard={shard}"]) == 1
            part = f"are in {output}-parts/0000{shard[0]}-of-00002)"
            assert f"{fault} (1 video not localized; the others' detections {part}" in (
                capsys.readouterr().err
            )
    assert localize.main([*flags, "--join"]) == 1
    assert capsys.readouterr().err == said and output.read_bytes() == one
    found = detections(output)
    assert [bool(found[f"video_{number:03d}"]) for number in range(4)] == [True, False, False, True]


@pytest.mark.parametrize("protocol", ["thumos14", "both"])
def test_evaluating_at_once_prints_what_cpmn_evaluate_prints(
    arguments, data_set, tmp_path, capsys, protocol
):
    """All of it but the SHA-256 of the detections, which are not read back."""
    annotations = data_set / "annotations.json"
    assert localize.main([*arguments, f"--evaluate={protocol}"]) == 0
    _, shown = capsys.readouterr().out.split("\n\n", 1)
    sha256 = hashlib.sha256(annotations.read_bytes()).hexdigest()
    assert shown.startswith(f"annotations  {annotations}\n             SHA-256 {sha256}\n")
    assert "             testing: 5 videos, " in shown and "; 0 videos without detect" in shown
    assert f"detections   {tmp_path / 'detections.json'}\n" in shown
    assert "\nmAP [%] at tIoU" in shown and "\nthumos14 " in shown
    assert ("\nactivitynet " in shown) == (protocol == "both")
    flags = [
        f"--annotations={annotations}",
        f"--detections={tmp_path / 'detections.json'}",
        "--split=testing",
        f"--protocol={protocol}",
    ]
    assert evaluate.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    del lines[4]  # the SHA-256 of the detections
    assert shown.splitlines() == lines


def test_evaluating_at_once_notes_what_has_no_detections(arguments, data_set, tmp_path, capsys):
    silent = "--set=localization.min_seconds=1e6"
    assert localize.main([*arguments, "--evaluate=thumos14", silent]) == 0
    shown = capsys.readouterr().out
    assert "0 detections; 5 videos without detections\n" in shown
    assert "note         3 classes without detections, with an AP of 0\n" in shown
    found, judged = tmp_path / "detections.json", tmp_path / "judged.json"
    assert detections(found) == {f"video_{number:03d}": [] for number in range(10, 15)}
    flags = [f"--annotations={data_set / 'annotations.json'}", "--split=testing"]
    flags += [f"--detections={found}", "--protocol=activitynet", f"--output={judged}"]
    assert evaluate.main(flags) == 0
    assert json.loads(judged.read_text())["average_map"] == 0


def test_simulated_features_are_called_so(data_set, model_dir, small_settings, tmp_path, capsys):
    """In training, in the detections' file and on screen; pictures have a test of their own."""
    records, model = tmp_path / "records", tmp_path / "model"
    shutil.copytree(data_set, records)
    shutil.copytree(model_dir, model)
    manifest = json.loads((records / "manifest.json").read_text())
    manifest["source"]["source"] = "simulated"
    (records / "manifest.json").write_text(json.dumps(manifest))
    where = [f"--data_dir={records}", f"--model_dir={model}"]
    assert train.main([*where, *(f"--set={item}" for item in small_settings)]) == 0
    output = capsys.readouterr().out
    assert f"{records}: features are SIMULATED" in output and "finished before" in output
    assert localize.main([*where, f"--output={tmp_path / 'found.json'}"]) == 0
    assert f"{records}: features are SIMULATED" in capsys.readouterr().out
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["external_data"]["details"].endswith("; features are SIMULATED")


def test_batches_change_nothing(arguments, tmp_path):
    assert localize.main(arguments) == 0
    one = detections(tmp_path / "detections.json")
    assert localize.main([*arguments, "--batch_size=3"]) == 0
    three = detections(tmp_path / "detections.json")
    assert one.keys() == three.keys()
    for video, items in one.items():
        assert [item["label"] for item in items] == [item["label"] for item in three[video]]
        for ours, theirs in zip(items, three[video], strict=True):
            np.testing.assert_allclose(ours["segment"], theirs["segment"], atol=1e-4)
            np.testing.assert_allclose(ours["score"], theirs["score"], rtol=1e-4)


def test_parts_are_joined_to_the_same_file(arguments, tmp_path, capsys):
    """And the same mAP."""
    output, parts = tmp_path / "detections.json", tmp_path / "detections.json-parts"
    flags = [*arguments, "--evaluate=both"]
    assert localize.main(flags) == 0
    one, (_, shown) = output.read_bytes(), capsys.readouterr().out.split("\n\n", 1)
    output.unlink()
    assert localize.main([*flags, "--shard=2/2"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("part 2/2: ") and line.endswith(
        f" detections in 2 videos; it is in {parts}/00002-of-00002; next, when all parts are "
        "there: the same flags with --join"
    )
    assert localize.main([*flags, "--join"]) == 1
    error = capsys.readouterr().err
    assert "1 of 2 parts are missing: 1/2; make each with the same flags and --shard=1/2" in error
    assert not output.exists()
    assert localize.main([*flags, "--shard=1/2"]) == 0
    assert localize.main([*flags, "--join", "--set=localization.top_k=1"]) == 1
    assert capsys.readouterr().err == (
        f"cpmn-localize: error: {parts}/00001-of-00002: part 1/2 was made with "
        "localization.top_k=2, not 1; make it anew with --shard=1/2 and --overwrite\n"
    )
    assert localize.main([*flags, "--join"]) == 0
    assert output.read_bytes() == one and not parts.exists()
    assert capsys.readouterr().out.split("\n\n", 1)[1] == shown


@pytest.mark.parametrize(
    "change, expected",
    [
        (["--shard=1/2", "--join"], "--shard makes a part, --join joins all; give one of them"),
        (["--overwrite"], "--overwrite goes with --shard only"),
        (["--model_dir=", "--server=x", "--shard=1/2"], "--shard does not go with --server: a"),
        (["--data_dir=", "--video=x", "--join"], "--join goes with --data_dir only"),
    ],
)
def test_flags_of_parts_that_do_not_go_together(capsys, arguments, change, expected):
    assert localize.main([*arguments, *change]) == 2
    assert capsys.readouterr().err.startswith(f"cpmn-localize: {expected}")


ODD = ["-rf", 'a b\'s "c"', "Zürich 山", "%s{0}\t", "." * 3, "x" * 200]


def test_odd_videos_pass_through_every_command(tmp_path, dataset_writer, small_settings, capsys):
    """One unit, 20,000 units, only class 0, no detection, ids of odd characters."""
    write, make = dataset_writer
    training, testing = make(6), make(6, seed=1)
    for videos in (training, testing):
        for video, name in zip(videos, ODD, strict=True):
            video["id"], video["label"] = name, 0
    for video in testing:
        video["id"] += "!"
    rng = np.random.default_rng(0)
    for videos in (training, testing):
        for video, units in zip(videos, (1, 20_000), strict=False):
            video["spans"] = [(0, 1)]
            for stream, width in (("rgb", 12), ("flow", 8)):
                video[stream] = rng.normal(size=(units, width)).astype(np.float32)
    folder = write(tmp_path / "data", {"training": training, "testing": testing})
    model, found = tmp_path / "model", tmp_path / "found.json"
    # 20,000 units are many windows, so batches are large.
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    settings.append("training.batch_size=64")
    data = f"--data_dir={folder}"
    assert inspect_records.main([data]) == 0
    assert train.main([data, f"--model_dir={model}", *(f"--set={s}" for s in settings)]) == 0
    assert localize.main([data, f"--model_dir={model}", f"--output={found}"]) == 0
    assert set(detections(found)) == {f"{name}!" for name in ODD}
    assert detections(found)[f"{ODD[0]}!"]  # the video of one unit
    for start, end in (item["segment"] for items in detections(found).values() for item in items):
        assert 0 <= start < end <= 2000.0
    judged = tmp_path / "judged.json"
    arguments = [f"--annotations={folder / 'annotations.json'}", "--split=testing"]
    for protocol in ("activitynet", "thumos14"):
        more = [f"--detections={found}", f"--protocol={protocol}", f"--output={judged}"]
        assert evaluate.main([*arguments, *more]) == 0
        assert list(json.loads(judged.read_text())["per_class"]) == ["Dive"]
    pictures = tmp_path / "pictures"
    assert plot.main([data, f"--model_dir={model}", f"--output_dir={pictures}", "--count=0"]) == 0
    assert len(list(pictures.iterdir())) == 6
    assert export.main([f"--model_dir={model}", f"--export_dir={tmp_path / 'export'}"]) == 0
    exported = [data, f"--saved_model={tmp_path / 'export'}", f"--output={found}"]
    assert localize.main(exported) == 0
    assert set(detections(found)) == {f"{name}!" for name in ODD}
