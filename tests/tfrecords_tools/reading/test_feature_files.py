"""Feature files that are not what they seem, and those that only look odd."""

import json

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from tfrecords_tools.commands import build_records, validate_records
from tfrecords_tools.reading.feature_files import (
    Reading,
    crop_axis,
    load_features,
    units_of,
    without_ones,
)

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no number"),
        ("1,2\n3\n", "not a table of numbers"),
        ("1,2\n3,x\n", "not a table of numbers"),
        ("5,2\n3,nan\n", r"holds nan as float32 \(unit 1, value 1\)"),
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


def table(tmp_path, text, csv_header=None):
    """What is read of a CSV file, and what its first line was taken for."""
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8", newline="")
    reading = Reading(csv_header=csv_header)
    values = load_features(path, reading)
    return values.tolist(), reading.notes()


@pytest.mark.parametrize(
    "header",
    [
        "0,1,2",  # pandas: to_csv(index=False) of an array
        "1,2,3",  # R and MATLAB count from 1
        "1024,1025,1026",  # the second half of a wider frame's columns
        "0.0,1.0,2.0",  # a frame whose names became floats
        '"0","1","2"',
        "\n0,1,2",  # below an empty line
        "# 0,1,2",  # np.savetxt(header=...)
        "\ufefff0,f1,f2",
        "info,nan_mean,1x",  # text that begins as numbers do
    ],
)
def test_names_of_columns_are_no_unit(tmp_path, header):
    """With the names among them, all units would be one later than they are."""
    values, (note,) = table(tmp_path, f"{header}\r\n0.5,5,6\r\n7,8,9\r\n")
    assert values == [[0.5, 5, 6], [7, 8, 9]]
    assert note.endswith("names of columns: 1")


@pytest.mark.parametrize("first", ["0.5,1,2", "0,1,3", "2,1,0", "0e0,1e0,2e0", "0,-1,-2", "7,8,10"])
def test_a_unit_is_no_names_of_columns(tmp_path, first):
    """Taken for names, the first unit would be lost, and all others one earlier."""
    values, notes = table(tmp_path, f"{first}\n0.5,5,6\n")
    assert values == [[float(field) for field in first.split(",")], [0.5, 5, 6]]
    assert notes == ["first lines of CSV files: other numbers, a unit: 1"]
    assert table(tmp_path, "5,6\n.5,.5\n")[0] == [[5, 6], [0.5, 0.5]]  # nobody counts from 5


@pytest.mark.parametrize("text", ["0,1\n.5,.25\n", "1\n.5\n", "0,1,2\n4,5,6\n", "0,1,2\n"])
def test_what_may_be_both_is_asked_for(tmp_path, text):
    with pytest.raises(UserError, match=r"x.csv: .* or a unit \([012,]+\); say `csv_header=yes`"):
        table(tmp_path, text)
    lines = [[float(field) for field in line.split(",")] for line in text.split()]
    assert table(tmp_path, text, "no")[0] == lines
    if lines[1:]:
        values, notes = table(tmp_path, text, "yes")
        assert values == lines[1:]
        assert notes == ["first lines of CSV files: numbers in a row, names of columns: 1"]


def test_headers_as_said(tmp_path):
    assert table(tmp_path, "0.25,0.5\n1,2\n", "yes")[0] == [[1, 2]]
    for text in ("0.5,,2\n3,4,5\n", "mean,0.5\n3,4\n"):  # a damaged unit, or names?
        with pytest.raises(
            UserError, match=r"text and numbers .*; mend it, or say `csv_header=yes`"
        ):
            table(tmp_path, text)
    assert table(tmp_path, "mean,0.5\n3,4\n", "yes")[0] == [[3, 4]]
    with pytest.raises(UserError, match=r"holds text; leave out `csv_header=no`"):
        table(tmp_path, "a,b\n3,4\n", "no")


