"""The study of the rivals: its rows, how they are trained; a second run changes nothing."""

import dataclasses
import functools
import json

import pytest

from cpmn_tf.commands import cli
from cpmn_tf.config import with_overrides
from experiments import run
from experiments.harness import lab
from experiments.harness.bank import digest
from experiments.harness.study import PROTOCOLS, Result
from experiments.ours import rivals
from experiments.rivals import BASE


@pytest.mark.parametrize(
    "videos, batch, updates, epochs",
    [(96, 10, 2500, 250), (400, 10, 2500, 63), (97, 16, 200, 29), (5, 16, 0, 0)],
)
def test_updates_are_whole_epochs(videos, batch, updates, epochs):
    """Steps of an epoch: 10, 40, 7, 1; 62 epochs of 40 would be 2480."""
    schedule = rivals.Schedule(batch_size=batch, updates=updates, final_updates=0)
    settings = schedule.settings(videos)
    assert f"training.epochs={epochs}" in settings
    assert {f"training.batch_size={batch}", "training.final_epochs=0"} <= set(settings)


def a_lab(data_set, tmp_path, *arguments) -> lab.Lab:
    found = []
    flags = [f"--data_dir={data_set}", f"--output_dir={tmp_path}", "--preset=watch", *arguments]
    define = functools.partial(lab.define_flags, rivals)
    assert cli.execute("rivals", "", define, found.append, flags) == 0
    return lab.Lab(found[0])


def test_rows_have_their_own_settings_and_the_data_sets_splits(data_set, tmp_path):
    here = a_lab(data_set, tmp_path, "--set=cascade.filters=7")
    rows = here.distinct(rivals.variants(here))
    names = [row.name for row in rows]
    assert names[: len(rivals.RIVALS)] == list(rivals.RIVALS)
    assert names[len(rivals.RIVALS) :][:2] == ["CPMN, published", "CPMN, --preset=watch"]
    for row in rows:
        config = here.configured(row)
        assert config.data.train_split == "training"
        assert (config.cascade.filters == 7) == (row.name == "CPMN, --preset=watch")
        if row.name in rivals.RIVALS:
            assert not config.pyramid.levels and not config.localization.attention
    w_talc = here.configured(rows[names.index("W-TALC")])
    # Widths 12 and 8; two units of 0.1 s, less half of one.
    assert w_talc.cascade.filters == 20 and w_talc.localization.min_seconds == pytest.approx(0.15)
    assert w_talc.training.epochs == 2500  # 10 videos, a batch


def test_a_result_is_of_its_settings_training_and_seed(data_set, tmp_path):
    here = a_lab(data_set, tmp_path)
    rows = here.distinct(rivals.variants(here))
    keys = {here._key(row, seed) for row in rows for seed in (0, 1)}
    assert len(keys) == 2 * len(rows)
    renamed = dataclasses.replace(rows[0], name="another name", to=("CAM",))
    assert here._key(renamed, 0) == here._key(rows[0], 0)
    half = a_lab(data_set, tmp_path, "--precision=mixed_bfloat16")
    assert half._key(rows[0], 0) != here._key(rows[0], 0)


def test_every_rival_has_at_most_four_other_settings(data_set, tmp_path):
    here = a_lab(data_set, tmp_path)
    rows = rivals.variants(here, others=True)
    assert here.distinct(rows) == rows
    for name, rival in rivals.RIVALS.items():
        number = 0 if name == "adversarial erasing, online" else 4
        assert len(rival.others) == number
        assert [row.to for row in rows if row.name.startswith(f"{name}: ")] == [(name,)] * number
        for settings in rival.others.values():
            with_overrides(BASE, [*rival.settings, *settings])


def test_table_and_costs(data_set, tmp_path, monkeypatch):
    """With made-up results: trainings take a minute and two."""

    def made_up(self, variant, seed, known):
        name = f"{digest(variant.name)}_seed{seed}"
        both = {protocol: [0.2, 0.4] for protocol in PROTOCOLS}
        return Result(variant.name, seed, [0.1, 0.5], both, 1.0, 9, 0, name, seed + 1.0)

    monkeypatch.setattr(lab.Lab, "_result", made_up)
    arguments = [f"--data_dir={data_set}", f"--output_dir={tmp_path}", "--seeds=2"]
    arguments += ["--preset=watch"]
    for name in ("rivals", "rivals_otherwise"):
        assert run.main([name, *arguments]) == 0
    found = json.loads((tmp_path / "rivals.json").read_text())
    assert list(found["variants"])[: len(rivals.RIVALS)] == list(rivals.RIVALS)
    costs = found["costs"]
    assert costs["CAM"] == {"minutes": [1.0, 2.0], "passes": 300}  # 10 videos: a batch an epoch
    assert costs["adversarial erasing, offline"]["passes"] == 601
    assert costs["adversarial erasing, online"]["passes"] == 300
    text = (tmp_path / "rivals.md").read_text()
    assert "| W-TALC | 1.0 | 2500 |" in text and "Δ ± s.e. to CPMN, published" in text
    other = (tmp_path / "rivals_otherwise.md").read_text()
    assert "+0.0 ± 0.0 to CAM | " in other and "| CAM: dropout | 1.0 | 300 |" in other
