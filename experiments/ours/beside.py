"""Pictures of `plus` beside those of a rival, on one video: what each cuts, and what it finds.

The video is that of Figure 4 (`fig4_fig6`), chosen from the annotations alone; the classes are
those that it is labelled with.

    python -m experiments.run beside --rival=W-TALC --data_dir=runs/simulated_several \\
        --output_dir=runs/results/simulated_several

Uses the models of `rivals`, seed 0, and trains them if need be. Writes beside_plus.png and
beside_RIVAL.png.
"""

import dataclasses

from cpmn_tf.commands import cli
from cpmn_tf.config import parse_settings
from cpmn_tf.training import load_model
from experiments.harness.lab import Lab
from experiments.ours import rivals
from experiments.paper import fig4_fig6


def define_flags(values: cli.Flags) -> None:
    """The rival."""
    values.choice("rival", list(rivals.RIVALS), "A row of `rivals`.", default="W-TALC")


def run(lab: Lab) -> None:
    """Draws both pictures."""
    video_id = fig4_fig6.chosen(lab.truth)["fig4"]
    rows = {row.name: row for row in rivals.variants(lab)}
    for name in (rivals.PLUS, lab.flags.rival):
        folder, settings = lab.trained(rows[name], 0)
        model = load_model(folder, parse_settings(settings))
        curves = fig4_fig6.curves_of(lab, model, video_id)
        own = tuple(item for item in curves.classes if item.labelled)
        path = lab.output / f"beside_{name.replace(', ', '_')}.png"
        fig4_fig6.save(path, dataclasses.replace(curves, classes=own))
        print(f"{path}: {name}, {video_id}", flush=True)
