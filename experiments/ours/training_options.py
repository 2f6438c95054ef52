"""What the method's open points do in training: one option at a time against the preset.

The paper leaves them open or contradicts itself; `--print_config` says what each one means.

    python -m experiments.run training_options --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Trains the modules that an option changes, per seed and stream; the rest is Table 3's. Writes
training_options.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

RESIZED = "data.resize_units=64"
OPTIONS = (
    ("cascade.layers=1",),
    ("cascade.layers=3",),
    ("cascade.erasing=random",),
    ("cascade.erasing=none",),
    ("cascade.erased_classes=per_class",),
    ("cascade.erased_value=mean",),
    ("cascade.sampling=uniform", "cascade.interval=2"),
    ("pyramid.lateral=bottom_up",),
    ("pyramid.lateral=none",),
    ("training.pyramid_l2=0.0025",),
    ("training.class_reduction=mean",),
    (RESIZED,),
    (RESIZED, "data.resize_modules=pyramid"),
)
STUDY = Study(
    title="Options that act in training",
    paper="nothing; these are the points it leaves open.",
    variants=[Variant("the preset"), *(Variant(", ".join(item), item) for item in OPTIONS)],
    reference=0,
)
