"""Parts as Ray tasks: what goes wrong in one; `test_cluster_demo.py` runs it all, on Ray itself."""

import sys
import types

import pytest

import cpmn_tf.cluster
from cpmn_tf.errors import UserError
from tfrecords_tools.building import build_records
from tfrecords_tools.cluster import RETRIES, build_on_cluster


class Crashed(Exception):
    """What Ray raises of a worker that died."""


@pytest.fixture
def engine(monkeypatch):
    """A stand-in of Ray that runs tasks when they are waited for, but those that `dies` names."""
    ray = types.ModuleType("ray")
    ray.dies, ray.inits, ray.ended = set(), [], 0

    class Remote:
        def __init__(self, function, name=""):
            self.function, self.name = function, name

        def options(self, name):
            return Remote(self.function, name)

        def remote(self, *arguments):
            return lambda: self.function(*arguments), self.name

    def get(task):
        if task[1] in ray.dies:
            raise Crashed("The worker died unexpectedly.\nMore of it.")
        return task[0]()

    def remote(num_cpus, max_retries):
        assert (num_cpus, max_retries) == (1, RETRIES)
        return Remote

    def shutdown():
        ray.ended += 1

    ray.remote, ray.get, ray.shutdown = remote, get, shutdown
    ray.init = lambda **given: ray.inits.append(given)
    ray.wait = lambda tasks: (tasks[-1:], tasks[:-1])  # ended in another order
    ray.exceptions = types.ModuleType("ray.exceptions")
    for name in ("NodeDiedError", "OutOfMemoryError", "WorkerCrashedError"):
        setattr(ray.exceptions, name, Crashed)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
    return ray


@pytest.fixture
def options(folders) -> dict:
    return folders.options()


def test_what_is_built(folders, options, engine):
    lines = []
    built = build_on_cluster(parts=2, workers=2, shards=3, report=lines.append, **options)
    assert [line[:18] for line in lines] == ["part 2/2: 2 videos", "part 1/2: 2 videos"]
    one = build_records(**{**options, "output_dir": folders.output.with_name("one")}, shards=3)
    assert str(built) == str(one).replace(str(one.manifest.folder), str(folders.output))
    assert len(built.manifest.shards("training")) == 3 and engine.ended == 1


def test_this_machine_or_a_cluster(options, engine):
    build_on_cluster(parts=1, **options)
    build_on_cluster(parts=1, address="head:6379", overwrite=True, **options)
    here, there = engine.inits
    assert (here["include_dashboard"], here["num_cpus"]) == (False, None)
    assert there["address"] == "head:6379" and "num_cpus" not in there


def test_an_error_of_a_part_is_the_builds(folders, options, engine):
    folders.path("rgb", folders.ids[1]).unlink()
    with pytest.raises(UserError, match=f"video {folders.ids[1]!r}.*has no rgb"):
        build_on_cluster(parts=2, **options)
    assert engine.ended == 1 and not folders.output.exists()


def test_a_part_that_kills_its_workers(folders, options, engine):
    engine.dies = {"part 1/2"}
    with pytest.raises(UserError) as error:
        build_on_cluster(parts=2, **options)
    assert str(error.value) == (
        f"part 1/2: {RETRIES + 1} workers died over it (The worker died unexpectedly.); give them "
        "more memory, or make more parts"
    )
    assert engine.ended == 1
    engine.dies, lines = set(), []
    build_on_cluster(parts=2, report=lines.append, **options)
    assert "part 2/2: 2 videos; it was there already and is kept in" in lines[0]


def test_the_extra_is_named(options, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; run: pip install 'cpmn-tf\[clust"):
        build_on_cluster(parts=2, **options)


def test_ray_that_does_not_start(options, engine):
    def init(**given):
        raise ConnectionError("ray://x: no such host\n\nTry again.")

    engine.init = init
    with pytest.raises(UserError) as error:
        build_on_cluster(parts=2, address="ray://x", **options)
    assert str(error.value) == (
        f"the engine did not start (ray://x: no such host); {cpmn_tf.cluster.LOGS}"
    )
