"""Features in folders: both layouts, and every way of being wrong has its one line."""

import json

import numpy as np
import pytest

from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from tfrecords_tools.commands import build_records
from tfrecords_tools.reading.feature_files import load_features
from tfrecords_tools.sources.folders import FoldersSource


def opened(folders, **options) -> FoldersSource:
    return folders.opened(**options)


def read(source) -> dict:
    splits = {video.id: video.subset for video in source.annotations.videos.values()}
    return {video.id: video for video in source.videos(splits)}


def test_streams_and_rates(folders):
    videos = read(opened(folders))
    assert tuple(videos) == folders.ids
    for name, video in videos.items():
        assert video.rate == 2.0  # 10 frames per second, 5 per unit
        assert list(video.features) == ["flow", "rgb"]
        saved = np.load(folders.path("rgb", name)).astype(np.float32)
        np.testing.assert_array_equal(video.features["rgb"], saved)
        assert video.features["flow"].dtype == np.float32


def test_layout_by_subset_gives_the_same(folders):
    flat = read(opened(folders))
    for name in folders.ids:
        for stream in ("rgb", "flow"):
            subset = folders.database[name]["subset"]
            target = folders.features / subset / stream / f"{name}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.path(stream, name).rename(target)
    for stream in ("rgb", "flow"):
        (folders.features / stream).rmdir()
    (folders.features / "unused" / "rgb").mkdir(parents=True)  # of no subset
    nested = read(opened(folders))
    for name, video in flat.items():
        for stream, values in video.features.items():
            np.testing.assert_array_equal(nested[name].features[stream], values)
    (folders.features / "test" / "flow").rename(folders.features / "test" / "depth")
    with pytest.raises(UserError, match="make them the same"):
        opened(folders)


def test_one_stream_and_labels_alone_are_enough(folders):
    for name in folders.ids:
        folders.path("flow", name).unlink()
        folders.database[name]["annotations"] = [{"label": "run"}]
        del folders.database[name]["fps"], folders.database[name]["duration"]
    (folders.features / "flow").rmdir()
    folders.save()
    source = opened(folders, fps=25.0)
    assert all(list(video.features) == ["rgb"] for video in read(source).values())
    assert all(video.fps == 25.0 for video in source.annotations.videos.values())
    with pytest.raises(UserError, match=r"'-first' has no fps; .*`fps`"):
        opened(folders)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "float64", ">f4", "bool"])
def test_numbers_of_any_type_are_cast(tmp_path, dtype):
    path = tmp_path / "x.npy"
    np.save(path, np.asfortranarray(np.array([[0, 1], [1, 3]]).astype(dtype)))
    values = load_features(path)
    assert values.dtype == (np.float16 if dtype == "float16" else np.float32)  # as it is stored
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, np.load(path).astype(np.float32))


