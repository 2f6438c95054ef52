"""Training all modules: which are trained on what, in what order, and what is said of it."""

import json

import pytest

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.training import train_model
from cpmn_tf.training.loop import Interrupted
from cpmn_tf.training.model_folder import ModelManifest
from cpmn_tf.training.train_model import train


class Recorded:
    """Stands for ModuleTrainer and Validator: notes what it is given, and trains nothing."""

    def __init__(self, log: list, kind: str, given: dict):
        self.kind, self.given, self.calls = kind, given, []
        self.step = self.steps = 12
        self.finished, self.change_of_devices = False, ""
        self.label = f"{given['stream']} {given.get('module')}"
        self.module = given.get("module")
        self.model = self.label
        log.append(self)

    def run(self, on_epoch):
        on_epoch("events", 4, 12)

    def __call__(self, modules, events, step):
        self.calls.append((dict(modules), events, step))
        return {"validation/video_mAP": 0.25, "validation/other": 1.0}


@pytest.fixture
def log(monkeypatch) -> list[Recorded]:
    made: list[Recorded] = []
    for kind in ("ModuleTrainer", "Validator"):
        monkeypatch.setattr(
            train_model, kind, lambda kind=kind, **given: Recorded(made, kind, given)
        )
    monkeypatch.setattr(train_model, "is_emulated", lambda precision: False)  # wherever it runs
    return made


@pytest.fixture
def arguments(data_set, tmp_path, small_settings) -> dict:
    return {
        "data_dir": data_set,
        "model_dir": tmp_path / "model",
        "config": with_overrides(Config(), small_settings),
    }


def trainers(log) -> list[dict]:
    return [item.given for item in log if item.kind == "ModuleTrainer"]


def validators(log) -> list[Recorded]:
    return [item for item in log if item.kind == "Validator"]


def test_modules_are_trained_one_after_another(log, arguments, tmp_path):
    lines = []
    manifest = train(**arguments, seed=5, precision="mixed_bfloat16", xla=True, report=lines.append)
    made = trainers(log)
    assert [(given["stream"], given["module"]) for given in made] == [
        ("rgb", "cascade"),
        ("rgb", "pyramid"),
        ("flow", "cascade"),
        ("flow", "pyramid"),
    ]
    for given in made:
        name = f"{given['stream']}_{given['module']}"
        assert given["folder"] == tmp_path / "model" / "streams" / given["stream"] / given["module"]
        assert given["events_dir"] == tmp_path / "model" / "tensorboard" / name
        assert given["config"] == arguments["config"]
        runtime = given["runtime"]
        assert (runtime.seed, runtime.precision, runtime.xla) == (5, "mixed_bfloat16", True)
    assert lines[0] == "rgb cascade: goes on after step 12"
    assert lines[1] == "rgb cascade: epoch 4: video_mAP 0.250  other 1.000"
    assert (manifest.seed, manifest.precision) == (5, "mixed_bfloat16")
    data = Manifest.load(arguments["data_dir"])
    assert manifest.fingerprint == data.fingerprint("training")  # a digest of the records
    assert ModelManifest.load(tmp_path / "model") == manifest
    # Each stream's validator sees its own modules: the cascade alone, then both.
    assert [item.given["stream"] for item in validators(log)] == ["rgb", "flow"]
    for item in validators(log):
        stream = item.given["stream"]
        modules = {"cascade": f"{stream} cascade", "pyramid": f"{stream} pyramid"}
        alone = {"cascade": modules["cascade"]}
        assert item.calls == [(alone, "events", 12), (modules, "events", 12)]


def test_changed_training_data_are_named(log, arguments, tmp_path, dataset_writer):
    write, make = dataset_writer
    videos = make(3, lengths=(5, 6))
    relabelled = [videos[0], {**videos[1], "label": 2}, videos[2]]
    for name, changed in (("before", videos), ("labels", relabelled), ("fewer", videos[1:])):
        write(tmp_path / name, {"training": changed, "testing": make(1)})
    arguments["data_dir"] = tmp_path / "before"
    train(**arguments)
    train(**arguments)  # goes on
    for name, message in (
        ("labels", r"model.json: the training data changed \(labels of the same videos\); train"),
        ("fewer", r"\(other videos: 3 then, 2 now\)"),
    ):
        with pytest.raises(UserError, match=message):
            train(**{**arguments, "data_dir": tmp_path / name})


def test_only_the_streams_asked_for_are_trained(log, arguments):
    manifest = train(**arguments, streams=["flow"])
    assert {given["stream"] for given in trainers(log)} == {"flow"}
    assert list(manifest.streams) == ["rgb", "flow"]


def test_what_was_finished_before_is_told(log, arguments, monkeypatch):
    monkeypatch.setattr(Recorded, "finished", property(lambda _: True, lambda *_: None), False)
    lines = []
    train(**arguments, streams=["rgb"], report=lines.append)
    assert lines[0] == "rgb cascade: finished before (12 steps)"
    assert not any("goes on" in line for line in lines)


def test_nothing_is_told_of_a_module_that_begins(log, arguments, monkeypatch):
    monkeypatch.setattr(Recorded, "step", property(lambda _: 0, lambda *_: None), False)
    lines = []
    train(**arguments, streams=["rgb"], report=lines.append)
    assert all("epoch 4" in line for line in lines)


