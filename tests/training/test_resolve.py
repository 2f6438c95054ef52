"""What a preset leaves to the data set is filled in by the training videos, once."""

import pytest

from cpmn_tf import load_model, train
from cpmn_tf.config import Config, with_overrides, with_settings
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.models import CPMN
from cpmn_tf.training.resolve import resolve

OPEN = with_settings(Config(), {"cascade.units": 0, "training.updates": 100})


@pytest.mark.parametrize(
    "lengths, rate, units",
    [
        ([1300, 900, 1500], 10.0, 260),  # 2 per second of the median video
        ([3000, 10_000], 10.0, 400),  # at most
        ([3], 10.0, 200),  # at least
        ([200, 240], 1.5625, 282),
        ([300, 300, 90], None, 300),  # rates differ: the median video's own units
    ],
)
def test_samples_are_two_per_second_of_the_median_video(lengths, rate, units):
    assert resolve(OPEN, lengths, rate).cascade.units == units


@pytest.mark.parametrize("videos, epochs, wanted", [(33, 0, 34), (33, 50, 50), (5000, 0, 1)])
def test_epochs_are_raised_to_as_many_as_give_the_updates(videos, epochs, wanted):
    config = with_settings(OPEN, {"training.epochs": epochs})
    assert resolve(config, [100] * videos, 10.0).training.epochs == wanted


def test_what_is_given_stays():
    assert resolve(Config(), [10, 20], 5.0) == Config()


def test_the_first_training_saves_it_and_a_second_call_goes_on(data_set, small_settings, tmp_path):
    config = with_overrides(Config(), small_settings)
    left_open = {"cascade.units": 0, "training.updates": 5}
    schedule = {"training.epochs": 0, "training.final_epochs": 0}
    config = with_settings(config, {**left_open, **schedule})
    wanted = {"data_dir": data_set, "model_dir": tmp_path / "model", "config": config}
    manifest = train(**wanted)
    split = Split.open(data_set, config.data.train_split)
    assert manifest.config == resolve(config, split.lengths, split.manifest.rate)
    assert manifest.config != config
    lines = []
    assert train(**wanted, report=lines.append).config == manifest.config
    assert lines and all("finished before" in line for line in lines)
    assert load_model(tmp_path / "model").config == manifest.config


def test_a_model_is_not_made_of_what_is_left_open():
    config = with_settings(Config(), {"cascade.units": 0})
    with pytest.raises(UserError, match="train a model, or set it"):
        CPMN(streams={"rgb": 4}, num_classes=2, config=config)
