"""How the T-CAS is brought to [0, 1] before the erasing threshold ζ: the paper does not say.

Algorithm 1 compares M(A) with ζ as if it were in [0, 1]. `min_max` stretches each class's sequence
from its minimum to its maximum, so that ζ may lie below 0 where the sequence has deep valleys;
`ratio_to_max` erases what exceeds ζ times the maximum; `sigmoid` is the sequence's probability.

    python -m experiments.run normalization --preset=watch --data_dir=runs/watch_val \\
        --split=validation --output_dir=runs/results/watch_val

Trains one cascade per form, seed and stream; the module is judged by itself, without attention.
Writes normalization.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

ALONE = "localization.attention=false"
STUDY = Study(
    title="How the T-CAS is normalised before ζ",
    paper="nothing of how M(A) is normalised before ζ = 0.4.",
    variants=(
        Variant("original T-CAS (no erasing)", (ALONE, "localization.mining=false")),
        Variant("min_max", ("cascade.normalization=min_max", ALONE)),
        Variant("ratio_to_max", ("cascade.normalization=ratio_to_max", ALONE)),
        Variant("sigmoid", ("cascade.normalization=sigmoid", ALONE)),
    ),
    reference=0,
)
