"""Version folders: which is served, what a failing one leaves, when the old one is let go of."""

import gc
import os
import pathlib
import shutil
import threading
import weakref

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.serving.protocol import Refusal
from cpmn_tf.serving.versions import GRAPH_FILE, Versions, VersionState


class Model:
    """What a folder's graph file says."""

    def __init__(self, folder: pathlib.Path):
        self.text = (folder / GRAPH_FILE).read_text()
        if self.text == "broken":
            raise UserError(f"{folder}: cannot be loaded (see {folder}/variables); export it anew")
        if self.text == "worse":
            raise RuntimeError(f"/usr/lib/op.so: not found for {folder.resolve()}\nmore")


def check(model: Model) -> None:
    if model.text == "wrong":
        raise ZeroDivisionError


def write(base: pathlib.Path, version: str | int, text: str = "fine") -> pathlib.Path:
    folder = base / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH_FILE).write_text(text)
    return folder


def serving(versions: Versions) -> int:
    with versions.get() as loaded:
        return loaded.version


def states(versions: Versions) -> list[tuple[int, str]]:
    return [(state.version, state.state) for state in versions.states]


@pytest.fixture
def versions(tmp_path) -> Versions[Model]:
    """Version 1 of ``tmp_path`` / "base" serves."""
    write(tmp_path / "base", 1)
    versions = Versions(tmp_path / "base", Model, check)
    versions.poll()
    return versions


def test_the_newest_is_served_and_older_ones_are_not_loaded(tmp_path):
    for name in (1, 2, 10, ".writing-3", "11.part", "٣", "12a", "-4", str(2**63)):
        write(tmp_path, name)
    (tmp_path / "12").mkdir()  # as a copy begins
    (tmp_path / "13").touch()
    lines: list[str] = []
    versions = Versions(tmp_path, Model, check, lines.append)
    assert versions.states == []
    with (
        pytest.raises(Refusal, match="no version of the model is loaded") as caught,
        versions.get(),
    ):
        pass
    assert caught.value.code == "UNAVAILABLE"
    versions.poll()
    assert serving(versions) == 10 and versions.states == [VersionState(10, "AVAILABLE")]
    assert lines == [f"{tmp_path / '10'}: version 10 is served"]


def test_a_newer_one_is_swapped_in_once(tmp_path, versions):
    versions.poll()
    with versions.get() as first, versions.get() as second:
        assert first is second and first.users == 2
    write(tmp_path / "base", 2)
    versions.poll()
    versions.poll()
    assert serving(versions) == 2 and states(versions) == [(2, "AVAILABLE"), (1, "END")]


def test_what_is_loaded_is_read_once(tmp_path, versions):
    write(tmp_path / "base", 1, "broken")
    versions.poll()
    assert serving(versions) == 1


def test_only_the_version_that_serves_can_be_asked_for(tmp_path, versions):
    with versions.get(1) as loaded:
        assert loaded.model.text == "fine"
    write(tmp_path / "base", 2)
    versions.poll()
    for version in (0, 1, 3):
        with pytest.raises(Refusal, match=f"version {version} is not served; 2 is") as caught:
            versions.get(version).__enter__()
        assert caught.value.code == "NOT_FOUND"
    with pytest.raises(Refusal, match="label 'canary'") as caught:
        versions.get(label="canary").__enter__()
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "text, code, line",
    [
        (
            "broken",
            "INVALID_ARGUMENT",
            "version 2: cannot be loaded (see version 2/variables); export it anew",
        ),
        ("worse", "INTERNAL", "op.so: not found for version 2"),
        ("wrong", "INTERNAL", "ZeroDivisionError"),
    ],
)
def test_one_that_fails_leaves_the_old_one_serving(tmp_path, versions, text, code, line):
    write(tmp_path / "base", 2, text)
    versions.poll()
    assert serving(versions) == 1
    assert versions.states == [VersionState(2, "END", code, line), VersionState(1, "AVAILABLE")]
    shutil.rmtree(tmp_path / "base" / "2")
    versions.poll()
    assert states(versions) == [(1, "AVAILABLE")]


def test_one_that_failed_is_tried_again_only_when_its_folder_has_changed(tmp_path):
    tried = []

    def load(folder: pathlib.Path) -> str:
        tried.append(int(folder.name))
        if folder.name == "2" and not (folder / "variables" / "index").exists():
            raise OSError("variables are missing")
        return "model"

    write(tmp_path, 1)
    folder = write(tmp_path, 2)
    versions = Versions(tmp_path, load, lambda model: None)
    versions.poll()  # a version copied in part does not keep a server from starting
    assert tried == [2, 1] and serving(versions) == 1
    versions.poll()
    assert tried == [2, 1]
    (folder / "variables").mkdir()
    versions.poll()
    assert tried == [2, 1, 2]
    (folder / "variables" / "index").touch()
    versions.poll()
    versions.poll()
    assert tried == [2, 1, 2, 2]
    assert versions.states == [VersionState(2, "AVAILABLE"), VersionState(1, "END")]


