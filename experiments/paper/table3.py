"""Table 3: what each part of the method adds, from one training per seed.

The paper (THUMOS14, mAP at tIoU 0.5): original T-CAS 11.4, with mining T-CAS 14.5, with the
pyramidal attention map 16.1.

    cpmn-build-records --source=watch --output_dir=runs/watch
    python -m experiments.paper.table3 --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Two minutes a seed on `watch` on 2 cores. Writes table3.json, .md and .png.
"""

import sys

from absl import flags

from cpmn_tf.commands import cli
from experiments.harness.report import write
from experiments.harness.study import Study, Variant, define_flags
from experiments.harness.table3_rows import TABLE3

PAPER = "original T-CAS 11.4, + mining T-CAS 14.5, + attention 16.1 (THUMOS14, tIoU 0.5)."
ROWS = [Variant(name, settings) for name, settings in TABLE3.items()]


def run(values: flags.FlagValues) -> None:
    """Runs all rows and seeds."""
    study = Study(values)
    write(study, "table3", "Table 3: parts of CPMN", PAPER, ROWS, study.results(ROWS))


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.paper.table3", __doc__, define_flags, run))
