"""Each rival by other settings than its published ones: four each, one at a time.

    python -m experiments.run rivals_otherwise --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results/watch --seeds=1

Shares the models of `rivals`, which says how each is trained; what acts after training needs none
of its own. Writes rivals_otherwise.json, .md and .png.
"""

from experiments.harness.lab import Lab, define_seeds
from experiments.ours import rivals

define_flags = define_seeds


def run(lab: Lab) -> None:
    """Measures."""
    rivals.measure(lab, "Rivals by other settings", "rivals_otherwise", others=True)
