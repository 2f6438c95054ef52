"""The weak methods that CPMN is compared with, each by its equations and published settings.

A file holds ``SETTINGS``, what differs from ``BASE``, and ``OTHERS``, at most four other settings
by name, each on top of these. The functions are the package's own; ``experiments/ours/rivals.py``
says how long and on how many units each is trained, and runs them.
"""

from cpmn_tf.config import Config, LocalizationConfig, PyramidConfig

# One classifier, as CPMN's first, and nothing after it; localization as in CPMN's Section 3.5.
BASE = Config(
    preset="rivals",
    pyramid=PyramidConfig(levels=0),
    localization=LocalizationConfig(attention=False, mining=False),
)
ONE = ("cascade.stages=1", "cascade.erasing=none")

# What none of the published methods but W-TALC has, for ``OTHERS``.
BY_SHARE = ("localization.selection=score", "localization.class_threshold=0.1")
MID_RANGE = (
    "localization.threshold_range=min_max",
    "localization.thresholds=0.5",
    "localization.p_act_statistic=max",
    "localization.class_weight=0.7",
)
OTHERS = {
    "classes by share": BY_SHARE,
    "mid-range": MID_RANGE,
    "dropout": ("cascade.dropout=0.5",),
}
