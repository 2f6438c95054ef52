"""Feature files that are not what they seem, and those that only look odd."""

import json
import zipfile

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools.commands import build_records
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no number"),
        ("1,2\n3\n", "not a table of numbers"),
        ("1,2\n3,x\n", "not a table of numbers"),
        ("1,2\n3,nan\n", r"holds nan as float32 \(unit 1, value 1\)"),
        ("a,b\n", "holds no number"),
        ("1,1e99\n", "holds inf"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_broken_tables(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_features(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_broken_input_leaves_nothing_behind(folders, capsys):
    before = sorted(folders.output.parent.iterdir())
    victim = folders.path("rgb", folders.ids[1])
    victim.with_suffix(".npz").write_bytes(b"PK")
    arguments = [*folders.flags(), "--skip_missing"]
    assert build_records.main(arguments) == 1
    assert "has two files" in capsys.readouterr().err
    victim.unlink()
    assert build_records.main(arguments) == 1
    assert "is not an .npz archive" in capsys.readouterr().err
    folders.database["../../x"] = folders.database[folders.ids[0]]
    folders.annotations.write_text(json.dumps({"database": folders.database}))
    assert build_records.main(arguments) == 1
    line = capsys.readouterr().err
    assert "'../../x'" in line and line.count("\n") == 1
    assert sorted(folders.output.parent.iterdir()) == before


def test_tables_with_pandas_headers(tmp_path):
    """`to_csv(index=False)` names columns 0, 1, 2, ...; with an index the first has no name."""
    path = tmp_path / "x.csv"
    rows = "4,5,6,7\n8,9,10,11\n"
    for text in ("0,1,2,3\n" + rows, '"0","1","2","3"\n' + rows, "\ufeff" + rows):
        path.write_text(text.replace("\n", "\r\n"), encoding="utf-8")
        np.testing.assert_array_equal(load_features(path), np.arange(4.0, 12).reshape(2, 4))
    path.write_text("0,1\n4,5\n")  # too few columns to tell: a unit like others
    assert load_features(path).shape == (2, 2)
    path.write_text(",0,1,2,3\n0,4,5,6,7\n")
    with pytest.raises(UserError, match=r"x.csv: its first column has no name .* index=False"):
        load_features(path)


def test_an_empty_table_is_one_line(folders, capfd):
    folders.path("rgb", folders.ids[0]).with_suffix(".csv").write_text("")
    folders.path("rgb", folders.ids[0]).unlink()
    assert build_records.main(folders.flags()) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if "loadtxt" in line]
    assert not lines


def test_archives_of_many_arrays(folders):
    folders.clear()
    for name in folders.ids:
        np.savez(folders.features / f"{name}.npz", rgb=VALUES, flow=VALUES)
    many = folders.features / f"{folders.ids[3]}.npz"
    np.savez(many, **{f"m{number}": VALUES for number in range(90)})
    with pytest.raises(UserError, match=r"holds m0, m1, .*, \.\.\. instead of flow, rgb"):
        folders.read(folders.opened())


def test_what_is_no_file(folders, tmp_path):
    path = folders.path("rgb", folders.ids[0])
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"-first.npy: cannot be read \(Is a directory\)"):
        folders.read(folders.opened())
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(UserError, match=r"-first.npy: cannot be read"):
        folders.read(folders.opened())
    path.unlink()
    elsewhere = tmp_path / "elsewhere.npy"  # links to features kept elsewhere are fine
    np.save(elsewhere, VALUES)
    path.symlink_to(elsewhere)
    np.testing.assert_array_equal(load_features(path), VALUES)


def test_types_and_orders_of_arrays(folders):
    """Whatever NumPy type and order features were saved in, the values are the same."""
    values = np.arange(28, dtype=np.float64).reshape(7, 4)
    for kind in ("f8", ">f8", ">f4", ">f2", "f2", "i4", ">i2", "u1", "g"):
        for order in ("C", "F"):
            folders.put("rgb", folders.ids[1], np.array(values, kind, order=order))
            found = load_features(folders.path("rgb", folders.ids[1]))
            assert found.dtype in (np.float16, np.float32) and found.flags.c_contiguous
            np.testing.assert_array_equal(found, values)
    folders.put("rgb", folders.ids[1], values[:0])
    with pytest.raises(UserError, match=r"sec ond.npy: has the shape \[0, 4\] and so no value"):
        folders.read(folders.opened())
    folders.put("rgb", folders.ids[1], values[None])
    with pytest.raises(UserError, match=r"shape \[1, 7, 4\]; it must be .* \[units, values\]"):
        folders.read(folders.opened())
