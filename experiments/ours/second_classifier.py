"""What keeps the second classifier from noise: one option at a time, without attention.

Where erasing leaves little of the action, the second classifier has only the rest to learn the
label from. Four ways to let it say less, each against the preset's mining row and the original
T-CAS:

- it pools over unerased units only, and its T-CAS is 0 on erased ones;
- it counts only where sigmoid(M(B)) is above 0.5, at inference alone;
- dropout 0.5 on its last features;
- ten times λ on its weights.

    python -m experiments.run second_classifier --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results/watch --seeds=5

Uses the models of Table 3, and trains them if need be. Writes second_classifier.json, .md and .png.
"""

from experiments.harness.study import Study, Variant
from experiments.paper.table3 import ALONE, PARTS, TO

OPTIONS = (
    "cascade.mining_pooling=unerased",
    "cascade.mining_gate=0.5",
    "cascade.mining_dropout=0.5",
    "training.mining_l2=10",
)
STUDY = Study(
    title="What keeps the second classifier from noise",
    paper="nothing; it has none of these.",
    variants=(*PARTS[:2], *(Variant(option, (ALONE, option), TO) for option in OPTIONS)),
)
