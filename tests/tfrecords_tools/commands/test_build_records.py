"""Building a data set: what goes in comes out, and a failure leaves nothing behind."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.data import records
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import load_annotations
from tfrecords_tools import building, checks
from tfrecords_tools.commands import build_records
from tfrecords_tools.findings import raise_errors
from tfrecords_tools.sources.folders import FoldersSource


def build(folders, *more) -> Manifest:
    assert build_records.main(folders.flags(*more)) == 0
    return Manifest.load(folders.output)


def read(manifest, split) -> dict:
    dataset = tf.data.TFRecordDataset(manifest.shard_paths(split))
    parsed = dataset.map(lambda item: records.parse_with_segments(item, manifest))
    return {item["id"].decode(): item for item in parsed.as_numpy_iterator()}


def refused(folders, capsys, *more) -> str:
    """The one line of a build that fails and leaves nothing behind."""
    before = sorted(path.name for path in folders.output.parent.iterdir())
    assert build_records.main(folders.flags(*more)) == 1
    assert sorted(path.name for path in folders.output.parent.iterdir()) == before
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("cpmn-build-records: error: ")
    return line


def test_data_set(folders, capsys):
    manifest = build(folders)
    assert [(spec.name, spec.width) for spec in manifest.streams] == [("flow", 2), ("rgb", 4)]
    assert (manifest.dtype, manifest.rate, manifest.classes) == ("float16", 2.0, ("jump", "run"))
    assert manifest.source == {"source": "folders", "unit_frames": 5}
    assert list(manifest.splits) == ["training", "test"]
    training = read(manifest, "training")
    assert tuple(training) == folders.ids[:3]
    for place, name in enumerate(training):
        item = training[name]
        saved = np.load(folders.path("rgb", name))
        np.testing.assert_array_equal(item["features"]["rgb"], saved.astype(np.float16))
        np.testing.assert_array_equal(item["labels"], [1 - place % 2, 1])
        np.testing.assert_array_equal(item["segments"], [[0.5, 1.0]])
        assert item["duration"] == 3.5 and item["length"] == 6 + place
    saved = load_annotations(folders.output / "annotations.json")
    assert saved.classes == ("jump", "run")
    assert saved.videos == load_annotations(folders.annotations).videos
    output = capsys.readouterr().out.splitlines()
    assert "training: 3 videos, 21 units, 1 shards, 0.0 MiB" in output
    assert output[-1] == (
        f"records are in {folders.output}; "
        f"next: cpmn-train --data_dir={folders.output} --model_dir=MODEL_DIR"
    )


def test_float32_where_float16_would_lose(folders, capsys):
    values = np.ones((9, 4))
    values[3, 1] = 1e-9
    folders.put("rgb", folders.ids[3], values)  # the last video: everything starts over
    manifest = build(folders)
    assert manifest.dtype == "float32"
    assert read(manifest, "test")[folders.ids[3]]["features"]["rgb"][3, 1] == np.float32(1e-9)
    assert manifest.num_videos("training") == 3 and not list(folders.output.glob("*.part"))
    output = capsys.readouterr().out
    assert "rgb, 1 values (2.8 %) that are not zero become zero in float16" in output
    assert "trimmed to the shorter stream: 0 videos" in output


def test_forced_dtype(folders, capsys):
    folders.put("rgb", folders.ids[3], np.full((9, 4), 1e-9))
    assert build(folders, "--dtype=float16").dtype == "float16"
    assert "in 1 streams values that are not zero became zero" in capsys.readouterr().out
    folders.put("rgb", folders.ids[3], np.full((9, 4), 1e5))
    line = refused(folders, capsys, "--dtype=float16", "--overwrite")
    assert "rgb: 100000 overflows float16; use --dtype=float32" in line
    assert build(folders, "--overwrite").dtype == "float32"


def test_streams_that_differ_by_a_unit_or_two(folders, capsys):
    for place, more in enumerate((1, 2)):
        name = folders.ids[place]
        folders.put("flow", name, np.ones((6 + place + more, 2)))
    training = read(build(folders), "training")
    assert [item["length"] for item in training.values()] == [6, 7, 8]
    assert "trimmed to the shorter stream: 2 videos" in capsys.readouterr().out
    folders.put("flow", folders.ids[0], np.ones((9, 2)))
    line = refused(folders, capsys, "--overwrite")
    assert "'-first'" in line and "flow 9, rgb 6" in line


def test_widths_must_agree(folders, capsys):
    folders.put("rgb", folders.ids[1], np.ones((7, 5)))
    line = refused(folders, capsys)
    assert "'sec ond': rgb has 5 values per unit, '-first' 4; encode all videos with" in line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lengths", "stream 'lengths': a model's graph cannot call it so; rename the stream"),
        ("class", "stream 'class': a model's graph cannot"),
        ("RGB", "streams 'RGB' and 'rgb': a model's graph would call both 'rgb'; rename one"),
    ],
)
def test_streams_that_a_graph_cannot_take(folders, capsys, name, message):
    (folders.features / "flow").rename(folders.features / name)
    assert message in refused(folders, capsys)


def test_a_record_ends_at_two_gib(folders, capsys, monkeypatch):
    monkeypatch.setattr("cpmn_tf.data.schema.MAX_RECORD", 9 * (4 + 2) * 2 - 1)  # the last's bytes
    line = refused(folders, capsys)
    assert "video 'vierte Ü動画': its features take 108 bytes, over 2 GiB; cut the video" in line


def test_one_unit_labels_only_no_duration(folders, capsys):
    name = folders.ids[3]
    folders.database[name] = {"subset": "test", "fps": 10, "annotations": [{"label": "run"}]}
    folders.save(classes=["run", "jump", "never seen"])
    for stream, width in (("rgb", 4), ("flow", 2)):
        folders.put(stream, name, np.ones((1, width)))
    line = refused(folders, capsys, "--skip_missing")
    assert "class 'never seen' has no labelled video in the split 'training'" in line
    manifest = build(folders, "--allow_empty_classes")
    assert "class 'never seen' has no labelled video" in capsys.readouterr().out
    item = read(manifest, "test")[name]
    assert item["length"] == 1 and item["duration"] == 0.5  # 5 frames at 10 per second
    np.testing.assert_array_equal(item["labels"], [1, 0, 0])
    assert item["segments"].shape == (0, 2)
    assert load_annotations(folders.output / "annotations.json").videos[name].duration == 0.5


def test_a_training_split_needs_labels(folders, capsys):
    for name in folders.ids[:3]:
        folders.database[name]["annotations"] = []
    folders.save()
    line = refused(folders, capsys)
    assert "there is no labelled video in the split 'training', which is trained on" in line
    build(folders, "--allow_empty_classes")
    capsys.readouterr()
    for name in folders.ids[:2]:
        folders.database[name]["annotations"] = [{"label": "jump"}]
    folders.database[folders.ids[3]]["annotations"] = [{"label": "jump"}]
    folders.save()  # the only labelled videos have no features
    for name in folders.ids[:2]:
        folders.path("rgb", name).unlink()
    assert "'training'" in refused(folders, capsys, "--skip_missing", "--overwrite")


def test_labels_that_are_no_class(folders, capsys):
    items = folders.database[folders.ids[0]]["annotations"]
    items += [{"label": label, "segment": [1, 2]} for label in ("Background", "none", "Ambiguous")]
    folders.save()
    line = refused(folders, capsys)
    assert "'Background' stands for no action" in line and "add --drop_labels=Background" in line
    assert "'none' stands for" in refused(folders, capsys, "--drop_labels=Background")
    line = refused(folders, capsys, "--drop_labels=Backgrund")
    assert "--drop_labels=Backgrund: no such class; there are: Background, jump, none, run" in line
    manifest = build(folders, "--drop_labels=Background,none")
    assert manifest.classes == ("jump", "run")
    assert len(read(manifest, "training")[folders.ids[0]]["segments"]) == 1
    output = capsys.readouterr().out
    assert "annotations dropped, as --drop_labels says: 2" in output
    assert "labelled 'Ambiguous', so ambiguous intervals and no instances: 1" in output
    assert "3 of 6 annotations of the split 'training' have no segment" in output
    saved = load_annotations(folders.output / "annotations.json").videos[folders.ids[0]]
    assert saved.ambiguous == ((1.0, 2.0),) and saved.unsegmented == ("jump",)


def test_annotations_in_a_csv(folders):
    lines = ["id,start,end,label,split,fps,duration"]
    for name in folders.ids:
        quoted, subset = name.replace('"', '""'), folders.database[name]["subset"]
        lines.append(f'"{quoted}",0.5,1.0,run,{subset},10,3.5')
    path = folders.annotations.with_suffix(".csv")
    path.write_text("\n".join(lines), encoding="utf-8")
    manifest = build(folders, f"--annotations={path}")
    item = read(manifest, "test")[folders.ids[3]]
    assert item["segments"].tolist() == [[0.5, 1.0]] and item["duration"] == 3.5


def test_rates_may_differ(folders, capsys):
    folders.database[folders.ids[0]]["fps"] = 29.97
    folders.save()
    manifest = build(folders)
    assert manifest.rate is None
    rate = read(manifest, "training")[folders.ids[0]]["rate"]
    np.testing.assert_allclose(rate, 29.97 / 5)
    output = capsys.readouterr().out  # 6 units of 5 frames last 1.0 s of the 3.5 s
    assert "warning: 1 videos' units and durations disagree" in output


def test_holdout(folders, capsys):
    manifest = build(folders, "--holdout=(-|sec).*", "--holdout_to=held")
    assert set(read(manifest, "held")) == set(folders.ids[:2])
    assert set(read(manifest, "training")) == {folders.ids[2]}
    saved = load_annotations(folders.output / "annotations.json")
    assert set(saved.subset("held").videos) == set(folders.ids[:2])
    assert manifest.source["holdout"]["pattern"] == "(-|sec).*"
    capsys.readouterr()
    for pattern in ("first", ".*", "(sec", "vierte.*"):  # part, all, broken, of another subset
        refused(folders, capsys, f"--holdout={pattern}", "--overwrite")
    refused(folders, capsys, "--holdout=sec.*", "--holdout_to=test", "--overwrite")
    refused(folders, capsys, "--holdout=sec.*", "--holdout_from=none", "--overwrite")


def test_output_that_is_there(folders, capsys):
    folders.output.mkdir()
    before = build(folders).splits  # an empty folder is fine
    capsys.readouterr()
    assert "add --overwrite" in refused(folders, capsys)
    assert Manifest.load(folders.output).splits == before
    (folders.output / "manifest.json").unlink()
    assert "holds no data set" in refused(folders, capsys, "--overwrite")
    folders.output = folders.annotations
    assert "is not a folder" in refused(folders, capsys, "--overwrite")


def test_failed_overwrite_keeps_the_old(folders, capsys):
    before = build(folders).splits
    folders.path("rgb", folders.ids[2]).write_bytes(b"broken")
    capsys.readouterr()
    line = refused(folders, capsys, "--overwrite")
    assert str(folders.path("rgb", folders.ids[2])) in line
    assert Manifest.load(folders.output).splits == before


def test_interrupted_build_leaves_nothing(folders, monkeypatch, capsys):
    def interrupted(self, *given, videos=FoldersSource.videos):
        yield next(videos(self, *given))
        raise KeyboardInterrupt

    monkeypatch.setattr(FoldersSource, "videos", interrupted)
    before = sorted(path.name for path in folders.output.parent.iterdir())
    assert build_records.main(folders.flags()) == 130
    assert sorted(path.name for path in folders.output.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1", "not valid JSON"),
        ("[" * 100000, "nested too deeply"),
        ("[]", "not a JSON object"),
        ("{}", '"database"'),
        ('{"database": {"v": {"subset": "training", "annotations": [{}]}}}', "no label"),
        ('{"database": {"v": {"annotations": []}}}', "subset"),
        ('{"database": {}}', "annotated videos"),
        (
            '{"database": {"v": {"subset": "a"}, "v": {"subset": "b"}}}',
            "'v' is in one object 2 times",
        ),
    ],
)
def test_broken_annotations(folders, capsys, text, message):
    folders.annotations.write_text(text)
    line = refused(folders, capsys)
    assert message in line


@pytest.mark.parametrize(
    ("label", "subset"), [("a\nb", "training"), (" a", "training"), ("a", "../x"), ("a", "all")]
)
def test_names_that_cannot_be_kept(folders, capsys, label, subset):
    entry = {"subset": subset, "fps": 10, "annotations": [{"label": label}]}
    folders.database = {folders.ids[0]: entry}
    folders.save()
    assert "rename" in refused(folders, capsys)


def test_no_label_at_all(folders, capsys):
    for entry in folders.database.values():
        entry["annotations"] = []
    folders.save()
    assert "there is no class" in refused(folders, capsys)


def test_flags(folders, capsys):
    assert build_records.main(["--help"]) == 0
    assert "--features_dir" in capsys.readouterr().out
    for arguments in ([], ["--source=nothing", "--output_dir=x"], folders.flags("--shards=0")):
        assert build_records.main(arguments) == 2
    for name in ("features_dir", "annotations", "unit_frames"):
        left = [flag for flag in folders.flags() if not flag.startswith(f"--{name}=")]
        capsys.readouterr()
        assert build_records.main(left) == 1
        assert f"--{name} is missing" in capsys.readouterr().err


def test_records_are_not_written_for_videos_left_out(folders):
    folders.path("rgb", folders.ids[3]).unlink()
    manifest = build(folders, "--skip_missing")
    assert list(manifest.splits) == ["training"]
    database = json.loads((folders.output / "annotations.json").read_text())["database"]
    assert set(database) == set(folders.ids[:3])


def test_a_video_needs_a_unit():
    with pytest.raises(UserError, match="'v': has no unit"):
        checks.common_units("v", {"a": np.ones((0, 2))}, raise_errors)


def test_full_disk_is_one_line(folders, capsys, monkeypatch):
    def full(*args, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(building, "write_shards", full)
    assert f"{folders.output}: cannot be written (No space left" in refused(folders, capsys)


def test_float16_is_numpys():
    bits = np.random.default_rng(0).integers(1 << 32, size=100_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    for tried in (values, halves, (halves[1:] + halves[:-1]) / 2):  # ties among them
        with np.errstate(over="ignore"):
            expected = tried.astype(np.float16)
        np.testing.assert_array_equal(building.to_float16(tried), expected)


def test_float16_files_stay_so(folders):
    for name in folders.ids:
        values = np.load(folders.path("rgb", name)).astype(np.float16)
        folders.put("rgb", name, values)
    item = read(build(folders), "test")[folders.ids[3]]
    np.testing.assert_array_equal(item["features"]["rgb"], values)
    wide = read(build(folders, "--dtype=float32", "--overwrite"), "test")[folders.ids[3]]
    np.testing.assert_array_equal(wide["features"]["rgb"], values)


def test_commands_load_tensorflow_only_when_it_is_needed():
    """Help comes at once, and TensorFlow's notices can be kept from stderr when it loads."""
    names = ", ".join(
        f"tfrecords_tools.commands.{name}_records" for name in ("build", "validate", "inspect")
    )
    code = f"import sys, {names}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parts(folders, capsys):
    assert build_records.main(folders.flags("--shard=1/2", "--join")) == 2
    assert "--shard builds a part, --join joins all; give one" in capsys.readouterr().err
    assert build_records.main(folders.flags("--shard=1/2")) == 0
    assert capsys.readouterr().out == (
        f"part 1/2: 2 videos; it is in {folders.output}-parts/00001-of-00002; next, when all parts "
        "are there: the same flags with --join instead of --shard\n"
    )
    assert build_records.main(folders.flags("--join")) == 1
    line = capsys.readouterr().err
    assert "1 of 2 parts are missing: 2/2; make each with the same flags and --shard=2/2" in line
    assert build_records.main(folders.flags("--shard=2/2")) == 0
    assert build(folders, "--join").num_videos("training") == 3


