"""W-TALC's object arrays: read by names that are known, whoever wrote them."""

import io
import pickle
import struct

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools.commands import build_records, validate_records
from tfrecords_tools.reading.object_arrays import read_objects
from tfrecords_tools.sources import SourceSettings
from tfrecords_tools.sources.wtalc import WtalcSource

NAMES = ["video_validation_1", "video_validation_2", "video_test_1"]


def objects(items) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def save(path, array, protocol=None):
    """Saves as NumPy does, or with another protocol of pickle."""
    if protocol is None:
        return np.save(path, array, allow_pickle=True)
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    pickle.dump(array, file, protocol=protocol)
    return path.write_bytes(file.getvalue())


class Data:
    def __init__(self, folder, protocol=None):
        self.features = folder / "Thumos14reduced-I3D-JOINTFeatures.npy"
        self.annotations = folder / "Thumos14reduced-Annotations"
        self.output = folder / "records"
        self.annotations.mkdir()
        rng = np.random.default_rng(0)
        self.values = [rng.normal(size=(n, 6)).astype(np.float32) for n in (5, 7, 9)]
        save(self.features, objects(self.values), protocol)
        self.put("videoname", np.array(NAMES, "S"))
        self.put("subset", np.array(["validation", "validation", "test"], "S"))
        self.put("classlist", np.array(["Jump", "Dive"], "S"))
        self.put("labels_all", objects([["Dive"], ["Jump", "Dive"], ["Jump"]]), protocol)
        self.put("labels", objects([["Dive"], [], ["Jump", "Jump"]]), protocol)
        segments = [[[0.5, 1.0]], [], [[1, 2], [3.25, 4.0]]]
        self.put("segments", objects(segments), protocol)
        self.put("duration", np.array([[3.2], [4.5], [5.8]]))

    def put(self, name, array, protocol=None):
        save(self.annotations / f"{name}.npy", array, protocol)

    def open(self, **more) -> WtalcSource:
        given = {"features_dir": self.features, "annotations": self.annotations, "fps": 25.0}
        return WtalcSource(SourceSettings(**{**given, "unit_frames": 16, **more}))

    def flags(self) -> list[str]:
        return [
            "--source=wtalc",
            f"--features_dir={self.features}",
            f"--annotations={self.annotations}",
            "--unit_frames=16",
            "--fps=25",
        ]


def read(source) -> dict:
    splits = {key: video.subset for key, video in source.annotations.videos.items()}
    return {video.id: video for video in source.videos(splits)}


@pytest.mark.parametrize("protocol", [None, 2, 3, 4])
def test_what_is_read(tmp_path, protocol):
    data = Data(tmp_path, protocol)
    source = data.open()
    assert source.annotations.classes == ("Jump", "Dive")
    last = source.annotations.videos[NAMES[2]]
    assert (last.subset, last.labels, last.duration) == ("test", ("Jump",), 5.8)
    assert [(item.start, item.end) for item in last.instances] == [(1.0, 2.0), (3.25, 4.0)]
    middle = source.annotations.videos[NAMES[1]]
    assert middle.labels == ("Jump", "Dive") and not middle.instances
    videos = read(source)
    for values, name in zip(data.values, NAMES, strict=True):
        assert videos[name].rate == 25 / 16
        np.testing.assert_array_equal(videos[name].features["rgb"], values[:, :3])
        np.testing.assert_array_equal(videos[name].features["flow"], values[:, 3:])
    assert read(data.open(split_at=4))[NAMES[0]].features["rgb"].shape == (5, 4)


def test_python_2_wrote_strings(tmp_path):
    """As Python 2 pickled: bytes by BINSTRING, text by SHORT_BINSTRING."""
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    raw = values.tobytes()
    inner = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02K\x03tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )
    outer = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK?tb\x89](" + inner + b"U\x04Jumpetb."
    )
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (2,)}
    np.lib.format.write_array_header_1_0(file, header)
    path = tmp_path / "old.npy"
    path.write_bytes(file.getvalue() + outer)
    expected = np.load(path, allow_pickle=True, encoding="bytes")  # it is what NumPy reads
    first, second = read_objects(path)
    np.testing.assert_array_equal(first, expected[0])
    assert bytes(second) == expected[1] == b"Jump"


def test_equal_lengths_make_a_plain_array(tmp_path):
    data = Data(tmp_path)
    values = np.arange(36, dtype=np.float32).reshape(3, 2, 6)
    np.save(data.features, values)
    data.put("labels_all", np.array([["Dive"], ["Jump"], ["Jump"]]))
    videos = read(data.open())
    np.testing.assert_array_equal(videos[NAMES[1]].features["flow"], values[1, :, 3:])
    assert data.open().annotations.videos[NAMES[0]].labels == ("Dive",)


