"""Validation names every defect at once, of a source and of records."""

import dataclasses
import json

import numpy as np
import pytest

from cpmn_tf.data.index import Index
from cpmn_tf.data.manifest import Manifest
from tfrecords_tools.commands import build_records, validate_records


@pytest.fixture
def data(folders):
    """The four videos made clean: lengths fit the durations, all in training but one."""
    rng = np.random.default_rng(1)
    for name in folders.ids:
        folders.database[name]["duration"] = 3.5
        for stream, width in (("rgb", 4), ("flow", 2)):
            folders.put(stream, name, rng.normal(size=(7, width)))
    folders.save()
    return folders


@pytest.fixture
def placed(data):
    """The same, and every annotation has a segment."""
    for entry in data.database.values():
        entry["annotations"][1]["segment"] = [1.0, 2.0]
    data.save()
    return data


def validate(capsys, *arguments) -> tuple[int, dict]:
    capsys.readouterr()
    code = validate_records.main([*map(str, arguments), "--json"])
    output = capsys.readouterr()
    content = json.loads(output.out)
    assert (code == 1) == bool(content["errors"]) and code in (0, 1)
    if code:
        assert output.err.count("\n") == 1 and "training would go wrong" in output.err
    return code, {item["kind"]: item for item in content["findings"]} | {"": content}


def of_source(data, capsys, *more) -> dict:
    flags = [flag for flag in data.flags(*more) if not flag.startswith("--output_dir")]
    return validate(capsys, *flags)[1]


def videos(item) -> list[str]:
    return [found["video"] for found in item["findings"]]


def test_nothing_wrong(placed, capsys):
    found = of_source(placed, capsys)
    assert set(found) == {""}
    assert found[""]["splits"] == {"training": 3, "test": 1}
    assert found[""]["units"] == 28 and found[""]["streams"] == {"flow": 2, "rgb": 4}
    flags = [flag for flag in placed.flags() if not flag.startswith("--output_dir")]
    assert validate_records.main(flags) == 0
    assert capsys.readouterr().out.splitlines() == [
        "read: 4 videos (training 3, test 1), 28 units; streams: flow 2, rgb 4; "
        "training split: training",
        "0 errors, 0 warnings",
    ]


def break_features(data):
    first, second, third, fourth = data.ids
    data.path("flow", first).unlink()
    data.put("rgb", "surplus", np.ones((7, 4)))
    values = np.load(data.path("rgb", second))
    values[3, 2] = np.nan
    data.put("rgb", second, values)
    data.put("flow", third, np.zeros((12, 2)))
    data.path("rgb", fourth).write_bytes(data.path("rgb", fourth).read_bytes()[:-5])


def test_all_defects_of_features_at_once(data, capsys):
    break_features(data)
    found = of_source(data, capsys)
    first, second, third, fourth = data.ids
    assert videos(found["missing"]) == [first]
    assert "no flow" in found["missing"]["findings"][0]["message"]
    assert videos(found["surplus"]) == ["surplus"]
    assert videos(found["nan"]) == [second]
    assert "unit 3, value 2" in found["nan"]["findings"][0]["message"]
    assert videos(found["constant"]) == [third] and videos(found["length"]) == [third]
    assert videos(found["unreadable"]) == [fourth]
    levels = [item["level"] for item in found[""]["findings"]]
    assert levels == sorted(levels)  # errors first
    found = of_source(data, capsys, "--skip_missing")
    assert videos(found["skipped"]) == [first] and "missing" not in found


def test_all_defects_of_annotations_at_once(data, capsys):
    first, second, third, fourth = data.ids
    base = {"subset": "training", "fps": 10, "duration": 3.5}
    data.database[first]["annotations"] = [
        {"label": "run", "segment": [2, 1]},
        {"label": "run", "segment": [3, 9]},
        {"label": "fly", "segment": [0, 1]},
        {"segment": [0, 1]},
    ]
    data.database[second] = {**base, "annotations": [{"label": "run", "segment": ["x", 1]}]}
    data.database[third] = {**base, "annotations": [], "fps": None}
    data.database[fourth]["annotations"] = [{"label": "jump"}]
    data.database["../../x"] = data.database[fourth]
    data.database["broken"] = []
    data.save(classes=["run", "jump", "swim"])
    text = data.annotations.read_text()
    double = json.dumps({first: data.database[first]})[1:-1]
    data.annotations.write_text(text.replace('{"database": {', '{"database": {' + double + ", "))
    found = of_source(data, capsys)
    assert videos(found["reversed"]) == [first]
    assert videos(found["outside"]) == [first]
    assert videos(found["label"]) == [first]
    assert sorted(videos(found["annotation"])) == sorted([first, second, "broken"])
    assert videos(found["fps"]) == [third]
    assert videos(found["id"]) == ["../../x"]
    assert videos(found["duplicate"]) == [first]
    messages = [item["message"] for item in found["class"]["findings"]]
    assert ["'jump'" in messages[0], "'swim'" in messages[1]] == [True, True]
    assert found["class"]["count"] == 2


