"""The loop: killed and resumed training gives the same bits; everything it depends on is saved."""

import hashlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.training.loop import Interrupted, ModuleTrainer, Runtime


def trainer(data_set, folder, settings, module="cascade", **runtime) -> ModuleTrainer:
    return ModuleTrainer(
        module=module,
        stream="rgb",
        split=Split.open(data_set, "training"),
        config=with_overrides(Config(), settings),
        folder=folder / "checkpoints",
        events_dir=folder / "events",
        runtime=Runtime(**runtime),
    )


def nothing(*_) -> None:
    pass


def weights(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def assert_same_bits(ours, theirs):
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, two)


def stop_after(steps: int):
    counter = itertools.count(1)
    return lambda: next(counter) >= steps


@pytest.mark.parametrize(
    "module, extra",
    [
        ("cascade", []),
        ("cascade", ["cascade.erasing=random"]),
        ("cascade", ["cascade.sampling=shot"]),
        ("cascade", ["cascade.sampling=uniform", "cascade.interval=3"]),
        ("pyramid", []),
    ],
)
def test_interrupted_training_goes_on_to_the_same_bits(
    data_set, tmp_path, small_settings, module, extra
):
    settings = [*small_settings, "training.epochs=2", "training.final_epochs=1", *extra]
    whole = trainer(data_set, tmp_path / "whole", settings, module)
    whole.run(nothing)
    # 4 steps are in the middle of an epoch of 3 (cascade) or more (pyramid) steps.
    with pytest.raises(Interrupted):
        trainer(data_set, tmp_path / "cut", settings, module, stop=stop_after(4)).run(nothing)
    resumed = trainer(data_set, tmp_path / "cut", settings, module)
    assert resumed.step == 4
    resumed.run(nothing)
    assert_same_bits(weights(whole.model), weights(resumed.model))


def test_batches_of_varying_length_share_one_graph(data_set, tmp_path, small_settings, caplog):
    settings = [*small_settings, "cascade.sampling=uniform", "cascade.interval=3"]
    trained = trainer(data_set, tmp_path, settings)
    trained.run(nothing)
    assert trained._step_function.experimental_get_tracing_count() == 1
    assert "retracing" not in caplog.text


def events(folder) -> dict[tuple[str, int], float]:
    found = {}
    for path in sorted((folder / "events").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                key = (value.tag, event.step)
                assert key not in found, f"{key} was written twice"
                found[key] = (
                    float(tf.make_ndarray(value.tensor)) if value.tag.startswith("loss") else None
                )
    return found


def test_resumed_curves_are_those_of_an_uninterrupted_run(data_set, tmp_path, small_settings):
    settings = [
        *small_settings,
        "training.epochs=4",
        "training.final_epochs=0",
        "training.checkpoint_every=2",
    ]
    trainer(data_set, tmp_path / "whole", settings).run(nothing)

    # A kill without warning after epoch 3 (9 steps): the last checkpoint is that of epoch 2.
    def kill(_model, _events, epoch, _step):
        if epoch == 3:
            raise RuntimeError("killed")

    every = [*settings, "training.validate_every=1"]
    killed = trainer(data_set, tmp_path / "cut", every)
    with pytest.raises(RuntimeError):
        killed.run(kill)
    resumed = trainer(data_set, tmp_path / "cut", every)
    assert resumed.step == 6
    resumed.run(nothing)
    whole, cut = events(tmp_path / "whole"), events(tmp_path / "cut")
    losses = {key: value for key, value in whole.items() if key[0].startswith("loss/")}
    assert {step for _, step in losses} == {3, 6, 9, 12}
    assert losses == {key: value for key, value in cut.items() if key[0].startswith("loss/")}


def test_a_finished_module_is_left_alone(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    first = trainer(data_set, tmp_path, settings)
    first.run(nothing)
    again = trainer(data_set, tmp_path, settings)
    assert again.finished
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again.run(nothing)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert_same_bits(weights(first.model), weights(again.model))


def test_a_checkpoint_of_another_architecture_is_refused(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    trainer(data_set, tmp_path, settings).run(nothing)
    with pytest.raises(UserError, match="this checkpoint does not fit"):
        trainer(data_set, tmp_path, [*settings, "cascade.filters=8"])


def test_a_truncated_checkpoint_is_refused(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    trainer(data_set, tmp_path, settings).run(nothing)
    (data,) = (tmp_path / "checkpoints").glob("*.data-*")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(UserError, match="does not fit"):
        trainer(data_set, tmp_path, settings)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_and_resumes(data_set, tmp_path, small_settings, precision):
    settings = [*small_settings, "training.epochs=2", "training.final_epochs=0"]
    whole = trainer(data_set, tmp_path / "whole", settings, precision=precision)
    before = weights(whole.model)
    whole.run(nothing)
    assert all(np.isfinite(value).all() for value in weights(whole.model))
    assert all(value.dtype == np.float32 for value in weights(whole.model))
    assert any((one != two).any() for one, two in zip(before, weights(whole.model), strict=True))
    with pytest.raises(Interrupted):
        trainer(data_set, tmp_path / "cut", settings, precision=precision, stop=stop_after(2)).run(
            nothing
        )
    resumed = trainer(data_set, tmp_path / "cut", settings, precision=precision)
    resumed.run(nothing)
    assert_same_bits(weights(whole.model), weights(resumed.model))


def test_xla_takes_the_same_steps(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    plain = trainer(data_set, tmp_path / "plain", settings)
    plain.run(nothing)
    compiled = trainer(data_set, tmp_path / "xla", settings, xla=True)
    compiled.run(nothing)
    for one, two in zip(weights(plain.model), weights(compiled.model), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)


def digest(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every weight of every module's last checkpoint."""
    found = {}
    for state in sorted(folder.glob("streams/*/*/checkpoint")):
        reader = tf.train.load_checkpoint(str(state.parent))
        for name in sorted(reader.get_variable_to_shape_map()):
            if name.startswith(("weights/", "optimizer/")):
                value = reader.get_tensor(name)
                key = f"{state.parent.relative_to(folder)}/{name}"
                found[key] = hashlib.sha256(value.tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_goes_on_to_the_same_bits(
    data_set, model_dir, tmp_path, small_settings, number
):
    """The whole command, killed from outside while it trains, against ``model_dir``'s one run."""
    command = [
        sys.executable,
        "-m",
        "cpmn_tf.commands.train",
        f"--data_dir={data_set}",
        f"--model_dir={tmp_path / 'm'}",
        *(f"--set={item}" for item in small_settings),
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    seen_label = ""
    for line in process.stdout:  # the first step of the second stage has been taken
        if line.startswith("  step") and "pyramid" in seen_label:
            break
        seen_label = line if not line.startswith("  ") else seen_label
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert "the same command goes on from here" in output
    assert subprocess.run(command, stdout=subprocess.DEVNULL, env=environment).returncode == 0
    ours, theirs = digest(tmp_path / "m"), digest(model_dir)
    assert ours and ours == theirs
