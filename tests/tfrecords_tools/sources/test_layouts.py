"""Other people's layouts of feature folders, and what lies about in them."""

import unicodedata

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools.commands import build_records, validate_records
from tfrecords_tools.findings import Findings
from tfrecords_tools.reading.feature_files import load_features

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_npz_and_csv_give_the_same_as_npy(tmp_path):
    np.savez(tmp_path / "a.npz", VALUES)
    np.savez_compressed(tmp_path / "b.npz", features=np.asfortranarray(VALUES.astype(np.float64)))
    np.savetxt(tmp_path / "c.csv", VALUES, delimiter=",")
    lines = "\n".join(",".join(map(str, row)) for row in VALUES)
    (tmp_path / "d.csv").write_text("f0,f1,f2\n" + lines)  # BSN's header, no newline at the end
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(load_features(path), VALUES)


def test_joint_files_are_split(folders):
    expected = folders.read(folders.opened())
    folders.clear()
    for name in folders.ids:
        flow, rgb = (expected[name].features[stream] for stream in ("flow", "rgb"))
        np.save(folders.features / f"{name}.npy", np.concatenate([rgb, flow], axis=1))
    videos = folders.read(folders.opened(split_at=4))
    for name, video in videos.items():
        assert list(video.features) == ["rgb", "flow"]
        for stream, values in video.features.items():
            np.testing.assert_array_equal(values, expected[name].features[stream])
    with pytest.raises(UserError, match=r"holds 6 values per unit; `split_at=6` leaves nothing"):
        folders.read(folders.opened(split_at=6))
    with pytest.raises(UserError, match="give `split_at`"):
        folders.opened()


def test_joint_npz_by_subset_names_its_streams(folders):
    expected = folders.read(folders.opened())
    folders.clear()
    for name in folders.ids:
        target = folders.features / folders.database[name]["subset"] / f"{name}.npz"
        target.parent.mkdir(exist_ok=True)
        np.savez(target, **expected[name].features)
    videos = folders.read(folders.opened())
    assert list(videos) == list(expected)
    assert list(videos[folders.ids[0]].features) == ["flow", "rgb"]
    np.savez(folders.features / "test" / f"{folders.ids[3]}.npz", depth=VALUES)
    with pytest.raises(UserError, match=r"holds .* instead of (depth|flow, rgb)"):
        folders.read(folders.opened())


def test_basnet_layout(folders):
    """features/{train,test}/{rgb,flow}, gt.json: strings, no fps, no duration, `validation`."""
    expected = folders.read(folders.opened())
    for name in folders.ids:
        entry = folders.database[name]
        entry["subset"] = {"training": "validation"}.get(entry["subset"], entry["subset"])
        entry["annotations"] = [{"label": "run", "segment": ["0.5", "1.0"]}]
        del entry["fps"], entry["duration"]
        for stream in ("rgb", "flow"):
            part = "test" if entry["subset"] == "test" else "train"
            target = folders.features / part / stream / f"{name}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.path(stream, name).rename(target)
    for stream in ("rgb", "flow"):
        (folders.features / stream).rmdir()
    folders.save()
    source = folders.opened(fps=25.0)
    assert [video.subset for video in source.annotations.videos.values()] == [
        *(["validation"] * 3),
        "test",
    ]
    for name, video in folders.read(source).items():
        assert video.rate == 5.0
        np.testing.assert_array_equal(video.features["rgb"], expected[name].features["rgb"])
    # The same video in both folders: found by its subset's name, or refused.
    twice = folders.features / "spare" / "rgb" / f"{folders.ids[0]}.npy"
    for stream in ("rgb", "flow"):
        (folders.features / "spare" / stream).mkdir(parents=True)
    np.save(twice, VALUES)
    with pytest.raises(UserError, match="'-first' is in spare and in train"):
        folders.opened(fps=25.0)


def test_labels_only(folders, tmp_path):
    table = tmp_path / "labels.csv"
    rows = [f'"{name.replace(chr(34), chr(34) * 2)}",run|jump\n' for name in folders.ids[:3]]
    table.write_text("".join(rows) + f'"{folders.ids[3]}",\n')
    source = folders.opened(annotations=table, fps=10.0)
    videos = source.annotations.videos
    assert {video.subset for video in videos.values()} == {"training"}
    assert videos[folders.ids[0]].labels == ("run", "jump") and not videos[folders.ids[3]].labels
    assert not any(video.instances for video in videos.values())
    table.write_text("id,fps,split,labels\n-first,30,test,run\n")
    video = folders.opened(annotations=table).annotations.videos["-first"]
    assert (video.fps, video.subset, video.labels) == (30.0, "test", ("run",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("-first,run\n-first,jump\n", r"line 2: a second line of the video '-first'"),
        ("-first,run,more\n", r"line 1: has 3 fields instead of 2"),
        ("video,class\n-first,run\n", "has no column 'labels'"),
        ("../../x,run\n", r"video '../../x': this id cannot name a file"),
        ('-first,"run\n', r"is not CSV"),
        ("-first,run\nb,run\n", r"'b' \(flow, rgb\)"),
    ],
)
def test_broken_tables_of_labels(folders, tmp_path, text, message):
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        folders.opened(annotations=table, fps=10.0)
    assert "\n" not in str(error.value)


