"""Files are written whole or not at all, and what cannot be read is named."""

import errno
import fcntl
import hashlib
import subprocess
import sys

import pytest
import tensorflow as tf

from cpmn_tf.errors import Defect, UserError
from cpmn_tf.files import (
    alone_in,
    file_sha256,
    file_size,
    is_file,
    read_json,
    read_own_json,
    replaced,
    write_json,
)


def test_a_file_is_replaced_only_when_the_block_succeeds(tmp_path):
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"ä": 1})
    assert read_json(path) == {"ä": 1}
    with pytest.raises(RuntimeError), replaced(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"ä": 1}
    assert list(path.parent.iterdir()) == [path]  # nothing is left beside it


def test_what_is_no_number_in_json_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "value.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"\xff", "is not UTF-8"),
        (b"{", "is not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": 1, "a": 2, "b": 3}', "the key 'a' is in one object 2 times"),
        (rb'{"a \ud83d\ude00": "\ude00"}', r"holds half a surrogate pair, in '.*\\ude00'"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, content, told):
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_half_a_surrogate_pair_is_replaced_where_reading_goes_on(tmp_path):
    path = tmp_path / "value.json"
    path.write_text(r'{"\ud83d\ude00 \\ud800": "a\ud800"}')
    told = []
    assert read_json(path, problem=lambda *about: told.append(about[0])) == {"😀 \\ud800": "a?"}
    assert told == ["annotation"]


@pytest.mark.parametrize(
    "text", ["[NaN]", "[1e400]", "[" * 100 + "1" + "]" * 100, "[" * 500 + "]" * 500]
)
def test_what_we_did_not_write_is_not_ours(tmp_path, text):
    path = tmp_path / "value.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"value\.json: is damaged"):
        read_own_json(path)


def test_an_error_is_one_line_whatever_it_quotes():
    assert str(UserError("a.csv: no column 'x' among a\u2028b, c\r\nd")) == (
        "a.csv: no column 'x' among a b, c d"
    )
    assert str(Defect("form", "two\nlines")) == "two lines"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "value.json").write_bytes(b"\xef\xbb\xbf1")
    assert read_json(tmp_path / "value.json") == 1


def test_a_folder_is_had_by_one_process(tmp_path):
    program = f"""
from cpmn_tf.errors import UserError
from cpmn_tf.files import alone_in
try:
    with alone_in({str(tmp_path)!r}):
        print("had")
except UserError as error:
    print(error)
"""

    def another() -> str:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()

    with alone_in(tmp_path):
        assert another() == (
            f"{tmp_path}: another process is writing here; wait until it ends, or stop it"
        )
    assert another() == "had"


def test_without_locks_it_is_said(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with alone_in(tmp_path):
        pass
    assert f"{tmp_path}: its file system has no locks (No locks available)" in caplog.text


def test_files_of_other_file_systems_are_read(tmp_path):
    """``ram://`` is TensorFlow's own, within a process."""
    content = b'\xef\xbb\xbf{"a": 1}'
    (tmp_path / "there.json").write_bytes(content)
    tf.io.gfile.makedirs("ram://files")
    tf.io.gfile.copy(str(tmp_path / "there.json"), "ram://files/there.json")
    there = "ram://files/there.json"
    assert read_json(there) == {"a": 1}
    assert file_size(there) == len(content)
    assert file_sha256(there) == hashlib.sha256(content).hexdigest()
    assert is_file(there) and not is_file("ram://files") and not is_file("ram://files/none")
    with pytest.raises(UserError, match=r"ram://files/none\.json: cannot be read"):
        read_json("ram://files/none.json")


def test_what_no_file_system_opens_is_named():
    with pytest.raises(UserError, match=r"moon://a/b\.json: TensorFlow opens no paths of moon://"):
        is_file("moon://a/b.json")


def test_nothing_is_written_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (replaced, alone_in):
        with (
            pytest.raises(UserError, match="gs://bucket/model: only records"),
            write("gs://bucket/model"),
        ):
            pass
    assert not list(tmp_path.iterdir())