def test_fps_may_be_in_the_files(tmp_path):
    data = Data(tmp_path)
    with pytest.raises(UserError, match=r"has no fps; give `fps`"):
        data.open(fps=None)
    data.put("extracted_fps", np.array([[25.0], [30.0], [10.0]]))
    assert [video.rate for video in read(data.open(fps=None)).values()] == [
        25 / 16,
        30 / 16,
        10 / 16,
    ]
    # `fps` is for videos whose files do not say; `resampled_fps` goes before them.
    source = data.open(fps=25.0)
    assert [video.rate * 16 for video in read(source).values()] == [25, 30, 10]
    assert source.notes == ["fps that is theirs, not the one given: 2 videos"]
    source = data.open(fps=None, resampled_fps=25.0)
    assert [video.rate * 16 for video in read(source).values()] == [25, 25, 25]
    assert source.notes == []
    table = tmp_path / "info.csv"
    table.write_text(f"video,fps\n{NAMES[1]},15\n")
    with pytest.raises(UserError, match=r"fps 15, the annotations say 30.0; correct one"):
        data.open(video_info=table)


def test_numbers_in_lists(tmp_path):
    """Durations as MATLAB's cells became: a number alone, in lists, or none."""
    data = Data(tmp_path)
    data.put("duration", objects([[[3.2]], 4.5, []]))
    data.put("segments", objects([[[0.5, 1.0]], [], [[1, 2], (3.25, np.float64(4.0))]]))
    videos = data.open().annotations.videos
    assert [videos[name].duration for name in NAMES] == [3.2, 4.5, None]
    data.put("duration", objects([["x"], 4.5, 5.8]))
    with pytest.raises(UserError, match=r"'video_validation_1': duration is 'x', not a number"):
        data.open()
    data.put("duration", objects([[3.2], 4.5, 5.8]))
    data.put("segments", objects([[[[0.5], 1.0]], [], [[1, 2], [3.25, 4.0]]]))
    with pytest.raises(UserError, match=r"the segment of 'Dive' is \[0.5\], not a number"):
        data.open()


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