def test_what_is_copied_while_it_loads_is_tried_again(tmp_path, versions):
    def load(folder: pathlib.Path) -> Model:
        whole = (folder / "rest").exists()
        (folder / "rest").touch()
        if not whole:
            raise OSError("cut off")
        return Model(folder)

    versions._load = load
    write(tmp_path / "base", 2)
    versions.poll()
    assert serving(versions) == 1
    versions.poll()
    assert serving(versions) == 2


def test_a_deleted_version_serves_until_another_does(tmp_path, versions):
    base = tmp_path / "base"
    shutil.rmtree(base)
    versions.poll()
    assert serving(versions) == 1 and states(versions) == [(1, "AVAILABLE")]
    write(base, 2, "broken")
    versions.poll()
    assert serving(versions) == 1
    write(base, 3)
    versions.poll()
    assert serving(versions) == 3
    versions.poll()
    assert states(versions) == [(3, "AVAILABLE"), (2, "END")]


def test_deleting_the_newest_goes_back_to_the_one_before(tmp_path, versions):
    write(tmp_path / "base", 2)
    versions.poll()
    with versions.get():
        shutil.rmtree(tmp_path / "base" / "2")
        versions.poll()
        assert serving(versions) == 1
        assert states(versions) == [(2, "UNLOADING"), (1, "AVAILABLE")]
    versions.poll()
    assert states(versions) == [(1, "AVAILABLE")]


def test_the_old_one_goes_with_the_last_request_that_uses_it(tmp_path, versions):
    with versions.get() as loaded:
        model = weakref.ref(loaded.model)
    write(tmp_path / "base", 2)
    with versions.get() as loaded, pytest.raises(KeyError), versions.get():
        versions.poll()
        assert serving(versions) == 2 and loaded.version == 1 and loaded.users == 2
        raise KeyError  # a request that fails counts down too
    assert states(versions) == [(2, "AVAILABLE"), (1, "END")]
    del loaded
    gc.collect()
    assert model() is None


def test_one_that_is_still_in_use_is_served_again_without_loading(tmp_path, versions):
    with versions.get() as first:
        write(tmp_path / "base", 2)
        versions.poll()
        shutil.rmtree(tmp_path / "base" / "2")
        versions.poll()
        with versions.get() as again:
            assert again is first
    assert states(versions)[-1] == (1, "AVAILABLE") and serving(versions) == 1


def test_requests_and_swaps_at_once(tmp_path, versions):
    """Versions come while threads ask: each gets a whole model, and in the end one is loaded."""
    ended, wrong = threading.Event(), []

    def ask() -> None:
        last = 0
        while not ended.is_set():
            with versions.get() as loaded:
                if loaded.version < last or loaded.model.text != f"of {loaded.version}":
                    wrong.append(loaded)
                last = loaded.version

    write(tmp_path / "base", 2, "of 2")
    versions.poll()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(3, 30):
        write(tmp_path / "base", version, f"of {version}")
        versions.poll()
    ended.set()
    for thread in threads:
        thread.join(10)
    assert not wrong and list(versions._loaded) == [29]
    assert {state.state for state in versions.states[1:]} == {"END"}


def test_symbolic_links_are_followed(tmp_path, versions):
    write(tmp_path / "elsewhere", "model", "by a link")
    os.symlink(tmp_path / "base", tmp_path / "link")
    os.symlink(tmp_path / "elsewhere" / "model", tmp_path / "base" / "2")
    os.symlink(tmp_path / "nowhere", tmp_path / "base" / "3")
    linked = Versions(tmp_path / "link", Model, check)
    linked.poll()
    with linked.get() as loaded:
        assert (loaded.version, loaded.model.text) == (2, "by a link")


def test_a_base_path_without_versions_is_refused(tmp_path):
    with pytest.raises(UserError, match="base: no such folder; give one that cpmn-export"):
        Versions(tmp_path / "base", Model, check)
    (tmp_path / "base" / "1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"base: holds no version, .* cpmn-export --export_dir="):
        Versions(tmp_path / "base", Model, check)
    write(tmp_path / "base", 1)
    with pytest.raises(UserError, match="base/1: is one version itself; give the folder that"):
        Versions(tmp_path / "base" / "1", Model, check)
