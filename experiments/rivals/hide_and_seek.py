"""Hide-and-Seek (Singh & Lee, ICCV 2017), on features, as the paper does for actions.

- In training each segment of a video is hidden with p = 0.5, drawn anew each time it is seen:
  :func:`cpmn_tf.models.erasing.random_mask`; a hidden unit has the mean feature:
  :func:`cpmn_tf.models.erasing.erase`. Theirs is the data set's mean, here it is the video's.
- Two convolutions of kernel 1 and 500 filters, the maximum over time, and a softmax:
  s^c = max_t M_t^c + b^c, :func:`cpmn_tf.models.layers.pool_top` with ⌈T/k⌉ = 1, and
  :func:`cpmn_tf.training.objectives.softmax_cross_entropy`.
- At inference nothing is hidden, and runs above 50 % of the class's map are detections:
  :func:`cpmn_tf.localization.proposals.propose`.

A video has 20 segments there, of 100 of its 2,000 units; here of 20 of 400. The paper was not at
hand when this was written.
"""

from experiments import rivals

UNITS, SEGMENTS = 400, 20
SETTINGS = (
    "cascade.stages=1",
    "cascade.erasing=hide_and_seek",
    f"cascade.random_segment={UNITS // SEGMENTS}",
    "cascade.random_rate=0.5",
    "cascade.erased_value=mean",
    "cascade.kernel_size=1",
    "cascade.filters=500",
    "cascade.pooling=top",
    f"cascade.pooling_k={UNITS}",
    "training.loss=softmax",
    "localization.thresholds=0.5",
)
_AS_CAM = ("cascade.pooling=average", "cascade.kernel_size=3")
OTHERS = {**rivals.OTHERS, "average pooling, kernel 3": _AS_CAM}
