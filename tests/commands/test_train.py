"""`cpmn-train`: flags, refusals, settings, TensorBoard."""

import json
import signal

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.commands import localize, train
from cpmn_tf.config import PRESETS, Config, describe, with_overrides
from cpmn_tf.training import load_model, train_model


def error_of(capsys, code, *arguments) -> str:
    """Runs the command, which must fail with ``code`` and one line; returns the line."""
    assert train.main(list(arguments)) == code
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert len(lines) == 1, output.err
    return lines[0]


def test_print_config_lists_every_field_and_takes_set(capsys):
    assert train.main(["--print_config", "--preset=thumos14", "--set=cascade.threshold=0.5"]) == 0
    shown = capsys.readouterr().out
    assert shown.strip() == describe(with_overrides(PRESETS["thumos14"], ["cascade.threshold=0.5"]))
    for line in ("cascade.threshold=0.5", "training.epochs=30", "pyramid.window=64"):
        assert line in shown.splitlines()


def test_thumos14_is_the_papers_schedule():
    # Section 4.1 and 3.5 of the paper, figure by figure.
    config = PRESETS["thumos14"]
    training, cascade = config.training, config.cascade
    assert (training.batch_size, training.learning_rate, training.epochs) == (16, 1e-3, 30)
    assert (training.final_learning_rate, training.final_epochs) == (1e-4, 120)
    assert training.cascade_l2 == 0.0025
    assert (cascade.stages, cascade.threshold) == (2, 0.4)
    assert (cascade.filters, cascade.layers) == (512, 2)
    assert (config.pyramid.window, config.pyramid.levels, config.pyramid.filters) == (64, 4, 512)
    assert config.localization.thresholds == (0.2,)
    assert (config.localization.top_k, config.localization.nms_threshold) == (2, 0.3)
    anet = PRESETS["activitynet13"]
    assert anet.data.resize_units == 64
    assert (anet.localization.top_k, anet.localization.nms_threshold) == (1, 0.5)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "--data_dir must be given"),
        (["--preset=thumos15"], "preset"),
        (["--nonsense=1"], "nonsense"),
        (["--seed=-1"], "seed"),
        (["stray"], "stray"),
        (["--precision=float8"], "precision"),
    ],
)
def test_wrong_flags_end_with_2(capsys, arguments, expected):
    assert expected in error_of(capsys, 2, *arguments)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--set=cascade.filters=none"], "--set=cascade.filters=none"),
        (["--set=cascade.nothing=1"], "there is no setting cascade.nothing"),
        (["--set=cascade.thresold=0.3"], "did you mean cascade.threshold?"),
        (["--set=nowhere.near=1"], "no setting nowhere.near; cpmn-train --print_config lists them"),
        (["--set=cascade.units"], "write it as section.field=value"),
        (["--set=cascade.units=1e3"], "'1e3' is not a whole number"),
        (["--set=cascade.units=-1"], "below 0"),
        (["--set=cascade.units=99999999999999999999"], "beyond 2147483647"),
        (["--set=cascade.threshold=0,4"], "'0,4' is not a number"),
        (["--set=cascade.threshold=nan"], "not a finite number"),
        (["--set=cascade.sampling=dense"], "sparse, uniform, shot"),
        (["--set=localization.mining=maybe"], "'maybe' is not true or false"),
        (["--set=localization.thresholds=0.1;0.2"], "not a list of numbers"),
        (["--set=localization.thresholds="], "at least one number"),
        (["--data_dir=/nowhere", "--model_dir=/tmp/never_made"], "/nowhere/manifest.json"),
    ],
)
def test_wrong_values_end_with_1(capsys, arguments, expected):
    assert expected in error_of(capsys, 1, *arguments)


def test_flags_can_come_from_a_file(capsys, tmp_path):
    (tmp_path / "flags").write_text("--preset=watch\n--set=cascade.units=7\n--print_config\n")
    assert train.main([f"--flagfile={tmp_path / 'flags'}", "--set=cascade.filters=5"]) == 0
    shown = capsys.readouterr().out
    assert "cascade.units=7" in shown and "cascade.filters=5" in shown
    assert "pyramid.window=512" in shown


def test_unknown_split_names_those_there_are(capsys, data_set, tmp_path):
    line = error_of(
        capsys, 1, f"--data_dir={data_set}", f"--model_dir={tmp_path / 'm'}", "--split=other"
    )
    assert "'other'" in line and "training, testing" in line
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "change, expected",
    [
        (["--set=cascade.threshold=0.3"], "config.cascade.threshold=0.4, now it is 0.3"),
        (["--seed=1"], "seed=0, now it is 1"),
        (["--split=testing"], "train_split"),
    ],
)
def test_a_folder_of_another_model_is_refused(
    capsys, data_set, model_dir, small_settings, change, expected
):
    settings = [f"--set={item}" for item in small_settings]
    line = error_of(
        capsys, 1, f"--data_dir={data_set}", f"--model_dir={model_dir}", *settings, *change
    )
    assert "model.json" in line and expected in line