def test_what_is_broken_does_not_hide_the_rest(data, capsys):
    """A broken list of classes, interval or number is one finding; everything else is looked at."""
    first, second, third, fourth = data.ids
    data.database[first]["ambiguous"] = [[2, 1], [0, 1], "x"]
    data.database[second]["fps"] = 0
    data.database[third]["duration"] = "long"
    data.database[fourth]["ambiguous"] = 5
    for classes in ([["run"], "jump"], ["run", "jump", "run"], ["run", ""], "run"):
        data.save(classes=classes)
        found = of_source(data, capsys)
        assert videos(found["reversed"]) == [first]
        assert sorted(videos(found["annotation"])) == sorted(["", first, second, third, fourth])
        assert found[""]["videos"] == 3 and "source" not in found  # second has no fps


def test_what_passes_can_be_built(data, capsys):
    """Numbers that building refuses are errors here, whatever else would fill them in."""
    for name, value in (("fps", 0), ("fps", ""), ("duration", ""), ("duration", "1e999")):
        data.database[data.ids[1]][name] = value
        data.save()
        found = of_source(data, capsys, "--fps=10")
        assert videos(found["annotation"]) == [data.ids[1]]
        assert build_records.main(data.flags("--fps=10")) == 1
        data.database[data.ids[1]] |= {"fps": 10, "duration": 3.5}


def test_json_from_windows(placed, capsys):
    text = json.dumps({"database": placed.database}, indent=1).replace("\n", "\r\n")
    placed.annotations.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert set(of_source(placed, capsys)) == {""}
    assert build_records.main(placed.flags()) == 0


def test_tables_of_videos(placed, tmp_path, capsys):
    table = tmp_path / "info.csv"
    quoted = ['"' + name.replace('"', '""') + '"' for name in placed.ids]
    table.write_text("Video Name,FPS\n" + "".join(f"{name},10\n" for name in quoted))
    assert set(of_source(placed, capsys, f"--video_info={table}")) == {""}
    with open(table, "a") as file:
        file.write(f"{quoted[0]},10\n{quoted[1]},25\n")
    found = of_source(placed, capsys, f"--video_info={table}")
    assert videos(found["duplicate"]) == [placed.ids[1]]
    table.write_text("video,fpss\n" + "".join(f"{name},10\n" for name in quoted))
    message = of_source(placed, capsys, f"--video_info={table}")["annotation"]["findings"][0]
    assert "has no column of subset, fps, duration or frames; add one" in message["message"]
    table.write_text("video,fps\n" + "".join(f'{name[:-1]}.mp4",10\n' for name in quoted))
    message = of_source(placed, capsys, f"--video_info={table}")["annotation"]["findings"][0]
    assert "names none of the annotated videos, which are called '-first'" in message["message"]


def test_copies_across_splits(data, capsys):
    first, second, third, fourth = data.ids
    for stream in ("rgb", "flow"):
        data.path(stream, second).write_bytes(data.path(stream, first).read_bytes())
        data.path(stream, fourth).write_bytes(data.path(stream, third).read_bytes())
    found = of_source(data, capsys)
    assert videos(found["same"]) == [second] and found["same"]["level"] == "warning"
    assert videos(found["overlap"]) == [fourth]


def test_wrong_stride_is_told_from_single_videos(data, capsys):
    data.database[data.ids[0]]["duration"] = 30
    data.save()
    found = of_source(data, capsys)
    assert videos(found["few"]) == [data.ids[0]] and found[""]["errors"] == 0
    found = of_source(data, capsys, "--unit_frames=20")
    assert found["rate"]["count"] == 4
    assert "7 units at 0.5 per second last 14.0 s" in found["rate"]["findings"][0]["message"]
    data.database[data.ids[0]]["annotations"] = []
    data.save()
    assert videos(of_source(data, capsys)["unlabelled"]) == [data.ids[0]]
    assert of_source(data, capsys, "--train_split=test")["class"]["count"] == 1
    found = of_source(data, capsys, "--train_split=test", "--allow_empty_classes")
    assert "class" not in found and found["empty"]["count"] == 1


