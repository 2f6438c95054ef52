"""Models are shared where they are the same, to the bit."""

import numpy as np

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.training import load_model, train
from cpmn_tf.training.model_folder import MODULES, module_folder
from experiments.harness.bank import minutes, module_settings, train_once


def test_a_module_depends_on_its_own_settings_alone():
    config = Config()
    other = with_overrides(
        config, ["cascade.threshold=0.7", "localization.top_k=5", "training.validate_every=3"]
    )
    assert module_settings(config, "pyramid") == module_settings(other, "pyramid")
    assert module_settings(config, "cascade") != module_settings(other, "cascade")
    windows = with_overrides(config, ["pyramid.window=128"])
    assert module_settings(config, "cascade") == module_settings(windows, "cascade")
    rates = with_overrides(config, ["training.learning_rate=0.1"])
    for module in MODULES:
        assert module_settings(config, module) != module_settings(rates, module)
        # A setting that was not there yet when the module was trained is not among them.
        assert module_settings(config, module) == {}


def test_bank_shares_what_is_the_same_and_changes_no_bit(data_set, small_settings, tmp_path):
    short = [*small_settings, "training.epochs=1", "training.final_epochs=1"]
    config = with_overrides(Config(), short)
    changed = with_overrides(config, ["cascade.threshold=0.9"])
    one = train_once(tmp_path / "bank", data_set, config, seed=3)
    two = train_once(tmp_path / "bank", data_set, changed, seed=3)
    assert one != two and train_once(tmp_path / "bank", data_set, config, seed=3) == one
    for stream in ("rgb", "flow"):
        names = sorted(path.name for path in module_folder(one, stream, "pyramid").iterdir())
        for name in names:
            first, second = (module_folder(m, stream, "pyramid") / name for m in (one, two))
            assert first.samefile(second)
    # What a module took goes with it, wherever it is: here two pyramids of four modules.
    assert minutes(one) > 0 and minutes(two) > 0
    for stream in ("rgb", "flow"):
        spent = [module_folder(m, stream, "pyramid") / "seconds.json" for m in (one, two)]
        assert spent[0].read_text() == spent[1].read_text()
    alone = tmp_path / "alone"
    train(data_dir=data_set, model_dir=alone, config=changed, seed=3, streams=["flow"])
    ours, alone = (load_model(folder, streams=["flow"]) for folder in (two, alone))
    for left, right in zip(ours.variables, alone.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
