"""What the method's open points do: one option at a time against the preset, from one training.

The paper leaves them open or contradicts itself; `--print_config` says what each one means. All of
them act after training, so that every row of a seed is the same model.

    python -m experiments.run options --preset=watch --data_dir=runs/watch \\
        --output_dir=runs/results

Uses the models of Table 3, and trains them if need be. Writes options.json, .md and .png.
"""

from experiments.harness.study import Study, Variant

OPTIONS = (
    "localization.p_class=all",
    "localization.p_class=first",
    "localization.p_act=phi",
    "localization.p_act=raw",
    "localization.fusion=sigmoid",
    "localization.fusion=raw",
    "localization.confidence=product",
    "localization.confidence=outer_inner",
    "cascade.inference_erasing=per_class",
    "cascade.inference_erasing=union",
    "cascade.combine=normalized",
    "cascade.inference=every_unit",
    "localization.nms=soft",
)
STUDY = Study(
    title="Options that act after training",
    paper="nothing; these are the points it leaves open.",
    # An option that the preset has already is the same as the first row, and so left out.
    variants=[Variant("the preset"), *(Variant(option, (option,)) for option in OPTIONS)],
    reference=0,
)
