"""Devices and workers that share batches: one device's results, and what becomes of a lost worker.

Two processes on loopback by default; ``CPMN_TEST_WORKERS=3`` makes them three.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.errors import UserError
from cpmn_tf.inference import localize
from cpmn_tf.training import load_model, train
from cpmn_tf.training.distribution import Distribution, _cluster, open_distribution

WORKERS = int(os.environ.get("CPMN_TEST_WORKERS", "2"))
ROUNDING = {"rtol": 2e-4, "atol": 2e-6}  # of losses, stated in docs/training.md


def losses(model_dir, name: str) -> dict[tuple[str, int], float]:
    """A module's curves, by tag and step."""
    found = {}
    for path in sorted((model_dir / "tensorboard" / name).glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag.startswith("loss/"):
                    assert (value.tag, event.step) not in found, "two workers wrote"
                    found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def assert_same_losses(ours, theirs, **tolerance):
    """In every module that was trained."""
    for path in sorted((theirs / "tensorboard").iterdir()):
        one, two = losses(ours, path.name), losses(theirs, path.name)
        assert one.keys() == two.keys() and one
        np.testing.assert_allclose([one[key] for key in two], list(two.values()), **tolerance)


def detections(data_set, model_dir) -> np.ndarray:
    """[N, 5] video, label, start, end and score."""
    found = localize(load_model(model_dir, streams=["rgb"]), data_set)
    rows = np.stack([found.video, found.label, found.start, found.end, found.score], axis=1)
    return rows[np.lexsort(rows.T[2::-1])]


def bits(model_dir) -> list[bytes]:
    model = load_model(model_dir, streams=["rgb"])
    return [variable.numpy().tobytes() for variable in model.variables]


MIRRORED = """
import json, sys
from cpmn_tf.config import Config, with_overrides
from cpmn_tf.training import train
for name, precision, settings in json.loads(sys.argv[3]):
    train(
        data_dir=sys.argv[1], model_dir=f"{sys.argv[2]}/{name}", streams=["rgb"],
        config=with_overrides(Config(), settings), precision=precision,
        strategy="mirrored", devices=["cpu:0", "cpu:1"],
    )
"""


def test_two_devices_give_one_devices_losses(data_set, tmp_path, small_settings):
    """Parts of the processor stand for GPUs; of 10 videos in batches of 4 the last is short."""
    short = ["training.epochs=1", "training.final_epochs=1", "training.pictures=0"]
    short += ["pyramid.levels=0", "localization.attention=false"]
    drawn = ["training.group_size=2", "training.coactivity=1", "cascade.erasing=hide_and_seek"]
    drawn += ["cascade.dropout=0.5", "cascade.mining_dropout=0.3"]
    kinds = [("drawn", "float32", drawn), ("scaled", "mixed_float16", ["cascade.stages=1"])]
    kinds = [(name, how, [*small_settings, *short, *more]) for name, how, more in kinds]
    command = [sys.executable, "-c", MIRRORED, data_set, tmp_path / "two", json.dumps(kinds)]
    subprocess.run(list(map(str, command)), check=True)
    for name, precision, settings in kinds:
        train(
            data_dir=data_set,
            model_dir=tmp_path / "one" / name,
            streams=["rgb"],
            config=with_overrides(Config(), settings),
            precision=precision,
        )
        rounding = ROUNDING if precision == "float32" else {"rtol": 2e-2, "atol": 1e-3}
        assert_same_losses(tmp_path / "two" / name, tmp_path / "one" / name, **rounding)


# `cpmn-train`, which gets a signal (0 is none) at one of the steps that it does.
SIGNALLED = """
import os, sys
from cpmn_tf.commands import train
from cpmn_tf.training import loop
number, left = int(sys.argv[1]), int(sys.argv[2])
made = loop.make_replicated_step
def make(*given, **named):
    step = made(*given, **named)
    def counted(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
        return step(*arguments)
    return counted
loop.make_replicated_step = make
sys.exit(train.main(sys.argv[3:]))
"""


def ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def workers(data_set, small_settings):
    """Runs ``cpmn-train`` on all workers; the last one gets a signal at a step."""
    settings = [*small_settings, "training.batch_size=6", "training.pictures=0"]
    settings += ["training.epochs=1", "training.final_epochs=1", "pyramid.levels=2"]
    running: list[subprocess.Popen] = []

    def run(folder, number=0, step=0) -> list[tuple[int, str, str]]:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports(WORKERS)]}
        flags = [f"--data_dir={data_set}", f"--model_dir={folder}", "--strategy=multi_worker"]
        flags += ["--streams=rgb", *(f"--set={setting}" for setting in settings)]
        begun = []
        for index in range(WORKERS):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            signalled = [number, step] if index == WORKERS - 1 else [0, 0]
            begun.append(
                subprocess.Popen(
                    [sys.executable, "-c", SIGNALLED, *map(str, signalled), *flags],
                    env={**os.environ, "TF_CONFIG": json.dumps(task)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        running.extend(begun)
        outputs = [process.communicate(timeout=600) for process in begun]
        return [(p.returncode, *texts) for p, texts in zip(begun, outputs, strict=True)]

    run.config = with_overrides(Config(), settings)
    yield run
    for process in running:
        process.kill()


def test_workers_give_one_devices_results_and_survive_each_other(workers, data_set, tmp_path):
    assert [code for code, _, _ in workers(tmp_path / "whole")] == [0] * WORKERS

    # The cascade has 4 steps. One worker is asked to stop at the pyramid's sixth: all do at the
    # eighth. It is killed at the fifth from there: the others say so and end. Then all go on.
    for code, output, errors in workers(tmp_path / "cut", signal.SIGTERM, 10):
        assert code == 128 + signal.SIGTERM, errors
        assert "the same command goes on from here" in output
    *others, _ = workers(tmp_path / "cut", signal.SIGKILL, 5)
    for code, _, errors in others:
        (line,) = [line for line in errors.splitlines() if line.startswith("cpmn-train: ")]
        assert code == 1 and "error: another worker is gone" in line
        assert "Traceback" not in errors
    assert "rgb pyramid: goes on after step 8\n" in others[0][1]
    assert [code for code, _, _ in workers(tmp_path / "cut")] == [0] * WORKERS
    assert bits(tmp_path / "whole") == bits(tmp_path / "cut")

    train(data_dir=data_set, model_dir=tmp_path / "one", config=workers.config, streams=["rgb"])
    assert_same_losses(tmp_path / "whole", tmp_path / "one", **ROUNDING)
    ours, theirs = (detections(data_set, tmp_path / name) for name in ("whole", "one"))
    assert len(ours) > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_batches_are_divided_in_groups(monkeypatch):
    four = Distribution(strategy=object())
    monkeypatch.setattr(Distribution, "replicas", 4)

    def check(*settings):
        four.check(with_overrides(Config(), list(settings)))

    check("training.batch_size=16")
    check("training.batch_size=16", "training.group_size=2")
    with pytest.raises(UserError, match=r"batch_size=18 .* 4 devices in groups of 1; set it to 16"):
        check("training.batch_size=18")
    with pytest.raises(UserError, match=r"batch_size=12 .* in groups of 2; set it to 8 or 16"):
        check("training.batch_size=12", "training.group_size=2")
    with pytest.raises(UserError, match=r"batch_size=2 .* set it to 4$"):
        check("training.batch_size=2")
    with pytest.raises(UserError, match=r"per_class .* copies of the whole batch; train it on one"):
        check("cascade.erased_classes=per_class", "cascade.mining_dropout=0.5")
    with pytest.raises(UserError, match=r"cascade\.interval=3 .* longest video of the whole batch"):
        check("cascade.sampling=uniform", "cascade.interval=3", "cascade.dropout=0.5")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}',
        '{"cluster": {"ps": ["b:1"], "worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_tf_config_that_names_no_workers_is_refused(text):
    with pytest.raises(UserError, match=r"`strategy=multi_worker` reads its workers from .*TF_CON"):
        _cluster(text)


def test_a_chief_is_a_worker():
    task = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}}
    task["task"] = {"type": "worker", "index": "1"}
    assert _cluster(json.dumps({**task, "environment": "cloud"})) == (
        {"chief": 1, "worker": 2},
        "worker",
        1,
    )


@pytest.mark.parametrize(
    "strategy, devices, message",
    [
        ("several", [], "`strategy=several` is not default or mirrored or multi_worker; give one"),
        ("default", ["gpu:99"], "`devices=gpu:99`: there are 0 GPUs"),
        ("default", ["tpu:0"], "`devices=tpu:0` names no devices of one kind"),
        ("mirrored", ["cpu:0", "cpu:0"], "names no devices of one kind, each once"),
        ("mirrored", ["cpu:0", "gpu:0"], "names no devices of one kind"),
        ("mirrored", ["cpu:0", "cpu:1"], "before TensorFlow computes anything"),
    ],
)
def test_devices_that_are_not_there_are_refused(strategy, devices, message):
    tf.zeros([1]).numpy()
    with pytest.raises(UserError, match=message):
        open_distribution(strategy, devices)
