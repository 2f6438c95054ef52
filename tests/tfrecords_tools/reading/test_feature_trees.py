"""Layouts beside STREAM/ID.npy: side by side, by video, and one file of all videos."""

import unicodedata

import h5py
import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools.commands import validate_records
from tfrecords_tools.findings import Findings
from tfrecords_tools.reading.feature_trees import scan, split_name

STREAMS = ("flow", "rgb")


def arrays(folders) -> dict[tuple[str, str], np.ndarray]:
    """What the plain layout holds, by (id, stream); its files are gone afterwards."""
    videos = folders.read(folders.opened())
    folders.clear()
    return {(key, name): videos[key].features[name] for key in folders.ids for name in STREAMS}


def arrays_kept(folders) -> dict[tuple[str, str], np.ndarray]:
    """The same, and the files are still there."""
    return {
        (key, stream): np.load(folders.path(stream, key)).astype(np.float32)
        for key in folders.ids
        for stream in STREAMS
    }


def same(folders, expected, **options) -> list[str]:
    """Holds what is read against the arrays; returns the notes."""
    source = folders.opened(**options)
    videos = folders.read(source)
    assert list(videos) == list(folders.ids)
    for (key, stream), values in expected.items():
        np.testing.assert_array_equal(videos[key].features[stream], values)
    assert {len(video.features) for video in videos.values()} == {2}
    return source.notes


def rename(folders, *names):
    """Gives the first videos other ids, before anything is written for them."""
    old = folders.ids
    folders.ids = (*names, *old[len(names) :])
    folders.database = dict(zip(folders.ids, folders.database.values(), strict=True))
    folders.save()
    for stream in STREAMS:
        for before, after in zip(old, folders.ids, strict=True):
            folders.path(stream, before).rename(folders.path(stream, after))


def write_npz(path, members):
    np.savez(path, **members)


def write_h5(path, members):
    with h5py.File(path, "w") as file:
        for name, values in members.items():
            file[name] = values


def test_streams_side_by_side(folders):
    """ID_rgb.npy and ID_flow.npy, and what else video_features writes with them."""
    expected = arrays(folders)
    for (key, stream), values in expected.items():
        np.save(folders.features / f"{key}_{stream}.npy", values)
    assert same(folders, expected) == []
    np.save(folders.features / "-first_timestamps_ms.npy", np.arange(3.0))
    (note,) = same(folders, expected)
    assert note == (
        "not read: 1 feature files which end in neither _rgb nor _flow: -first_timestamps_ms.npy"
    )
    findings = Findings()
    folders.opened(findings.add)
    assert findings.found.keys() == {"surplus"}
    (folders.features / "logs").mkdir()
    assert same(folders, expected) == [note]