def test_row_numbers_are_no_feature(tmp_path):
    with pytest.raises(UserError, match=r"x.csv: its first column has no name .* index=False"):
        table(tmp_path, ",0,1,2,3\n0,4,5,6,7\n")
    for text in ("frame,a\n0,.5\n1,.5\n2,.5\n", "1,.5\n2,.5\n3,.5\n"):
        with pytest.raises(UserError, match=r"first column counts the lines; .* index=False"):
            table(tmp_path, text)
    assert table(tmp_path, "0,.5\n1,.5\n3,.5\n")[0] == [[0, 0.5], [1, 0.5], [3, 0.5]]


@pytest.mark.parametrize("mark", [",", ", ", ";", " ; ", "\t", " ", "   "])
def test_separators(tmp_path, mark):
    lines = (("f0", "f1", "f2"), ("0.5", "5", "-6"), ("7", "8", "9e1"))
    values, _ = table(tmp_path, "\n".join(mark.join(line) for line in lines))
    assert values == [[0.5, 5, -6], [7, 8, 90]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,5;1,5\n2,5;3,5\n", "commas within its numbers; write 0.5 and not 0,5"),
        ("a\tb\n0,5\t1\n", "commas within its numbers"),
        ("0.5|1\n", r"has '\|' between its numbers; write commas"),
        ("a:b\n1 : 2\n", "has ':' between its numbers"),
        ("a,b\n3\n4\n", "names 2 columns and has 1"),
    ],
)
def test_separators_that_are_not_read(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text)


def test_the_decision_on_headers_is_told_once(folders, capsys):
    for number, name in enumerate(folders.ids):
        path = folders.path("rgb", name)
        text = (
            ("a,b,c\n", "0,1,2\n", "1,2,3\n", "")[number]
            + f"{number}.5,5,6\n" * 5
            + "7,8,9\n" * (1 + number)
        )
        path.with_suffix(".csv").write_text(text)
        path.unlink()
    assert build_records.main([*folders.flags(), "--dtype=auto"]) == 0
    told = "first lines of CSV files: numbers in a row, names of columns: 2; other numbers, "
    told += "a unit: 1; text, names of columns: 1\n"
    assert told in capsys.readouterr().out
    assert validate_records.main(folders.flags()[:3]) == 0
    output = capsys.readouterr().out
    assert (
        f"note: how files were read: 1 (see that it is so)\n    {folders.features}: {told}"
        in output
    )
    path.with_suffix(".csv").write_text("1;2\n3;4\n" + "5;6\n" * 7)
    assert validate_records.main(folders.flags()[:3]) == 1
    output = capsys.readouterr().out  # and no word of encoding anew
    assert (
        "error: features that can be read in two ways, or in none: 1 (do what the line names)"
        in output
    )
    assert "say --csv_header=yes or --csv_header=no" in output


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


def read(folders, **options):
    """Features by (id, stream), and what is told of them."""
    source = folders.opened(**options)
    folders.read(source)  # as a build does that has to start over: it counts once
    videos = folders.read(source)
    found = {
        (key, name): values
        for key, video in videos.items()
        for name, values in video.features.items()
    }
    return found, source.notes


@pytest.mark.parametrize(
    "axes", [(0,), (1,), (2,), (1, 3, 4), (0, 3, 4), (0, 1, 2)], ids=lambda axes: f"ones at {axes}"
)
def test_axes_of_length_one(folders, axes):
    """[1, T, G], [T, 1, G], [T, G, 1], [T, 1, G, 1, 1], [1, T, G, 1, 1] and [1, 1, 1, T, G]."""
    expected, _ = read(folders)
    for (key, stream), values in expected.items():
        folders.put(stream, key, np.expand_dims(values, axes))
    with pytest.raises(UserError, match=r"-first.npy: .* \[units, values\]: add `squeeze=True`"):
        read(folders)
    found, notes = read(folders, squeeze=True)
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
    assert notes == ["arrays: axes of length 1 dropped: 8"]


def test_squeezing_leaves_what_may_be_two_things(tmp_path):
    """One unit is [1, G] and stays so; [1, T, 1] may be T units of one value, or one of T."""
    assert without_ones((1, 1, 4), 2) == (1, 4)
    assert without_ones((1, 7, 1), 2) is without_ones((1, 1, 4, 1), 2) is None
    assert without_ones((7, 2, 4), 2) is None
    path = tmp_path / "x.npy"
    np.save(path, VALUES[:1])
    assert load_features(path, Reading(squeeze=True)).shape == (1, 3)
    np.save(path, VALUES[:1, :, None])
    with pytest.raises(
        UserError, match=r"shape \[1, 3, 1\]; it must be of shape \[units, values\]$"
    ):
        load_features(path, Reading(squeeze=True))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("crops", [3, 5, 10])