def test_annotations_without_a_segment_are_counted(data, capsys):
    (item,) = of_source(data, capsys)["unsegmented"]["findings"][:1]
    assert item["message"].startswith("3 of 6 annotations of the split 'training' have no segment")
    for entry in data.database.values():
        entry["annotations"] = entry["annotations"][1:]
    data.save()  # labels alone, as a labels-only source has them
    assert "unsegmented" not in of_source(data, capsys)


def test_labels_that_are_no_class_or_may_be_several(placed, capsys):
    items = placed.database[placed.ids[0]]["annotations"]
    items += [{"label": name, "segment": [1, 2]} for name in ("NoAction", "AMBIGUOUS", "run, jump")]
    placed.save()
    found = of_source(placed, capsys)
    assert "'NoAction' stands for no action" in found["label"]["findings"][0]["message"]
    notes = [item["message"] for item in found["note"]["findings"]]
    assert "labelled 'Ambiguous'" in notes[0] and "'run, jump' one class?" in notes[1]
    found = of_source(placed, capsys, "--drop_labels=NoAction,run")
    # 1 NoAction, 4 + 2 run
    assert "label" not in found and "--drop_labels says: 7" in str(found["note"])


def test_names_that_look_alike_and_keys_that_were_meant(placed, capsys):
    first, second, third, _ = placed.ids
    placed.database[first]["annotations"][0]["label"] = "Run"
    placed.database[second]["labels"] = placed.database[second].pop("annotations")
    del placed.database[third]["subset"]
    placed.database[third]["partition"] = "training"
    placed.database[f"{third} "] = placed.database[first]
    placed.save()
    found = of_source(placed, capsys)
    assert "'Run' and 'run' differ by blanks or case" in found["label"]["findings"][0]["message"]
    assert "differ by blanks alone" in found["duplicate"]["findings"][0]["message"]
    assert {second, third} <= set(videos(found["annotation"]))


def test_trimmed_zero_units_and_widths(data, capsys):
    values = np.load(data.path("rgb", data.ids[0]))
    data.put("rgb", data.ids[0], np.concatenate([values, np.zeros((2, 4))]))
    data.put("rgb", data.ids[1], np.random.default_rng(0).normal(size=(7, 5)))
    found = of_source(data, capsys)
    assert videos(found["trimmed"]) == videos(found["zero"]) == [data.ids[0]]
    assert videos(found["width"]) == [data.ids[1]]


def test_a_source_that_cannot_be_opened(data, capsys):
    data.annotations.write_text("{")
    found = of_source(data, capsys)
    assert found["source"]["count"] == 1 and found[""]["videos"] == 0
    assert validate_records.main(["--source=folders"]) == 1
    assert "--features_dir is missing" in capsys.readouterr().out
    assert validate_records.main(["--source=folders", "--data_dir=x"]) == 1
    assert "--source does not go with --data_dir" in capsys.readouterr().err


def test_listing_shows_a_few_of_many(placed, capsys):
    for number in range(9):
        placed.put("rgb", f"surplus{number}", np.ones((7, 4)))
    flags = [flag for flag in placed.flags() if not flag.startswith("--output_dir")]
    assert validate_records.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("warning: features without annotations, not used: 9 (")
    assert lines[-2] == "    ... and 4 more" and len(lines) == 9


@pytest.fixture
def built(data):
    assert build_records.main(data.flags("--shards=2")) == 0
    return data


def test_whole_records(built, capsys):
    code, found = validate(capsys, f"--data_dir={built.output}")
    assert code == 0 and found[""]["videos"] == 4
    assert found[""]["splits"] == {"training": 3, "test": 1}


def test_a_wrong_digest(built, capsys):
    path = built.output / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["test"][0]["sha256"] = 64 * "0"
    path.write_text(json.dumps(content))
    _, found = validate(capsys, f"--data_dir={built.output}")
    assert "SHA-256 is not the manifest's" in found["unreadable"]["findings"][0]["message"]


