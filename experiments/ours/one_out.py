"""What each part of the preset `plus` gives: one changed at a time.

    python -m experiments.run one_out --preset=plus --data_dir=runs/watch \\
        --output_dir=runs/results/watch --seeds=3

On folds of the training videos (`make experiments-recipe`) this is what the recipe was chosen by.
Writes one_out.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

PARTS = {
    "softmax alone": ("training.loss=softmax",),
    "sigmoid alone": ("training.loss=sigmoid",),
    "no co-activity loss": ("training.coactivity=0",),
    "no dropout": ("cascade.dropout=0",),
    "dropout in both classifiers": ("cascade.mining_dropout=0.7",),
    "average pooling": ("cascade.pooling=average",),
    "one classifier": ("cascade.stages=1", "localization.mining=false"),
    "the classifiers' maximum": ("cascade.combine=raw",),
    "the second learns from erased features": (
        "cascade.erasing=adversarial",
        "cascade.inference_erasing=none",
    ),
    "the second learns from randomly erased ones": ("cascade.erasing=random",),
    "with a pyramid": (
        "pyramid.levels=4",
        "pyramid.filters=128",
        "localization.attention=true",
        "localization.fusion=raw",
    ),
    "two convolutions": ("cascade.layers=2",),
    "kernel 1": ("cascade.kernel_size=1",),
    "streams separate": ("data.fusion=separate",),
    "400 samples": ("cascade.units=400",),
    "cut at mid-range alone": ("localization.thresholds=0.5",),
    "cut at 0.5 to 0.8": ("localization.thresholds=0.5,0.6,0.7,0.8",),
    "cut at shares of the maximum": ("localization.threshold_range=max",),
    "maximum of a proposal": ("localization.p_act_statistic=max",),
    "class weight 0.7": ("localization.class_weight=0.7",),
    "two classes": ("localization.top_k=2",),
    "classes and product as CPMN": (
        "localization.class_score=probability",
        "localization.class_weight=0",
        "localization.selection=score",
        "localization.class_threshold=0.1",
    ),
}
STUDY = Study(
    title="What each part of the preset plus gives",
    paper="nothing; CPMN has none of these parts but the erasing and the pyramid.",
    variants=[Variant("plus"), *(Variant(name, parts) for name, parts in PARTS.items())],
    reference=0,
)
