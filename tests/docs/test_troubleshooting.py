"""The page of error messages covers every module that raises one, and says what to do."""

import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MODULES = [
    path
    for package in ("cpmn_tf", "tfrecords_tools", "experiments")
    for path in sorted((ROOT / package).rglob("*.py"))
]


@pytest.fixture(scope="module")
def messages():
    pytest.importorskip("docutils")
    spec = importlib.util.spec_from_file_location("messages", ROOT / "docs" / "messages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables(messages):
    found = re.findall(r"^```\{messages\} (.*?)$(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [messages.parse_directive(*table) for table in found]


def test_every_module_with_messages_is_in_one_table(messages, tables):
    listed = [path for paths, _ in tables for path in paths]
    raising = [
        path
        for path in MODULES
        if re.search(r"^\s+raise UserError\(f?\"", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(raising) > 20
    assert not [path for path in raising if not messages.messages_of(path)]
    for path in MODULES:
        if messages.messages_of(path):
            assert listed.count(path) == 1, path


def test_every_message_has_something_to_do(messages, tables):
    rows = [
        (path, *messages.split_message(text, hints))
        for paths, hints in tables
        for path in paths
        for text in messages.messages_of(path)
    ]
    assert len(rows) > 200
    assert not [(str(path), wrong) for path, wrong, what_to_do in rows if not what_to_do]


def test_every_hint_is_of_a_message(messages, tables):
    for paths, hints in tables:
        texts = [text for path in paths for text in messages.messages_of(path)]
        for fragment in hints:
            assert any(fragment in text for text in texts), fragment


def test_gaps_and_parts(messages, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "def f(a):\n"
        '    raise UserError(f"{a}: is {b!r}; " "fix it")\n'
        '    text = f"{a}: has no "\n'
        '    problem("label", text + what)\n'
        '    problem("width", text)\n'
        '    print("not an error")\n'
    )
    assert messages.messages_of(path) == ["…: is …; fix it", "…: has no "]
    assert messages.split_message("…: is …; fix it", {}) == ("…: is …", "fix it")
    assert messages.split_message("…: has …", {"has": "drop it"}) == ("…: has …", "drop it")
    assert messages.split_message("…: has …", {}) == ("…: has …", "")
