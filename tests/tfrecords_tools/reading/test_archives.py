"""Archives that are not what they seem."""

import zipfile

import h5py
import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools.reading.archives import Archive
from tfrecords_tools.reading.feature_files import load_features

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def broken_archives(path):
    alone = path.with_suffix(".npy")
    np.save(alone, VALUES)
    np.savez(path, VALUES)
    whole = path.read_bytes()
    yield whole[: len(whole) // 2], "not an .npz archive"
    yield b"", "not an .npz archive"
    yield whole.replace(VALUES.tobytes(), bytes(VALUES.nbytes)), "is damaged"
    np.savez(path, VALUES, VALUES)
    yield path.read_bytes(), "holds 2 arrays"
    np.savez(path, np.array([[{}]], object))
    yield path.read_bytes(), "Object arrays cannot be loaded"
    np.savez(path)
    yield path.read_bytes(), "holds no array"
    yield alone.read_bytes(), "not an .npz archive"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../x.txt", "no array")
    yield path.read_bytes(), "is no array"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x84\x03" + b"(" * 900)
    yield path.read_bytes(), "is damaged"


def test_broken_archives(tmp_path):
    path = tmp_path / "x.npz"
    for data, message in list(broken_archives(path)):
        path.write_bytes(data)
        with pytest.raises(UserError, match=message) as error:
            load_features(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_arrays_are_read_by_name(tmp_path):
    np.savez(tmp_path / "x.npz", **{"b/rgb": VALUES, "a": VALUES[:2]})
    with Archive(tmp_path / "x.npz") as archive:
        assert archive.names == ["a", "b/rgb"]
        np.testing.assert_array_equal(archive.read("b/rgb"), VALUES)


def test_an_array_that_was_never_written_takes_no_memory(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (2**28, 18), "f4", chunks=(1, 18))  # 18 GiB of zeros
    with pytest.raises(UserError, match=r"x\.h5: 'a' was never written; save it anew"):
        load_features(tmp_path / "x.h5")