def test_a_split_of_its_own_is_validated_on(log, arguments, data_set):
    manifest = train(**arguments, validation_split="testing", streams=["rgb"])
    training, testing = (Split.open(data_set, name) for name in ("training", "testing"))
    assert all(given["split"].ids == training.ids for given in trainers(log))
    (validator,) = validators(log)
    assert validator.given["held_out"].ids == testing.ids
    assert validator.given["training"].ids == training.ids
    assert (manifest.train_split, manifest.validation_split) == ("training", "testing")
    assert validator.given["config"] == arguments["config"]


def test_held_out_videos_are_not_trained_on(log, arguments, data_set):
    train(**arguments, settings={"training.validation_fraction": 0.3}, streams=["rgb"])
    whole = Split.open(data_set, "training")
    training, held_out = whole.hold_out(0.3)
    assert all(given["split"].ids == training.ids for given in trainers(log))
    (validator,) = validators(log)
    assert validator.given["held_out"].ids == held_out.ids
    assert validator.given["training"].ids == training.ids


def test_without_validation_nothing_is_held_out(log, arguments, data_set):
    train(**arguments, streams=["rgb"])
    (validator,) = validators(log)
    assert validator.given["held_out"] is None
    assert validator.given["training"].ids == Split.open(data_set, "training").ids


def test_two_ways_of_holding_out_are_refused(log, arguments, tmp_path):
    with pytest.raises(UserError, match=r"`validation_split=testing`.*give one of them"):
        train(
            **arguments,
            validation_split="testing",
            settings={"training.validation_fraction": 0.3},
        )
    assert not (tmp_path / "model").exists()


def test_settings_change_the_preset_and_the_split_the_configuration(log, data_set, tmp_path):
    given = {"data_dir": data_set, "split": "testing", "streams": ["rgb"]}
    manifest = train(
        **given, model_dir=tmp_path / "a", preset="watch", settings={"training.epochs": 7}
    )
    assert manifest.config.preset == "watch" and manifest.config.training.epochs == 7
    assert manifest.config.training.final_epochs == 10  # the preset's
    assert manifest.train_split == "testing"
    assert trainers(log)[0]["split"].ids == Split.open(data_set, "testing").ids
    assert train(**given, model_dir=tmp_path / "b").config == Config()
    with pytest.raises(UserError, match=r"preset=.other. is not one of"):
        train(**given, model_dir=tmp_path / "c", preset="other")
    with pytest.raises(UserError, match=r"there is no setting training\.epoch"):
        train(**given, model_dir=tmp_path / "c", settings={"training.epoch": 7})
    assert not (tmp_path / "c").exists()


def test_another_stream_is_refused_before_the_folder_is_made(log, arguments, tmp_path):
    with pytest.raises(UserError, match="`streams=audio`"):
        train(**arguments, streams=["rgb", "audio"])
    assert not (tmp_path / "model").exists() and not log


def test_a_folder_of_another_model_is_refused_before_training(log, arguments):
    train(**arguments, streams=["rgb"])
    del log[:]
    with pytest.raises(UserError, match="seed=0, now it is 1"):
        train(**arguments, seed=1)
    assert not log


def test_simulated_features_are_called_so(log, arguments, dataset_writer, tmp_path):
    write, make = dataset_writer
    folder = write(tmp_path / "simulated", {"training": make(3)})
    text = json.loads((folder / "manifest.json").read_text())
    text["source"] = {"source": "simulated"}
    (folder / "manifest.json").write_text(json.dumps(text))
    lines = []
    train(**{**arguments, "data_dir": folder}, streams=["rgb"], report=lines.append)
    assert lines[0] == f"{folder}: features are SIMULATED"


def test_a_precision_that_is_slow_here_is_told(log, arguments, monkeypatch):
    monkeypatch.setattr(train_model, "is_emulated", lambda precision: True)
    lines = []
    train(**arguments, precision="mixed_bfloat16", streams=["rgb"], report=lines.append)
    assert lines[0].startswith("precision mixed_bfloat16: this processor has no instruction")


def test_a_stop_that_was_asked_for_saves(arguments, tmp_path):
    """The real loop: after one step."""
    told = []
    with pytest.raises(Interrupted):
        train(**arguments, stop=lambda: True, progress=lambda *what: told.append(what[:3]))
    assert told == [("rgb cascade", 1, 24)]
    assert (tmp_path / "model" / "streams" / "rgb" / "cascade" / "checkpoint").exists()


def test_two_trainings_do_not_write_into_one_folder(arguments, monkeypatch):
    """The second is refused before it reads checkpoints, which the first would soon replace."""
    made, refused, make = [], [], train_model.ModuleTrainer
    monkeypatch.setattr(
        train_model, "ModuleTrainer", lambda **given: made.append(given) or make(**given)
    )

    def try_it(*_):
        with pytest.raises(UserError, match="rgb/cascade: another process is writing here"):
            train(**arguments)
        refused.append(True)

    with pytest.raises(Interrupted):
        train(**arguments, progress=try_it, stop=lambda: True)
    assert refused == [True] and len(made) == 1