def test_a_folder_that_cannot_be_written_is_named(capsys, data_set, tmp_path, small_settings):
    """Nobody makes files below /sys, not even root; first of a new folder, then of an old one."""
    arguments = [f"--data_dir={data_set}", *(f"--set={item}" for item in small_settings)]
    line = error_of(capsys, 1, *arguments, "--model_dir=/sys/kernel/model")
    assert "error: /sys/kernel/model/model.json: cannot be written (" in line
    (tmp_path / "streams").symlink_to("/sys/kernel")
    line = error_of(capsys, 1, *arguments, f"--model_dir={tmp_path}")
    assert f"error: {tmp_path}/streams/rgb: cannot be written (" in line


def test_a_data_set_of_other_classes_is_refused(
    capsys, tmp_path, dataset_writer, model_dir, small_settings
):
    write, make = dataset_writer
    folder = write(tmp_path / "other", {"training": make(4), "testing": make(2)})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["classes"][0] = "Climb"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    settings = [f"--set={item}" for item in small_settings]
    line = error_of(capsys, 1, f"--data_dir={folder}", f"--model_dir={model_dir}", *settings)
    assert "more classes: 'Climb', fewer classes: 'Dive'" in line


def test_finished_training_is_reported_and_left(capsys, data_set, model_dir, small_settings):
    settings = [f"--set={item}" for item in small_settings]
    assert train.main([f"--data_dir={data_set}", f"--model_dir={model_dir}", *settings]) == 0
    assert capsys.readouterr().out.count("finished before") == 4


def tags(folder) -> set[str]:
    found = set()
    for path in folder.glob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found |= {value.tag for value in event.summary.value}
    return found


def test_tensorboard_holds_losses_rates_pictures_and_hyperparameters(model_dir):
    found = tags(model_dir / "tensorboard" / "rgb_cascade")
    assert {
        "loss/classification",
        "loss/regularization",
        "loss/total",
        "rate/learning_rate",
        "rate/steps_per_second",
        "_hparams_/session_start_info",
    } <= found
    assert sum(tag.startswith("T-CAS/") for tag in found) == 3


def test_validation_writes_video_and_localization_map(capsys, data_set, tmp_path, small_settings):
    settings = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    arguments = [f"--data_dir={data_set}", f"--model_dir={tmp_path / 'm'}", "--streams=flow"]
    arguments += [f"--set={item}" for item in (*settings, "training.pictures=0")]
    assert train.main([*arguments, "--validation_split=testing"]) == 0
    assert "video_mAP" in capsys.readouterr().out
    for module in ("cascade", "pyramid"):
        found = tags(tmp_path / "m" / "tensorboard" / f"flow_{module}")
        assert {
            "validation/video_mAP",
            "validation/localization_mAP_activitynet@0.5",
            "validation/localization_mAP_activitynet_average",
        } <= found


def test_config_round_trip():
    for config in PRESETS.values():
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_streams_trained_one_by_one_give_the_same_model(
    data_set, model_dir, small_settings, tmp_path, capsys
):
    settings = [f"--set={item}" for item in (*small_settings, "training.pictures=0")]
    arguments = [f"--data_dir={data_set}", f"--model_dir={tmp_path / 'model'}", *settings]
    assert train.main([*arguments, "--streams=flow"]) == 0
    localized = [f"--data_dir={data_set}", f"--output={tmp_path / 'found.json'}"]
    one = [*localized, f"--model_dir={tmp_path / 'model'}"]
    assert localize.main(one) == 1  # rgb is not trained yet
    assert "cpmn-train" in capsys.readouterr().err
    assert localize.main([*one, "--streams=flow"]) == 0
    flow_alone = (tmp_path / "found.json").read_text()
    assert train.main([*arguments, "--streams=rgb"]) == 0
    assert localize.main(one) == 0
    both = json.loads((tmp_path / "found.json").read_text())["results"]
    assert both != json.loads(flow_alone)["results"]
    ours, theirs = load_model(tmp_path / "model"), load_model(model_dir)  # trained in one call
    for left, right in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_unknown_stream_is_named(data_set, small_settings, tmp_path, capsys):
    settings = [f"--set={item}" for item in small_settings]
    arguments = [f"--data_dir={data_set}", f"--model_dir={tmp_path / 'model'}", *settings]
    assert "--streams=audio" in error_of(capsys, 1, *arguments, "--streams=audio")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_a_second_one_acts_at_once(number):
    before = signal.getsignal(number)
    with train._stop_requests() as requested:
        signal.raise_signal(number)
        assert requested == [number]
        for either in (signal.SIGINT, signal.SIGTERM):
            assert signal.getsignal(either) == signal.SIG_DFL
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_step_is_not_lost(number, monkeypatch, capsys, tmp_path):
    """What runs the command, such as a loop over seeds, sees that it was asked to stop."""

    def trained(**_):
        signal.raise_signal(number)

    monkeypatch.setattr(train_model, "train", trained)
    assert train.main([f"--data_dir={tmp_path}", f"--model_dir={tmp_path / 'm'}"]) == 128 + number
    assert f"model: {tmp_path / 'm'}" in capsys.readouterr().out
