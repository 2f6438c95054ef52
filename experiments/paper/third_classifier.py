"""Section 4.3: one, two and three cascaded classifiers.

The paper: a third classifier, fed what the first two left, gives no significant improvement. The
row of one classifier is the CAM baseline, trained alone.

    python -m experiments.run third_classifier --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains one cascade per number of classifiers, seed and stream; the module is judged by itself,
without attention. Writes third_classifier.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

ALONE = "localization.attention=false"
STUDY = Study(
    title="A third classifier (Section 4.3)",
    paper="no significant improvement by a third classifier (THUMOS14, no figures).",
    variants=(
        Variant("one classifier", ("cascade.stages=1", ALONE)),
        Variant("two classifiers", (ALONE,)),
        Variant("three classifiers", ("cascade.stages=3", ALONE)),
    ),
)