class State:
    def __init__(self):
        self.x = 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "item", [Bomb(), State(), {"a": 1}, print, {1}, np.zeros(2, [("a", "f4")]), 1j]
)
def test_nothing_else_is_read(tmp_path, item, protocol):
    path = tmp_path / "x.npy"
    save(path, objects([item, np.zeros((2, 2), np.float32)]), protocol)
    with pytest.raises(UserError, match=r"nothing of it was run") as error:
        read_objects(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def pickled(code: bytes) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + code


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n)R"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"", "damaged or cut short"),
        (b".", "damaged"),
        (b"t.", "damaged"),
        (b"N.", "holds no array of objects"),
        (RECONSTRUCT + b".", "holds no array of objects"),
        (b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "asks for os.system"),
        (b"\x8c\x02os\x8c\x06system\x93)R.", "asks for os.system"),
        (b"T\xff\xff\xff\x7f", "damaged or cut short"),
        (b"\x8e" + b"\xff" * 8, "damaged or cut short"),
        (b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", "holds no array"),
        (b"h\x07.", "damaged"),
        (b"c" + b"x" * 300, "asks for xxx"),
        (b"NNR.", "damaged"),
        (b"NNb.", "holds no array of objects"),
        (b"}(NNu.", "holds an object of the type dict"),
        (b"P1\n.", "damaged"),
        (
            b"cnumpy\ndtype\nX\x01\x00\x00\x00V\x85R(K\x03X\x01\x00\x00\x00|NNNK\x08K\x01K\x00tb.",
            "holds an array of type 'V'",
        ),
        (b"cnumpy\ndtype\nX\x03\x00\x00\x00f99\x85R.", "holds an array of type 'f99'"),
        (b"cbuiltins\neval\nX\x02\x00\x00\x00ls\x85R.", "asks for builtins.eval"),
        (b"c__builtin__\neval\nX\x02\x00\x00\x00ls\x85R.", "asks for __builtin__.eval"),
        (b"cbuiltins\ngetattr\n.", "asks for builtins.getattr"),
        (b"(ios\nsystem\n.", "asks for os.system"),
        (b"cnumpy\nload\n.", "asks for numpy.load"),
        (b"\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", "asks for numpy.ndarray.__class__"),
        # Bytes of nothing that would come out as 2^60 of them, and an array of as many.
        (b"c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00zip\x86R.", "the encoding 'zip'"),
        (b"cnumpy\nndarray\n\x8a\x08" + bytes(7) + b"\x10\x85R.", "damaged"),
        (
            RECONSTRUCT + b"(K\x01\x8a\x08" + bytes(7) + b"\x10\x85cnumpy\ndtype\n"
            b"X\x01\x00\x00\x00O\x85R\x89]tb.",
            "data of another length",
        ),
    ],
)
def test_crafted_instructions(tmp_path, code, message):
    path = tmp_path / "x.npy"
    path.write_bytes(pickled(code))
    with pytest.raises(UserError, match=message) as error:
        read_objects(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


ARRAY_OF_THREE = (  # objects, which follow, and then "etb."
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    b"(K\x01(K\x03tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK?tb\x89]("
)


def laughs(levels: int) -> bytes:
    """A list of four times the list before it, and so on: a few hundred bytes, 4^levels lists."""
    code = b"]q\x01"
    for level in range(1, levels):
        code += b"0]" + b"q" + bytes([level + 1]) + b"(" + 4 * (b"h" + bytes([level])) + b"e"
    return code


@pytest.mark.parametrize(
    "item",
    [
        b"]q\x01h\x01a",  # a list that holds itself
        b"]" * 100000 + b"a" * 99999,
        laughs(8),  # 4^7 is not too many, and each is empty
        laughs(40),
    ],
    ids=["itself", "deep", "some", "laughs"],
)
@pytest.mark.parametrize("name", ["segments", "labels", "videoname"])
def test_lists_in_lists(tmp_path, capsys, item, name):
    data = Data(tmp_path)
    (data.annotations / f"{name}.npy").write_bytes(pickled(ARRAY_OF_THREE + item + b"N]etb."))
    assert build_records.main([*data.flags(), f"--output_dir={data.output}"]) == 1
    line = capsys.readouterr().err
    assert name in line or "segments" in line
    assert line.count("\n") == 1 and len(line) < 1000 and not data.output.exists()


def test_numbers_that_are_no_characters(tmp_path):
    data = Data(tmp_path)
    text = np.array(["validation", "validation", "test"])
    broken = np.array([0x110000, 1, 1], "<u4").tobytes()
    path = data.annotations / "subset.npy"
    for array in (text, objects([text, text, text]), objects([text[0], text[1], text[2]])):
        data.put("subset", array)
        whole = path.read_bytes()
        letters = "tes".encode("utf-32-le")
        assert letters in whole
        path.write_bytes(whole.replace(letters, broken))
        with pytest.raises(UserError, match=r"subset\.npy: holds what is no text"):
            data.open()


def test_text_of_no_length(tmp_path):
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        header = {"descr": "|S0", "fortran_order": False, "shape": (3,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UserError, match=r"x.npy: is not as long as its header says"):
        read_objects(path)


def test_every_cut_is_one_line(tmp_path):
    data = Data(tmp_path)
    whole = data.features.read_bytes()
    path = tmp_path / "cut.npy"
    for end in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"cut\.npy"):
            read_objects(path)
    rng = np.random.default_rng(0)
    for _ in range(300):  # flipped bytes: an error of ours, or other data, never anything else
        broken = bytearray(whole)
        broken[rng.integers(130, len(whole))] = rng.integers(256)
        path.write_bytes(broken)
        try:
            items = read_objects(path)
        except UserError:
            continue
        assert all(isinstance(item, np.ndarray) for item in items)


def test_defects_in_the_wild(tmp_path, capsys):
    data = Data(tmp_path)
    values = [array.copy() for array in data.values]
    values[1][0, 0] = np.nan
    save(data.features, objects(values))
    data.put("labels_all", objects([["Dive"], ["Fly"], ["Jump"]]))
    data.put("segments", objects([[[1.0, 0.5]], [], [[1, 2], [30.25, 40.0]]]))
    assert validate_records.main(data.flags()) == 1
    output = capsys.readouterr().out
    for text in ("holds nan", "'Fly' is not among", "ends before it starts", "at 30.25 to 40 s"):
        assert text in output
    assert build_records.main([*data.flags(), f"--output_dir={data.output}"]) == 1
    assert not data.output.exists()
    data.put("subset", np.array(["validation"], "S"))
    with pytest.raises(UserError, match=r"subset.npy: is about 1 videos, .* about 3"):
        data.open()
    (data.annotations / "subset.npy").unlink()
    with pytest.raises(UserError, match=r"subset.npy: there is no such file"):
        data.open()
    data.put("videoname", np.array(["a", "../../x", "a"], "S"))
    data.put("subset", np.array(["validation"] * 3, "S"))
    with pytest.raises(UserError, match=r"video 'a' is there twice"):
        data.open()


@pytest.mark.parametrize("shape", [(2**40,), (-1, -3), (2**40, 2**40)])
@pytest.mark.parametrize("kind", ["O", "f4"])
def test_shapes_that_no_data_have(tmp_path, shape, kind):
    """Three items, said to be of another shape: refused before memory is taken."""
    path = tmp_path / "x.npy"
    array = (np.ndarray, (0,), b"b")
    data = [1, 2, 3] if kind == "O" else bytes(12)

    class Wrong:
        def __reduce__(self):
            rebuild = np.zeros(1).__reduce__()[0]
            return rebuild, array, (1, shape, np.dtype(kind), False, data)

    path.write_bytes(pickled(pickle.dumps(Wrong(), protocol=2)))
    with pytest.raises(UserError, match=r"data of another length"):
        read_objects(path)


def test_build_leaves_nothing_of_a_malicious_file(tmp_path, capsys):
    data = Data(tmp_path)
    save(data.features, objects([Bomb(), Bomb(), Bomb()]))
    before = sorted(tmp_path.iterdir())
    assert build_records.main([*data.flags(), f"--output_dir={data.output}"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "nothing of it was run" in line
    assert sorted(tmp_path.iterdir()) == before
