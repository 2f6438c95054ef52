"""CPMN and the weak methods that it is compared with, each by its published settings.

    python -m experiments.run rivals --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results/watch --seeds=5

`experiments/rivals/` has each method's equations and settings; this file says on what batches, at
what rates, for how many updates and on how many units of a video each is trained, CPMN as published
(`thumos14`) among them. They, and the preset `plus`, are the same on every data set, but for the
names of its splits. Another `--preset` has a row of its own, the only one that `--set` changes.
Minutes of training are of the processor, and the quickest seed's, since other work slows it, too.

Writes rivals.json, .md and .png.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from cpmn_tf.config import PRESETS
from cpmn_tf.data.manifest import Manifest
from experiments import rivals
from experiments.harness import report
from experiments.harness.lab import Lab, define_seeds
from experiments.harness.study import Result, Variant
from experiments.ours import one_out
from experiments.rivals import adversarial_erasing, cam, hide_and_seek, untrimmednet, wtalc

CPMN, PLUS = "CPMN, published", "plus"
# Of `one_out`, as many as each rival has.
PLUS_OTHERS = ("sigmoid alone", "dropout in both classifiers", "one classifier", "400 samples")
define_flags = define_seeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a rival is trained.

    Attributes:
      updates: at the first rate; a training has whole epochs, and so up to one more of them.
      final_updates: at the second rate, likewise.
      batch_size: videos per update.
      learning_rate: Adam's first rate.
      final_learning_rate: its second.
      units: of each video, in training.
    """

    updates: int = 200
    final_updates: int = 100
    batch_size: int = 16
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    units: int = 400

    def settings(self, videos: int) -> tuple[str, ...]:
        """As settings, for a number of training videos."""
        steps = -(-videos // self.batch_size)
        values = {
            "training.batch_size": self.batch_size,
            "training.learning_rate": self.learning_rate,
            "training.epochs": -(-self.updates // steps),
            "training.final_learning_rate": self.final_learning_rate,
            "training.final_epochs": -(-self.final_updates // steps),
            "cascade.units": self.units,
        }
        return tuple(f"{name}={value}" for name, value in values.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rival:
    """A method.

    Attributes:
      settings: the published ones, on top of :data:`experiments.rivals.BASE`.
      others: at most four others by name, on top of these.
      schedule: how it is trained.
      of_data: settings that depend on the data set.
      train: see :class:`~experiments.harness.study.Variant`.
    """

    settings: tuple[str, ...]
    others: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    schedule: Schedule = Schedule()
    of_data: Callable[[Manifest], tuple[str, ...]] = lambda _: ()
    train: Callable[..., pathlib.Path] | None = None


# Batches and rates that the papers print are of networks on images or raw video, except W-TALC's:
# the others have those of CPMN's Section 4.1, a third of the updates at the second rate as `watch`.
RIVALS = {
    "CAM": Rival(settings=cam.SETTINGS, others=cam.OTHERS),
    "Hide-and-Seek": Rival(
        settings=hide_and_seek.SETTINGS,
        others=hide_and_seek.OTHERS,
        schedule=Schedule(units=hide_and_seek.UNITS),
    ),
    "UntrimmedNet, soft": Rival(settings=untrimmednet.SOFT, others=untrimmednet.SOFT_OTHERS),
    "UntrimmedNet, hard": Rival(settings=untrimmednet.HARD, others=untrimmednet.HARD_OTHERS),
    "adversarial erasing, offline": Rival(
        settings=adversarial_erasing.SETTINGS,
        others=adversarial_erasing.OTHERS,
        train=adversarial_erasing.train,
    ),
    # CPMN's cascade by itself: what the offline one is compared with.
    "adversarial erasing, online": Rival(settings=adversarial_erasing.SETTINGS),
    "W-TALC": Rival(
        settings=wtalc.SETTINGS,
        others=wtalc.OTHERS,
        schedule=Schedule(
            updates=2500, final_updates=0, batch_size=10, learning_rate=1e-4, units=750
        ),
        of_data=wtalc.of_data,
    ),
}


def variants(lab: Lab, others: bool = False) -> list[Variant]:
    """The rows: each rival by its published settings and `plus`, and ``others`` too, or CPMN."""
    split, rows = lab.training, []
    for name, rival in RIVALS.items():
        settings = (*rival.schedule.settings(len(split)), *rival.of_data(split.manifest))
        settings = (*settings, *rival.settings)
        base = {"base": rivals.BASE, "train": rival.train}
        rows.append(Variant(name, settings, **base))
        for what, changed in rival.others.items() if others else ():
            rows.append(Variant(f"{name}: {what}", (*settings, *changed), to=(name,), **base))
    if others:
        rows.append(Variant(PLUS, base=PRESETS[PLUS]))
        for what in PLUS_OTHERS:
            own = {"to": (PLUS,), "base": PRESETS[PLUS]}
            rows.append(Variant(f"{PLUS}: {what}", one_out.PARTS[what], **own))
    else:
        schedule = Schedule().settings(len(split))
        rows.append(Variant(CPMN, schedule, base=PRESETS["thumos14"]))
        if lab.flags.preset != "thumos14":
            rows.append(Variant(f"CPMN, --preset={lab.flags.preset}"))
        rows.append(Variant(PLUS, base=PRESETS[PLUS]))
    return rows


def costs(lab: Lab, rows: list[Variant], results: list[Result]) -> dict[str, dict]:
    """By row, minutes of each seed's training, and how often it reads the training videos."""
    found = {}
    for row in rows:
        training = lab.resolved(row).training
        epochs = training.epochs + training.final_epochs
        found[row.name] = {
            "minutes": [result.minutes for result in report.results_of(results, row)],
            "passes": adversarial_erasing.passes(epochs) if row.train else epochs,
        }
    return found


def measure(lab: Lab, title: str, name: str, others: bool) -> None:
    """Trains and judges all rows and writes NAME.json, .md and .png."""
    rows = lab.distinct(variants(lab, others))
    results = lab.results(rows, lab.output / name)
    spent = costs(lab, rows, results)
    facts = {"title": title, "paper": "THUMOS14's rows are in Table 1.", **lab.describe()}
    facts |= {"seeds": lab.flags.seeds, "base": rivals.BASE.to_dict(), "costs": spent}
    table = [["training", "minutes", "passes over the training videos of each module"]]
    for row, cost in spent.items():
        table.append([row, f"{min(cost['minutes']):.1f}", str(cost["passes"])])
    reference = next((i for i, row in enumerate(rows) if row.name == CPMN), 0)
    report.publish(lab.output / name, facts, rows, results, reference, report.markdown(table))


def run(lab: Lab) -> None:
    """Measures the published settings."""
    measure(lab, "CPMN and its rivals", "rivals", others=False)