def test_crops_are_averaged(folders, axis, crops):
    """The videos have 6, 7, 8 and 9 units; the mean of v - c, ..., v, ..., v + c is v."""
    expected, _ = read(folders)
    spread = np.arange(crops) - (crops - 1) / 2
    for (key, stream), values in expected.items():
        folders.put(stream, key, np.moveaxis(values[None] + spread[:, None, None], 0, axis))
    with pytest.raises(UserError, match=r"\[units, values\]: add `crops=mean`$"):
        read(folders)
    found, notes = read(folders, crops="mean")
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-5)
    assert notes == [f"arrays: mean of {crops} crops taken: 8"]


def test_ten_units_of_ten_crops(folders):
    """Which axis is which, other videos tell; where none does, nothing is guessed."""
    first = folders.ids[0]
    crops = np.arange(10.0)[:, None, None]  # 0, ..., 9: their mean is 4.5
    units = np.arange(10.0)[:, None] * 100
    for key in folders.ids:
        for stream in ("rgb", "flow"):
            length = 10 if key == first else 7
            folders.put(stream, key, (crops + units[:length]) * np.ones(2))
    found, _ = read(folders, crops="mean")
    np.testing.assert_array_equal(found[first, "rgb"], (units + 4.5) * np.ones(2))
    for key in folders.ids:
        for stream in ("rgb", "flow"):
            folders.put(stream, key, (crops + units) * np.ones(2))
    with pytest.raises(UserError, match=r"\[10, 10, 2\] counts crops others do not tell; average"):
        read(folders, crops="mean")


def test_crops_where_others_have_none(folders):
    for key in folders.ids:
        for stream in ("rgb", "flow"):
            folders.put(stream, key, np.ones((7, 10, 2)))
    folders.put("rgb", folders.ids[3], np.ones((10, 7, 2)))
    with pytest.raises(UserError, match=r"\[7, 10, 2\] counts crops others do not tell"):
        read(folders, crops="mean")
    with pytest.raises(UserError, match=r"\[10, 7, 2\] has no 10 crops on axis 1, where others"):
        units_of("x", np.ones((10, 7, 2)), Reading(crops="mean"), (1, 10))


def test_both_flags_and_the_axis_of_crops():
    values = np.arange(2 * 10 * 3.0).reshape(1, 2, 10, 3, 1)
    reading = Reading(squeeze=True, crops="mean")
    found = units_of("x", values, reading, (1, 10))
    # Value 0 of unit 0 is 0, 3, ..., 27 in the ten crops: 13.5 in the mean; unit 1 begins at 30.
    np.testing.assert_array_equal(found, [[13.5, 14.5, 15.5], [43.5, 44.5, 45.5]])
    with pytest.raises(UserError, match=r": add `crops=mean` and `squeeze=True`"):
        units_of("x", values, Reading())
    assert crop_axis([(10, 10, 4), (10, 5, 4)]) == (0, 10)
    assert crop_axis([(5, 10, 4), (7, 10, 4)]) == (1, 10)
    assert crop_axis([(5, 10, 4)]) is crop_axis([(7, 12, 4)]) is crop_axis([]) is None
    assert crop_axis([(100, 10, 4), (100, 5, 4)]) is None  # of 100 units each, not 100 crops


def test_crops_in_archives_of_streams(folders):
    expected, _ = read(folders)
    folders.clear()
    for key in folders.ids:
        both = {stream: expected[key, stream] for stream in ("rgb", "flow")}
        spread = np.array([-1, 0, 1, 2, -2])[None, :, None]
        np.savez(
            folders.features / f"{key}.npz", **{k: v[:, None] + spread for k, v in both.items()}
        )
    found, notes = read(folders, crops="mean")
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-6)
    assert notes == ["arrays: mean of 5 crops taken: 8"]