class Bomb:
    """Would run code when unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def broken_files():
    yield "an object", np.array([[Bomb()]], object), r"array of object"
    yield "strings", np.array([["a", "b"]]), r"array of <U1"
    yield "records", np.zeros((2, 2), [("a", "f4")]), r"is an array of"
    yield "complex", np.zeros((2, 2), complex), r"array of complex128"
    yield "a vector", np.zeros(3), r"shape \[3\]; it must be numbers of shape \[units, values\]"
    yield "three axes", np.zeros((1, 2, 3)), r"shape \[1, 2, 3\]"
    yield "no unit", np.zeros((0, 3)), r"shape \[0, 3\]"
    yield "NaN", np.array([[0, 1], [2, np.nan]]), r"holds nan as float32 \(unit 1, value 1\)"
    yield "infinity", np.array([[-np.inf]]), r"holds -inf"
    yield "over float32", np.array([[1e300]]), r"holds inf as float32"


@pytest.mark.parametrize(("name", "values", "message"), list(broken_files()))
def test_arrays_that_are_no_features(tmp_path, name, values, message):
    path = tmp_path / "x.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(UserError, match=message) as error:
        load_features(path)
    assert str(error.value).startswith(str(path))


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    body = text.encode("latin1") + b"\n"
    size = len(body).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + body


def describing(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a NumPy array file"),
        (b"\x93NUMPY", "not a NumPy array file"),
        (b"PK\x03\x04 a zip archive", "not a NumPy array file"),
        (b"some text", "not a NumPy array file"),
        (header(describing("(4, 2)"))[:-9], "not a NumPy array file"),
        (header(describing("(4, 2)"), (3, 0)) + bytes(32), "format version"),
        (header(describing("(4, 2)")) + bytes(31), "not as long as its header says"),
        (header(describing("(4, 2)")) + bytes(33), "not as long as its header says"),
        (header(describing(f"({2**40}, 1024)")), "not as long as its header says"),
        (header(describing(f"({2**62}, 4)")), "not as long as its header says"),
        (header(describing("(-4, -2)")) + bytes(32), "must be numbers"),
        (header(describing("(4, 2)", "'<f999999999999'")), "not a NumPy array file"),
        (header("(" * 900), "not a NumPy array file"),
        (header("[" * 9000 + "]" * 9000, (2, 0)), "not a NumPy array file"),
    ],
)
def test_files_that_are_no_arrays(tmp_path, data, message):
    path = tmp_path / "x.npy"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        load_features(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_features_are_counted_and_named(folders):
    folders.path("flow", folders.ids[0]).unlink()
    for stream in ("flow", "rgb"):
        folders.path(stream, folders.ids[2]).unlink()
    message = r"2 of 4 annotated videos have no features: '-first' \(flow\), .*r.*\(flow, rgb\)"
    with pytest.raises(UserError, match=message + "; add `skip_missing=True`"):
        opened(folders)
    source = opened(folders, skip_missing=True)
    assert set(read(source)) == {folders.ids[1], folders.ids[3]}
    assert source.notes[0].startswith("left out: 2 of 4")
    # The first video's rgb is there still, but without its annotation it is not used.
    del folders.database[folders.ids[0]]
    folders.save()
    notes = opened(folders, skip_missing=True).notes
    assert notes[1] == "features without annotations, not used: 1 videos"


def test_no_features_at_all(folders):
    folders.database = {"other": folders.database[folders.ids[0]]}
    folders.save()
    with pytest.raises(UserError, match="1 of 1 annotated videos"):
        opened(folders, skip_missing=True)


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "a\\b", "a\0b", ""])
def test_ids_that_lead_elsewhere(folders, name):
    folders.database[name] = folders.database[folders.ids[0]]
    folders.annotations.write_text(json.dumps({"database": folders.database}))
    with pytest.raises(UserError, match="cannot name a file") as error:
        opened(folders)
    assert str(folders.annotations) in str(error.value)


@pytest.mark.parametrize("name", ["rate", "dtype", "a stream"])
def test_stream_names(folders, name):
    (folders.features / name).mkdir()
    with pytest.raises(UserError, match="rename"):
        opened(folders)


def test_folders_that_hold_no_stream(folders, tmp_path):
    (folders.features / "rgb" / "deeper").mkdir()
    with pytest.raises(UserError, match="'rgb' holds folders and 'flow' does not"):
        opened(folders)
    folders.features = tmp_path / "nowhere"
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        opened(folders)
    folders.features.mkdir()
    with pytest.raises(UserError, match="holds no folder of a stream"):
        opened(folders)
    (folders.features / "video.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"video.npy: which columns .* give `split_at`"):
        opened(folders)


MADE = {"streams": {"rgb": {"name": "x"}}, "unit_frames": 5, "fps": None, "flow": None, "crops": 1}


def test_how_features_were_made_is_kept(folders):
    """`encoder.json` beside the features' folder, as cpmn-encode leaves it."""
    assert opened(folders).facts == {"source": "folders", "unit_frames": 5}
    (folders.features.parent / "encoder.json").write_text(json.dumps(MADE))
    assert opened(folders).facts == {"source": "folders", "unit_frames": 5, "encoder": MADE}
    assert build_records.main(folders.flags()) == 0
    assert Manifest.load(folders.output).source["encoder"] == MADE


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"unit_frames": 16}, "are of units of 16 frames; give `unit_frames=16`"),
        ({"streams": 3}, "does not say how features were made; encode the videos anew"),
    ],
)
def test_features_that_were_made_otherwise(folders, capsys, change, expected):
    path = folders.features.parent / "encoder.json"
    path.write_text(json.dumps({**MADE, **change}))
    with pytest.raises(UserError) as error:
        opened(folders)
    assert str(error.value).startswith(f"{path}: ") and expected in str(error.value)
    assert build_records.main(folders.flags()) == 1
    assert expected.replace("`unit_frames=16`", "--unit_frames=16") in capsys.readouterr().err
    assert not folders.output.exists()