def test_streams_side_by_side_in_folders(folders):
    """SUBSET/ID_rgb.npy, i3d/ID_rgb.npy, and STREAM/ID_STREAM.npy."""
    expected = arrays(folders)
    layouts = ("{subset}/{key}_{stream}", "i3d/{key}_{stream}", "{stream}/{key}_{stream}")
    for number, layout in enumerate(layouts):
        folders.features = folders.features.with_name(f"features{number}")
        for (key, stream), values in expected.items():
            subset = folders.database[key]["subset"]
            name = layout.format(subset=subset, key=key, stream=stream)
            (folders.features / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(folders.features / f"{name}.npy", values)
        assert same(folders, expected) == []


def test_ids_that_end_in_a_streams_name(folders):
    rename(folders, "a", "a_rgb", "b_flow")
    expected = arrays(folders)
    for (key, stream), values in expected.items():  # a_rgb.npy is a's, a_rgb_rgb.npy a_rgb's
        np.save(folders.features / f"{key}_{stream}.npy", values)
    same(folders, expected)
    for path in list(folders.features.iterdir()):
        path.unlink()
    for key in folders.ids:  # here a_rgb.npz is all of a_rgb
        np.savez(folders.features / f"{key}.npz", **{s: expected[key, s] for s in STREAMS})
    same(folders, expected)


def test_ids_that_are_a_streams_name(folders):
    """A video called rgb makes no folder per video of rgb/ID.npy."""
    rename(folders, "rgb")
    same(folders, arrays_kept(folders))


def test_mixed_layouts_are_refused(folders):
    expected = arrays(folders)
    first = folders.ids[0]
    for (key, stream), values in expected.items():
        if key != first:
            np.save(folders.features / f"{key}_{stream}.npy", values)
    np.savez(folders.features / f"{first}.npz", **{s: expected[first, s] for s in STREAMS})
    with pytest.raises(UserError, match=r"flow.npy: is one stream of a video, -first.npz is not"):
        folders.opened()
    (folders.features / f"{first}.npz").unlink()
    folders.put("rgb", first, expected[first, "rgb"])
    with pytest.raises(UserError, match=r"is one stream of a video, rgb is not; keep to one"):
        folders.opened()


def test_files_beside_the_folders_are_told(folders):
    np.save(folders.features / "mean.npy", np.ones((2, 2)))
    assert folders.opened().notes == [
        "not read: 1 feature files beside the folders flow, rgb: mean.npy"
    ]


@pytest.mark.parametrize("prefix", ["", "{key}_"])
def test_a_folder_per_video(folders, prefix):
    expected = arrays(folders)
    for (key, stream), values in expected.items():
        folder = folders.features / key
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{prefix.format(key=key)}{stream}.npy", values)
        np.save(folder / "fps.npy", np.float64(25))
    notes = same(folders, expected)
    assert notes[0].startswith("not read: 4 feature files of fewer than two axes: -first/fps.npy, ")


@pytest.mark.parametrize("suffix", [".NPY", ".Npz", ".CSV", ".H5", ".hdf5"])
def test_suffixes_in_any_case(folders, suffix):
    expected = arrays(folders)
    for (key, stream), values in expected.items():
        folder = folders.features / stream
        folder.mkdir(exist_ok=True)
        path = folder / f"{key}{suffix}"
        if suffix == ".CSV":
            np.savetxt(path, values, fmt="%.9g", delimiter=",")
        elif suffix in (".H5", ".hdf5"):
            write_h5(path, {"features": values})
        else:
            with path.open("wb") as file:
                np.savez(file, values) if suffix == ".Npz" else np.save(file, values)
    same(folders, expected)
    folders.put("rgb", folders.ids[0], np.ones((2, 2)))
    with pytest.raises(UserError, match=r"video '-first' has two files \(.*-first.npy"):
        folders.opened()


@pytest.mark.parametrize("write", [write_npz, write_h5])
@pytest.mark.parametrize("layout", ["{key}/{stream}", "{stream}/{key}", "{key}_{stream}"])
def test_one_file_of_all_videos(folders, write, layout):
    """Given by its name, or alone in the features' folder."""
    expected = arrays(folders)
    suffix = {write_npz: ".npz", write_h5: ".h5"}[write]
    path = folders.features / f"i3d{suffix}"
    write(path, {layout.format(key=k, stream=s): values for (k, s), values in expected.items()})
    assert same(folders, expected) == []
    folders.features = path
    assert same(folders, expected) == []


@pytest.mark.parametrize("layout", ["{subset}/{stream}/{key}", "{subset}/{key}/{stream}"])
def test_one_file_of_all_subsets(folders, layout):
    expected = arrays(folders)
    folders.features /= "i3d.h5"
    subsets = {key: folders.database[key]["subset"] for key in folders.ids}
    write_h5(
        folders.features,
        {
            layout.format(subset=subsets[key], key=key, stream=stream): values
            for (key, stream), values in expected.items()
        },
    )
    assert same(folders, expected) == []


@pytest.mark.parametrize("write", [write_npz, write_h5])
def test_one_file_per_stream(folders, write):
    expected = arrays(folders)
    for stream in STREAMS:
        path = folders.features / f"{stream}.{write.__name__.removeprefix('write_')}"
        write(path, {key: expected[key, stream] for key in folders.ids})
    same(folders, expected)
    folders.features = path  # one of them alone
    source = folders.opened()
    assert {tuple(video.features) for video in folders.read(source).values()} == {("rgb",)}


def test_one_file_with_both_streams_in_an_array(folders):
    expected = arrays(folders)
    joint = {
        key: np.concatenate([expected[key, s] for s in ("rgb", "flow")], 1) for key in folders.ids
    }
    write_h5(folders.features / "joint.h5", joint)
    folders.features /= "joint.h5"
    same(folders, expected, split_at=4)


def test_what_else_is_in_one_file(folders):
    """Numbers per video are told and not read; a video that the annotations lack is surplus."""
    expected = arrays(folders)
    members = {f"{key}/{stream}": values for (key, stream), values in expected.items()}
    members |= {f"{key}/fps": np.float64(25) for key in folders.ids}
    members["other/rgb"] = np.ones((3, 4))
    write_h5(folders.features / "all.h5", members)
    notes = same(folders, expected)
    assert notes[0].startswith(
        "not read: 4 feature files of fewer than two axes: all.h5: -first/fps"
    )
    assert notes[1] == "features without annotations, not used: 1 videos"


def test_broken_files_of_all_videos(folders, capsys):
    expected = arrays(folders)
    path = folders.features / "rgb.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UserError, match=r"rgb.h5: is not an HDF5 file") as error:
        folders.opened()
    assert "\n" not in str(error.value)
    write_h5(
        path,
        {key: "text" if key == folders.ids[0] else values for (key, _), values in expected.items()},
    )
    assert validate_records.main(folders.flags()[:3]) == 1
    assert "rgb.h5: holds '-first', which is no array; remove it" in capsys.readouterr().out
    path.unlink()
    path = path.with_suffix(".npz")
    np.savez(path, **{key: np.array([{}], object) for key in folders.ids}, allow_pickle=True)
    with pytest.raises(UserError, match="Object arrays cannot be loaded"):
        folders.read(folders.opened())
    path.unlink()
    write_h5(path.with_suffix(".h5"), {key: [["a"]] for key in folders.ids})
    with pytest.raises(UserError, match=r"rgb.h5: -first: is an array of object"):
        folders.read(folders.opened())
    path.with_suffix(".h5").unlink()
    np.savez(path, **{key: expected[key, "rgb"] for key in folders.ids[1:]})
    with pytest.raises(UserError, match=r"video '-first' has no rgb"):
        folders.opened()


def test_an_archive_of_one_video_is_no_folder(folders):
    """Joint .npz files by stream, one of them of a video that is not annotated."""
    expected = arrays(folders)
    for key in folders.ids:
        np.savez(folders.features / f"{key}.npz", **{s: expected[key, s] for s in STREAMS})
    np.savez(folders.features / "other.npz", rgb=np.ones((2, 4)), flow=np.ones((2, 2)))
    assert same(folders, expected) == ["features without annotations, not used: 1 videos"]
    assert not scan(folders.features, set(folders.ids)).folders
    (folders.features / "logs").mkdir()  # holds no feature, and so is no stream
    same(folders, expected)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_names_in_either_form_of_unicode(folders, stored):
    """macOS writes Ü as U and two dots; the id stays as the annotations have it."""
    expected = arrays(folders)
    for (key, stream), values in expected.items():
        folders.put(stream, unicodedata.normalize(stored, key), values)
    for form in ("NFC", "NFD"):
        folders.ids = tuple(unicodedata.normalize(form, key) for key in folders.ids)
        folders.database = dict(zip(folders.ids, folders.database.values(), strict=True))
        folders.save()
        found = {(unicodedata.normalize(form, k), s): values for (k, s), values in expected.items()}
        assert same(folders, found) == []


@pytest.mark.parametrize("name", ["-First", "-FIRST", "-first ", " -first"])
def test_ids_that_are_nearly_the_name_of_a_file(folders, name):
    folders.path("rgb", folders.ids[0]).rename(folders.path("rgb", name))
    with pytest.raises(UserError) as error:
        folders.opened()
    assert f"(rgb; there is '{name}.npy'; ids are compared with case and blanks)" in str(
        error.value
    )


def test_ids_with_and_without_youtubes_prefix(folders, tmp_path):
    first = folders.ids[0]
    folders.path("rgb", first).rename(folders.path("rgb", f"v_{first}"))
    with pytest.raises(UserError, match=r"\(rgb; there is 'v_-first.npy'; call it so in both\)"):
        folders.opened()
    folders.path("rgb", f"v_{first}").rename(folders.path("rgb", first))
    folders.features = tmp_path / "c3d.h5"
    with h5py.File(folders.features, "w") as file:  # as ActivityNet's own features are named
        file[f"v_{first}/c3d_features"] = np.ones((4, 2))
    with pytest.raises(UserError, match=r"; there is 'v_-first'; call it so in both"):
        folders.opened()


def test_ids_may_differ_by_case_alone(folders):
    rename(folders, "dQw", "dqw", "DQW")
    same(folders, arrays_kept(folders))


def test_names_of_streams():
    assert split_name("a_b_rgb") == [("a_b", "rgb")]
    assert split_name("_rgb") == split_name("a_fps") == split_name("rgb") == []