def test_video_info_fills_in(folders, tmp_path):
    for name in folders.ids:
        del folders.database[name]["fps"]
    folders.database[folders.ids[0]]["fps"] = 20.4  # as much as that is rounding
    del folders.database[folders.ids[1]]["duration"]
    folders.save()
    table = tmp_path / "info.csv"
    lines = [
        f'"{name.replace(chr(34), chr(34) * 2)}",4,20,{subset}\n'
        for name, subset in zip(folders.ids, ("train", "training", "", "Testing"), strict=True)
    ]
    table.write_text("video,seconds,fps,subset\n" + "".join(lines))
    videos = folders.opened(video_info=table).annotations.videos
    assert [video.fps for video in videos.values()] == [20.4, 20, 20, 20]
    assert [video.duration for video in videos.values()] == [3.5, 4, 3.5, 3.5]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("fps,25", "fps 25, the annotations say 10"),
        ("duration,7.0", "duration 7.0, the annotations say 3.5"),
        ("subset,test", "subset test, the annotations say training"),
        ("fps,10.6", "fps 10.6, the annotations say 10"),
        ("seconds,4.1", "duration 4.1, the annotations say 3.5"),
    ],
)
def test_video_info_that_contradicts_is_refused(folders, tmp_path, capsys, said, message):
    """Building stops at it, and validation lists it, in the same words."""
    table = tmp_path / "info.csv"
    column, value = said.split(",")
    table.write_text(f"video,{column}\n-first,{value}\n")
    flags = folders.flags(f"--video_info={table}")
    line = f"{table}: video '-first': {message}; correct one of them"
    assert build_records.main(flags) == 1
    assert line in capsys.readouterr().err
    assert validate_records.main([flag for flag in flags if "output_dir" not in flag]) == 1
    shown = capsys.readouterr().out
    assert "error: files that contradict each other: 1 (correct one of them)" in shown
    assert line in shown


@pytest.mark.parametrize("name", ["frame", "num_frames", "nframes", "duration_frame"])
def test_fps_of_frames_and_duration(folders, name):
    """105, 84, 105 and 50 frames in 3.5 s; the last says its own fps, which they fit."""
    for key, frames in zip(folders.ids, (105, "84", 105, 36), strict=True):
        del folders.database[key]["fps"]
        folders.database[key][name] = frames
    folders.database[folders.ids[3]]["fps"] = 10
    folders.save()
    findings = Findings()
    source = folders.opened(findings.add)
    assert [video.fps for video in source.annotations.videos.values()] == [30, 24, 30, 10]
    assert [video.rate for video in folders.read(source).values()] == [6, 24 / 5, 6, 2]
    assert source.notes == ["fps derived from frames and duration: 3 videos"]
    assert findings.found.keys() == {"derived"} and len(findings.found["derived"]) == 3


def test_frames_and_duration_against_fps(folders):
    folders.database[folders.ids[0]]["frames"] = 105
    folders.save()
    message = r"'-first': 105 frames in 3.5 s are 30 per second, not 10; correct one of them"
    with pytest.raises(UserError, match=message):
        folders.opened()
    folders.opened(resampled_fps=25.0)  # whatever the videos' own
    del folders.database[folders.ids[0]]["fps"]
    folders.save()
    with pytest.raises(UserError, match="30 per second, not 25"):
        folders.opened(fps=25.0)


def test_fps_given_is_for_videos_without(folders):
    del folders.database[folders.ids[0]]["fps"]
    folders.save()
    findings = Findings()
    source = folders.opened(findings.add, fps=25.0)
    assert [video.fps for video in source.annotations.videos.values()] == [25, 10, 10, 10]
    assert source.notes == ["fps that is theirs, not the one given: 3 videos"]
    assert findings.found["kept"][0] == (
        "sec ond",
        "video 'sec ond': its own fps is 10, not 25; if it was brought to another before encoding, "
        "give `resampled_fps`",
    )


def test_video_info_in_another_form_of_unicode(folders, tmp_path):
    """`vierte Ü動画` as macOS writes it; blanks alone are an error that shows both."""
    name, table = folders.ids[3], tmp_path / "info.csv"
    del folders.database[name]["fps"]
    folders.save()
    table.write_text("video,fps\n" + unicodedata.normalize("NFD", name) + ",20\n", "utf-8")
    assert folders.opened(video_info=table).annotations.videos[name].fps == 20
    folders.database[f" {name}"] = folders.database.pop(name)
    folders.save()
    with pytest.raises(UserError, match=r"info.csv: the ids .* differ by blanks alone") as error:
        folders.opened(video_info=table)
    assert repr(f" {name}") in str(error.value)


def test_videos_resampled_before_encoding(folders):
    """I3D at 25 frames per second of videos whose annotations say their own 10."""
    source = folders.opened(resampled_fps=25.0)
    assert {video.rate for video in folders.read(source).values()} == {5.0}
    assert {video.fps for video in source.annotations.videos.values()} == {10.0}


def test_what_systems_leave_in_folders(folders):
    expected = folders.read(folders.opened())
    for stream in ("rgb", "flow"):
        for name in folders.ids:
            folders.path(stream, f"._{name}").write_bytes(b"\0\5\x16\7")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folders.features / stream / name).write_bytes(b"x")
        for junk in ("__MACOSX", "@eaDir", ".git"):
            (folders.features / junk / stream).mkdir(parents=True)
            (folders.features / junk / stream / "x.npy").write_bytes(b"x")
    findings = Findings()
    source = folders.opened(findings.add)
    assert not findings.found and list(folders.read(source)) == list(expected)


def test_files_of_other_types_are_named(folders, capsys):
    for name in folders.ids[:2]:
        folders.path("rgb", name).rename(folders.path("rgb", name).with_suffix(".pt"))
    assert build_records.main(folders.flags()) == 1
    error = capsys.readouterr().err
    assert "'-first' (rgb; only -first.pt, which is not read)" in error
    assert "add --skip_missing" in error
    for name in folders.ids[2:]:
        folders.path("rgb", name).unlink()
    assert build_records.main(folders.flags()) == 1
    error = capsys.readouterr().err  # leaving out every video would be no fix
    assert "4 of 4 annotated videos" in error and "check --features_dir" in error
