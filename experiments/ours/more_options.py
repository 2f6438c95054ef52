"""What further options of inference and localization do: those that `options` does not measure.

    python -m experiments.run more_options --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Uses the models of Table 3, and trains them if need be. Writes more_options.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

OPTIONS = (
    "cascade.inference_erasing=none",
    "localization.thresholds=0.2,0.4,0.6",
    "localization.nms=none",
)
STUDY = Study(
    title="Further options that act after training",
    paper="nothing; these are the points it leaves open.",
    variants=[Variant("the preset"), *(Variant(option, (option,)) for option in OPTIONS)],
    reference=0,
)