def test_records_are_held_against_the_annotations(built, capsys):
    path = built.output / "annotations.json"
    content = json.loads(path.read_text())

    def message() -> str:
        path.write_text(json.dumps(content))
        _, found = validate(capsys, f"--data_dir={built.output}")
        (item,) = found["annotation"]["findings"]
        return item["message"]

    content["database"]["-first"]["annotations"].pop()
    text = message()
    assert "'-first': its record says 'training', ['jump', 'run'] and 1 instances" in text
    assert "annotations.json 'training', ['run'] and 1; build" in text
    content["database"]["more"] = content["database"].pop("-first")
    assert "'-first' has a record, but is not in annotations.json" in message()
    content["database"]["-first"] = content["database"].pop("more")
    content["database"]["-first"]["annotations"][0]["label"] = "jump"
    content["database"]["-first"]["annotations"].append({"label": "run"})
    # the labels of the record, in another instance
    assert "['jump', 'run'] and 1; build" in message()


def test_the_index_is_held_against_the_records(built, capsys):
    manifest = Manifest.load(built.output)
    index = Index.open(manifest, "training")
    names = index.names.copy()
    names[-1] ^= 1
    dataclasses.replace(index, names=names).save(manifest, "training")
    code, found = validate(capsys, f"--data_dir={built.output}")
    (item,) = found["unreadable"]["findings"]
    assert code == 1 and "training.index.npz: is not of these records" in item["message"]
    dataclasses.replace(index, units=index.units + np.eye(1, len(index.units), dtype="i4")[0]).save(
        manifest, "training"
    )
    _, found = validate(capsys, f"--data_dir={built.output}")
    assert "does not fit the manifest" in found["unreadable"]["findings"][0]["message"]
    (built.output / "training.index.npz").unlink()  # as records of earlier versions are
    code, found = validate(capsys, f"--data_dir={built.output}")
    assert code == 0 and "unreadable" not in found


def test_all_defects_of_records_at_once(built, capsys):
    manifest = Manifest.load(built.output)
    first, second = manifest.shards("training")
    data = bytearray((built.output / first.file).read_bytes())
    data[40] ^= 1
    (built.output / first.file).write_bytes(data)
    (built.output / second.file).unlink()
    (built.output / "test-00000-of-00009.tfrecord").write_bytes(b"")
    path = built.output / "annotations.json"
    content = json.loads(path.read_text())
    content["database"][built.ids[3]]["annotations"].pop(0)
    content["database"]["gone"] = content["database"][built.ids[0]]
    path.write_text(json.dumps(content))
    _, found = validate(capsys, f"--data_dir={built.output}")
    messages = [item["message"] for item in found["unreadable"]["findings"]]
    assert len(messages) == 2 and "record 0 is broken" in messages[0]
    assert "this shard is missing" in messages[1]
    assert set(videos(found["missing"])) == {*built.ids[:3], "gone"}
    assert videos(found["annotation"]) == [built.ids[3]]
    assert "does not list this file" in found["surplus"]["findings"][0]["message"]
    (built.output / "manifest.json").unlink()
    _, found = validate(capsys, f"--data_dir={built.output}")
    assert "no such file" in found["source"]["findings"][0]["message"]


def test_the_same_video_in_two_shards(built, capsys):
    path = built.output / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["test"] += content["splits"]["training"][:1]
    path.write_text(json.dumps(content))
    _, found = validate(capsys, f"--data_dir={built.output}")
    assert found["overlap"]["count"] == 2


@pytest.mark.parametrize("wrong", [slice(None), slice(2, 3)])
def test_transposed_features(data, capsys, wrong):
    for place, name in enumerate(data.ids):
        values = np.random.default_rng(place).normal(size=(7 + place, 4))
        data.put("rgb", name, values.T if name in data.ids[wrong] else values)
    found = of_source(data, capsys)
    messages = [item["message"] for item in found["width"]["findings"]]
    assert len(messages) == (3 if wrong == slice(None) else 1)
    assert all("[G, T] instead of [T, G]" in text for text in messages)


def test_a_copy_of_one_stream(data, capsys):
    first, _, _, fourth = data.ids
    data.path("rgb", fourth).write_bytes(data.path("rgb", first).read_bytes())
    data.put("flow", first, np.zeros((7, 2)))
    found = of_source(data, capsys)
    assert videos(found["overlap"]) == [fourth] and videos(found["constant"]) == [first]
