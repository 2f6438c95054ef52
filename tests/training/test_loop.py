"""The loop: killed and resumed training gives the same bits; everything it depends on is saved."""

import hashlib
import itertools
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.files import disk_error
from cpmn_tf.training import loop
from cpmn_tf.training.events import EventWriter
from cpmn_tf.training.loop import Interrupted, ModuleTrainer, Runtime


def trainer(data_set, folder, settings, module="cascade", stream="rgb", **runtime) -> ModuleTrainer:
    return ModuleTrainer(
        module=module,
        stream=stream,
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
        (
            "cascade",
            [
                "cascade.erasing=hide_and_seek",
                "cascade.pooling=soft_selection",
                "cascade.sampling=shot",
                "training.loss=softmax",
            ],
        ),
        (
            "cascade",
            [
                "training.group_size=2",
                "training.coactivity=1",
                "training.loss=softmax",
                "cascade.dropout=0.5",
                "cascade.mining_dropout=0.3",
                "cascade.pooling=top",
                "cascade.mining_pooling=unerased",
            ],
        ),
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


def events(folder, *prefixes: str) -> dict[tuple[str, int], float | None]:
    """Values by tag and step; None for tags of other prefixes."""
    found = {}
    for path in sorted((folder / "events").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                key = (value.tag, event.step)
                assert key not in found, f"{key} was written twice"
                found[key] = (
                    float(tf.make_ndarray(value.tensor)) if value.tag.startswith(prefixes) else None
                )
    return found


def test_resumed_curves_are_those_of_an_uninterrupted_run(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=4", "training.final_epochs=0"]
    trainer(data_set, tmp_path / "whole", settings).run(nothing)

    # A kill without warning after epoch 3 (9 steps): the last checkpoint is that of epoch 2.
    def kill(_events, epoch, _step):
        if epoch == 3:
            raise RuntimeError("killed")

    every = [*settings, "training.validate_every=1"]
    killed = trainer(data_set, tmp_path / "cut", every)
    with pytest.raises(RuntimeError):
        killed.run(kill)
    resumed = trainer(data_set, tmp_path / "cut", every)
    assert resumed.step == 6
    resumed.run(nothing)
    whole, cut = (events(tmp_path / name, "loss") for name in ("whole", "cut"))
    losses = {key: value for key, value in whole.items() if key[0].startswith("loss/")}
    assert {step for _, step in losses} == {3, 6, 9, 12}
    assert losses == {key: value for key, value in cut.items() if key[0].startswith("loss/")}


# With a step that trains nothing, what the loop itself does is quick to see.


class Recorder:
    """Stands for the step: the losses of step n are (n, 10), and it notes what it is given."""

    def __init__(self, trained: ModuleTrainer):
        self.trained, self.numbers, self.batches = trained, [], []
        self.killed_at: int | None = None
        trained._step_function = self

    def __call__(self, batch, number):
        if int(number) == self.killed_at:
            raise RuntimeError("killed")
        self.numbers.append(int(number))
        self.batches.append(batch)
        return tf.stack([tf.cast(number, tf.float32), 10.0])


FEW = ["training.epochs=2", "training.final_epochs=3", "training.learning_rate=0.5"]


def test_steps_are_numbered_through_all_epochs(data_set, tmp_path, small_settings):
    settings = [*small_settings, *FEW, "training.batch_size=4"]
    trained = trainer(data_set, tmp_path, settings)
    # 10 videos in batches of 4 are 3 steps, in 2 + 3 epochs.
    assert (trained.steps_per_epoch, trained.epochs, trained.steps) == (3, 5, 15)
    assert not trained.finished
    recorder = Recorder(trained)
    trained.run(nothing)
    assert recorder.numbers == list(range(15))
    assert [len(batch["labels"]) for batch in recorder.batches] == [4, 4, 2] * 5
    assert trained.finished and trained.step == 15


def test_the_pyramids_steps_are_counted_by_windows(data_set, tmp_path, small_settings):
    trained = trainer(data_set, tmp_path, [*small_settings, *FEW], "pyramid")
    recorder = Recorder(trained)
    trained.run(nothing)
    assert recorder.numbers == list(range(5 * trained.steps_per_epoch))
    windows = sum(len(batch["labels"]) for batch in recorder.batches)
    assert -(-windows // 5 // 4) == trained.steps_per_epoch > 3


def test_a_resumed_run_takes_the_batches_that_were_left(data_set, tmp_path, small_settings):
    settings = [*small_settings, *FEW]
    whole = trainer(data_set, tmp_path / "whole", settings)
    ours = Recorder(whole)
    whole.run(nothing)
    cut = trainer(data_set, tmp_path / "cut", settings, stop=stop_after(7))
    before = Recorder(cut)
    with pytest.raises(Interrupted, match="rgb cascade"):
        cut.run(nothing)
    assert before.numbers == list(range(7)) and not cut.finished
    resumed = trainer(data_set, tmp_path / "cut", settings)
    after = Recorder(resumed)
    resumed.run(nothing)
    assert after.numbers == list(range(7, 15))
    for one, two in zip(ours.batches, [*before.batches, *after.batches], strict=True):
        np.testing.assert_array_equal(one["features"], two["features"])


def test_validation_is_every_few_epochs_and_after_the_last(data_set, tmp_path, small_settings):
    seen = []
    trained = trainer(data_set, tmp_path, [*small_settings, *FEW, "training.validate_every=2"])
    Recorder(trained)
    trained.run(lambda _, epoch, step: seen.append((epoch, step)))
    assert seen == [(2, 6), (4, 12), (5, 15)]


@pytest.mark.parametrize("last, step", [(1, 0), (2, 3), (5, 12)])
def test_a_checkpoint_is_written_after_each_epoch(data_set, tmp_path, small_settings, last, step):
    """A kill without warning goes back to the last of them."""
    settings = [*small_settings, *FEW, "training.validate_every=1"]

    def kill(_events, epoch, _step):
        if epoch == last:
            raise RuntimeError("killed")

    killed = trainer(data_set, tmp_path, settings)
    Recorder(killed)
    with pytest.raises(RuntimeError):
        killed.run(kill)
    assert trainer(data_set, tmp_path, settings).step == step


def test_a_checkpoint_is_written_within_an_epoch_when_it_is_long(
    data_set, tmp_path, small_settings, monkeypatch
):
    settings = [*small_settings, *FEW]
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    falling = itertools.count(time.time(), -86400)  # a clock that jumps back is not asked
    monkeypatch.setattr(time, "time", lambda: next(falling))
    killed = trainer(data_set, tmp_path, settings)
    recorder = Recorder(killed)
    recorder.killed_at = 4  # of an epoch's steps 3, 4 and 5
    with pytest.raises(RuntimeError, match="killed"):
        killed.run(nothing)
    resumed = trainer(data_set, tmp_path, settings)
    assert resumed.step == 4
    assert resumed._totals.numpy().tolist() == [3, 10]  # of step 3, the first of its epoch


def test_curves_are_on_the_disk_before_the_checkpoint(
    data_set, tmp_path, small_settings, monkeypatch
):
    """A kill then leaves no gap in them; what is beyond the checkpoint is dropped."""
    trained = trainer(data_set, tmp_path, [*small_settings, *FEW])
    Recorder(trained)
    flush, seen = EventWriter.flush, []

    def flushed(writer):
        flush(writer)
        latest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
        on_disk = max(step for _, step in events(tmp_path, "loss"))
        seen.append((on_disk, latest and int(latest.rpartition("-")[2])))

    monkeypatch.setattr(EventWriter, "flush", flushed)
    trained.run(nothing)
    assert seen == [(3, None), (6, 3), (9, 6), (12, 9), (15, 12)]


def test_curves_are_means_over_an_epoch(data_set, tmp_path, small_settings):
    trained = trainer(data_set, tmp_path, [*small_settings, *FEW])
    Recorder(trained)
    trained.run(nothing)
    found = events(tmp_path, "loss", "rate/learning_rate")
    # Epoch e has the steps 3e, 3e + 1 and 3e + 2, whose numbers are their losses.
    for epoch in range(5):
        step = 3 * (epoch + 1)
        assert found["loss/classification", step] == 3 * epoch + 1
        assert found["loss/regularization", step] == 10
        assert found["loss/total", step] == 3 * epoch + 11
        # The rate of the epoch's last step: 2 epochs at the first rate, 3 at the second.
        rate = 0.5 if epoch < 2 else Config().training.final_learning_rate
        assert found["rate/learning_rate", step] == pytest.approx(rate)


def test_the_settings_are_written_once(data_set, tmp_path, small_settings):
    settings = [*small_settings, *FEW]
    with pytest.raises(Interrupted):
        trainer(data_set, tmp_path, settings, stop=stop_after(4)).run(nothing)
    trainer(data_set, tmp_path, settings).run(nothing)
    written = [path.read_bytes() for path in (tmp_path / "events").iterdir()]
    (once,) = (data for data in written if b"session_start_info" in data)
    for part in (b"stream", b"rgb", b"module", b"cascade.units", b"preset"):
        assert part in once


def test_progress_tells_the_first_and_the_last_step(data_set, tmp_path, small_settings):
    told = []
    trained = trainer(
        data_set, tmp_path, [*small_settings, *FEW], progress=lambda *what: told.append(what)
    )
    Recorder(trained)
    trained.run(nothing)
    assert told[0] == ("rgb cascade", 1, 15, {"loss": 10.0})
    assert told[-1] == ("rgb cascade", 15, 15, {"loss": 24.0})
    assert len(told) == len({step for _, step, _, _ in told}) < 15  # twice a second


def test_a_change_of_the_number_of_devices_is_said(data_set, tmp_path, small_settings):
    settings = [*small_settings, *FEW]
    trained = trainer(data_set, tmp_path, settings, stop=stop_after(4))
    assert trained.change_of_devices == ""
    Recorder(trained)
    with pytest.raises(Interrupted):
        trained.run(nothing)
    (tmp_path / "checkpoints" / "replicas.json").write_text("3")
    resumed = trainer(data_set, tmp_path, settings)
    assert resumed.change_of_devices == ", on 1 instead of 3 devices: the same but for rounding"
    Recorder(resumed)
    resumed.run(nothing)
    assert trainer(data_set, tmp_path, settings).change_of_devices == ""


def test_without_epochs_the_model_is_saved_as_it_was_drawn(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=0", "training.final_epochs=0"]
    trained = trainer(data_set, tmp_path, settings)
    trained.run(nothing)
    again = trainer(data_set, tmp_path, settings)
    assert again.finished and again.step == 0
    assert_same_bits(weights(trained.model), weights(again.model))


def test_weights_are_drawn_from_seed_stream_and_module_alone(data_set, tmp_path, small_settings):
    def drawn(name: str, **which) -> tuple[int, bytes]:
        """The seed, and a kernel that has the same shape in both streams."""
        made = trainer(data_set, tmp_path / name, small_settings, **which)
        kernels = [item for item in made.model.trainable_variables if len(item.shape) > 1]
        return made._seed, kernels[-1].numpy().tobytes()

    keras.utils.set_random_seed(1)
    first = drawn("first")
    keras.utils.set_random_seed(2)
    assert drawn("again") == first
    others = [
        drawn("seed", seed=1),
        drawn("stream", stream="flow"),
        drawn("pyramid", module="pyramid"),
    ]
    for part in (0, 1):
        assert len({first[part], *(other[part] for other in others)}) == 4


def test_batches_depend_on_the_seed(data_set, tmp_path, small_settings):
    first, again, other = (
        Recorder(trainer(data_set, tmp_path / name, small_settings, seed=seed, stop=lambda: True))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    batches = []
    for recorder in (first, again, other):
        with pytest.raises(Interrupted):
            recorder.trained.run(nothing)
        batches.append(recorder.batches[0]["features"].numpy().tobytes())
    assert batches[0] == batches[1] != batches[2]


def test_random_erasing_draws_by_seed_and_step(data_set, tmp_path, small_settings):
    """With the same weights and batch, so that nothing else makes the losses differ."""
    settings = [*small_settings, "cascade.erasing=random"]
    one, other = (
        trainer(data_set, tmp_path / str(seed), [*settings, "training.learning_rate=0"], seed=seed)
        for seed in (0, 1)
    )
    for ours, theirs in zip(other.model.variables, one.model.variables, strict=True):
        ours.assign(theirs)
    batch = next(iter(one._dataset(0)))
    losses = [
        float(each._step_function(batch, tf.constant(step, tf.int64))[0])
        for each, step in ((one, 0), (one, 1), (other, 0))
    ]
    assert len(set(losses)) == 3


def test_a_finished_module_is_left_alone(data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    first = trainer(data_set, tmp_path, settings)
    Recorder(first)
    first.run(nothing)
    again = trainer(data_set, tmp_path, settings)
    assert again.finished
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again.run(nothing)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert_same_bits(weights(first.model), weights(again.model))


@pytest.mark.parametrize("change", ["cascade.filters=8", "cascade.stages=1", "cascade.stages=3"])
def test_a_checkpoint_of_another_architecture_is_refused(
    data_set, tmp_path, small_settings, change
):
    settings = [*small_settings, "training.epochs=0", "training.final_epochs=0"]
    trainer(data_set, tmp_path, settings).run(nothing)
    with pytest.raises(UserError, match="this checkpoint does not fit"):
        trainer(data_set, tmp_path, [*settings, change])


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
    assert whole.model.dtype_policy.name == precision
    scaled = isinstance(whole._optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
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
    assert compiled._step_function._jit_compile and not plain._step_function._jit_compile
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


def test_a_killed_command_goes_on_to_the_same_bits(data_set, model_dir, tmp_path, small_settings):
    """The whole command, killed from outside while it trains, against ``model_dir``'s one run."""
    command = [
        sys.executable,
        "-m",
        "cpmn_tf.commands.train",
        f"--data_dir={data_set}",
        f"--model_dir={tmp_path / 'm'}",
        *(f"--set={item}" for item in (*small_settings, "training.pictures=0")),
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        # The label is shown at the module's first step. "step 128/128" may be the first to follow.
        assert "rgb pyramid:\n" in process.stdout
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        if number == signal.SIGTERM:
            assert process.returncode == 128 + signal.SIGTERM
            assert "the same command goes on from here" in output
        else:
            assert process.returncode == -signal.SIGKILL
    assert subprocess.run(command, stdout=subprocess.DEVNULL, env=environment).returncode == 0
    ours, theirs = digest(tmp_path / "m"), digest(model_dir)
    assert ours and ours == theirs


@pytest.mark.parametrize(
    "damaged, message",
    [
        (lambda data: data[: len(data) // 2], "bytes instead of"),
        (lambda data: data[:-100] + b"!" + data[-99:], "record 9 is broken"),
        (lambda data: None, "this shard is missing"),
    ],
    ids=["cut", "flipped", "lost"],
)
def test_a_shard_damaged_while_training_is_named_and_costs_no_checkpoint(
    tmp_path, small_settings, dataset_writer, damaged, message
):
    write, make = dataset_writer
    data = write(tmp_path / "data", {"training": make(10)})
    shard = data / "training-00000-of-00001.tfrecord"
    whole = shard.read_bytes()
    settings = [*small_settings, *FEW, "training.validate_every=2"]

    def damage(_events, epoch, _step):
        if epoch == 2:
            shard.unlink()
            if (left := damaged(whole)) is not None:
                shard.write_bytes(left)

    trained = trainer(data, tmp_path, settings)
    Recorder(trained)
    with pytest.raises(UserError, match=rf"training-00000-of-00001\.tfrecord: .*{message}") as told:
        trained.run(damage)
    assert "build" in str(told.value) and "\n" not in str(told.value)
    shard.write_bytes(whole)
    resumed = trainer(data, tmp_path, settings)
    assert resumed.step >= 6
    Recorder(resumed)
    resumed.run(nothing)
    assert resumed.finished


def test_a_full_disk_costs_no_checkpoint(data_set, tmp_path, small_settings):
    """A bound on the size of files refuses what is written as a full disk does."""
    settings = [*small_settings, "training.epochs=4", "training.final_epochs=0"]
    whole = trainer(data_set, tmp_path / "whole", settings)
    whole.run(nothing)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_events, epoch, _step):
        if epoch == 2:
            full._checkpoints.close()  # that of step 3 is written
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

    settings = [*settings, "training.validate_every=1"]
    full = trainer(data_set, tmp_path / "full", settings)
    try:
        with pytest.raises(tf.errors.OpError) as told:
            full.run(fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    line = disk_error(told.value)
    assert line.startswith(str(tmp_path / "full")) and "cannot be written (File too large)" in line
    resumed = trainer(data_set, tmp_path / "full", settings)
    assert resumed.step == 3
    resumed.run(nothing)
    assert_same_bits(weights(whole.model), weights(resumed.model))
