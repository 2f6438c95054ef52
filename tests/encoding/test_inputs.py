"""Which videos a folder, a list and names stand for."""

import pytest

from cpmn_tf.encoding.inputs import find_videos
from cpmn_tf.errors import UserError


def test_files_folders_and_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("b, c.MP4", "-a.mkv", "Plongée.webm", "notes.doc", "._b, c.MP4", "b, c.srt"):
        (tmp_path / "folder" / name).touch()
    (tmp_path / "list.txt").write_text("x y.avi\n\nfolder/deep.dat\n")
    found = find_videos(["folder", tmp_path / "list.txt", "more.bin"])
    assert list(found) == ["-a", "Plongée", "b, c", "x y", "deep", "more"]
    assert str(found["deep"]) == "folder/deep.dat"


def test_one_file_named_twice_is_one_video(tmp_path):
    assert list(find_videos([tmp_path / "a.mp4", tmp_path / "a.mp4"])) == ["a"]


@pytest.mark.parametrize(
    "names, expected",
    [
        (["a.mp4", "a.avi"], "a.avi: has the same name as a.mp4; rename one"),
        (["Plonge\u0301e.mp4", "Plong\u00e9e.mp4"], "has the same name as"),
        ([" a.mp4"], "blanks around its name; rename the file"),
        (["..mp4"], "this id cannot name a file"),
    ],
)
def test_names_that_are_refused(names, expected):
    with pytest.raises(UserError) as error:
        find_videos(names)
    assert expected in str(error.value)


def test_nothing_to_encode(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    for path in (tmp_path, tmp_path / "list.txt"):
        if path == tmp_path:
            (tmp_path / "a.doc").touch()
        with pytest.raises(UserError) as error:
            find_videos([path])
        assert str(error.value).startswith(f"{path}: holds no videos")