@pytest.mark.parametrize(
    "flags, expected",
    [
        (["--cluster=local", "--parts=2", "--shard=1/2"], "--cluster builds all parts and joins"),
        (["--cluster=local", "--parts=2", "--join"], "--cluster builds all parts and joins them"),
        (["--cluster=local"], "give both --cluster and --parts, or neither"),
        (["--parts=2"], "give both --cluster and --parts, or neither"),
        (["--cluster=head:6379", "--parts=2", "--workers=2"], "--workers goes with --cluster=loc"),
    ],
)
def test_flags_of_a_cluster_that_do_not_go_together(folders, capsys, flags, expected):
    assert build_records.main(folders.flags(*flags)) == 2
    assert capsys.readouterr().err.startswith(f"cpmn-build-records: {expected}")


def test_a_cluster_is_told_what_the_flags_say(folders, capsys, monkeypatch):
    calls = []

    def started(**given):
        calls.append({name: given.pop(name) for name in ("parts", "address", "workers")})
        given.pop("report")("part 1/3: …")
        return building.build_records(**given)

    monkeypatch.setattr("tfrecords_tools.cluster.build_on_cluster", started)
    more = ["--parts=3", "--shards=2"]
    local = ["--cluster=local", "--workers=2"]
    assert len(build(folders, *more, *local).shards("training")) == 2
    assert capsys.readouterr().out.startswith("part 1/3: …\ntraining: 3 videos")
    build(folders, *more, "--cluster=head:6379", "--overwrite")
    assert calls == [
        {"parts": 3, "address": "", "workers": 2},
        {"parts": 3, "address": "head:6379", "workers": None},
    ]


def test_float16_limits():
    def losses(*values) -> tuple[str, str]:
        values = np.float32(values)
        return building.float16_losses(values, building.to_float16(values))

    # 65519 is rounded down to 65504, the largest float16; 65520 would be rounded up to infinity.
    assert losses(65519, -1) == ("", "")
    assert "65520 overflows" in losses(1, -65520)[0]
    # Half of 2^-24, the smallest float16, is rounded to zero (ties to even); a little more is not.
    assert losses(0, 2**-25 * 1.01, 1) == ("", "")
    assert losses(0, 2**-25, 1, -1e-9)[1].startswith("2 values (50 %)")
