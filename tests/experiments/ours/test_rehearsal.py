"""The rehearsal's floor is counted right, and it runs to its end."""

import json

import pytest

from cpmn_tf.config import Config
from experiments import run
from experiments.ours import rehearsal


def test_operations_of_the_papers_steps():
    config = Config()
    # 2 stages · 2 operations · 6400 units; the first layer has no gradient of the features.
    convolutions = 2 * 2 * 6400 * (2 * 3 * 101 * 512 + 3 * 3 * 512 * 512)
    assert rehearsal.cascade_operations(config, 101) == pytest.approx(convolutions)
    # T-CAS, and the classifier's product with two gradients counted as if for every unit.
    classified = 2 * 2 * 6400 * 4 * 512 * 20
    expected = convolutions + classified
    assert rehearsal.cascade_operations(config, 101, 20) == pytest.approx(expected)
    # 16 windows of 64, 32, 16 and 8 units: 1920; both layers: 2·101·512 + 3·512·20.
    expected = 2 * 1920 * (2 * 101 * 512 + 3 * 512 * 20)
    assert rehearsal.pyramid_operations(config, 101, 20) == pytest.approx(expected)


def test_it_runs_and_adds_its_time_up(data_set, small_settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, "product_rates", lambda: (1e9, 1e9))
    short = [*small_settings, "training.epochs=1", "training.final_epochs=0"]
    arguments = [f"--data_dir={data_set}", f"--output_dir={tmp_path}", "--streams=flow"]
    arguments += [f"--set={item}" for item in short]
    for _ in range(2):
        assert run.main(["rehearsal", *arguments]) == 0
        figures = json.loads((tmp_path / "rehearsal.json").read_text())
        seconds = figures["seconds"]["clock"]
        assert seconds >= json.loads((tmp_path / "seconds.json").read_text())[0] > 0
    assert figures["streams"] == ["flow"]
    assert figures["floor_seconds"]["clock"] == pytest.approx(figures["operations"] / 1e9)
    assert "peak memory" in capsys.readouterr().out
