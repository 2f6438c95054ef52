"""`cpmn-plot`: files by recording, safe names, one-line errors."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpmn_tf.commands import plot

ODD_IDS = [
    "-x",
    "--ids=video",
    ".hidden",
    "a b",
    'it\'s "q"',
    "50%",
    "a%20b",
    "日本",
    "a,b",
    "~",
    "x" * 400,
]


def run(data_dir, model_dir, out, *arguments: str) -> int:
    flags = [f"--data_dir={data_dir}", f"--model_dir={model_dir}", f"--output_dir={out}"]
    return plot.main([*flags, *arguments])


@given(st.lists(st.text(min_size=1), unique=True, max_size=5))
def test_file_names_are_safe_and_distinct(ids):
    ids = [video_id.encode(errors="replace").decode() for video_id in ids]
    names = [plot.file_name(video_id, "png") for video_id in ids]
    assert len(set(names)) == len(set(ids))
    for name in names:
        assert name.isascii() and name.isprintable() and len(name) <= 128
        assert not set(name) & set("/\\ '\"*?<>|:$&;") and name[0] not in "-."


def test_file_names_of_long_and_look_alike_ids_differ():
    ids = [*ODD_IDS, "x" * 401, "%2Dx", "a%2520b", "x" * 103 + "~0123456789abcdef"]
    assert len({plot.file_name(video_id, "png") for video_id in ids}) == len(ids)
    assert plot.file_name("video_test_0000045", "svg") == "video_test_0000045.svg"


def test_draws_the_first_recordings_of_the_test_split(data_set, model_dir, tmp_path, capsys):
    out = tmp_path / "new" / "pictures"
    assert run(data_set, model_dir, out, "--count=2") == 0
    assert sorted(path.name for path in out.iterdir()) == ["video_010.png", "video_011.png"]
    printed = capsys.readouterr().out.splitlines()
    assert printed == [str(out / "video_010.png"), str(out / "video_011.png")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())


def test_ids_split_format_and_settings(data_set, model_dir, tmp_path):
    chosen = ["--split=training", "--ids=video_003", "--ids=video_001", "--ids=video_003"]
    settings = ["--set=localization.top_k=1", "--set=localization.attention=false"]
    assert run(data_set, model_dir, tmp_path, *chosen, "--format=svg", *settings) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["video_001.svg", "video_003.svg"]


def test_ids_of_odd_characters(model_dir, dataset_writer, tmp_path):
    write, make = dataset_writer
    videos = make(3, lengths=(30, 40))
    for video, name in zip(videos, ["-x, 'y'", "50% 日本", "z" * 300], strict=True):
        video["id"] = name
    data = write(tmp_path / "data", {"testing": videos})
    assert run(data, model_dir, tmp_path / "all", "--count=0") == 0
    assert len(list((tmp_path / "all").iterdir())) == 3
    assert run(data, model_dir, tmp_path / "one", "--ids=-x, 'y'") == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["%2Dx%2C%20%27y%27.png"]


def test_unknown_id_is_named(data_set, model_dir, tmp_path, capsys):
    assert run(data_set, model_dir, tmp_path / "out", "--ids=video_0100") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--ids=video_0100" in error and "'video_010'" in error and "annotations.json" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--split=validation"], 1, "testing"),
        (["--set=cascade.filters=3"], 1, "cascade.filters"),
        (["--set=localization.top_k=none"], 1, "top_k"),
        (["--format=gif"], 2, "format"),
        (["--count=-1"], 2, "count"),
        (["video_010"], 2, "video_010"),
    ],
)
def test_wrong_flags(data_set, model_dir, tmp_path, capsys, arguments, code, words):
    assert run(data_set, model_dir, tmp_path, *arguments) == code
    assert words in capsys.readouterr().err


def test_missing_folders(data_set, model_dir, tmp_path, capsys):
    assert run(tmp_path / "none", model_dir, tmp_path / "out") == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert run(data_set, tmp_path / "none", tmp_path / "out") == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert plot.main([f"--data_dir={data_set}", f"--model_dir={model_dir}"]) != 0
    assert "--output_dir" in capsys.readouterr().err


def test_output_that_cannot_be_a_folder(data_set, model_dir, tmp_path, capsys):
    taken = pathlib.Path(tmp_path / "taken")
    taken.write_text("a file")
    assert run(data_set, model_dir, taken, "--count=1") == 1
    assert str(taken) in capsys.readouterr().err


def test_help_shows_every_flag(capsys):
    assert plot.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ("data_dir", "model_dir", "output_dir", "split", "ids", "count", "set", "format"):
        assert f"--{name}" in text
