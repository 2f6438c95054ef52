"""W-TALC (Paul, Roy & Roy-Chowdhury, ECCV 2018).

On the joined streams' features X_t of D channels (``data.fusion=early``):

- Z_t = dropout(ReLU(W X_t + b)), D units of one unit's context, dropout 0.7:
  :meth:`cpmn_tf.models.cascade.TemporalClassifier.encode`;
- A_t^c = w^c·Z_t + b^c, the class activations: M_t^c = A_t^c - b^c,
  :meth:`cpmn_tf.models.cascade.TemporalClassifier.tcas`; b^c changes no run and no order;
- s^c, the mean of A^c's highest ⌈T/8⌉: :func:`cpmn_tf.models.layers.pool_top`;
- multiple-instance loss, -Σ_c ȳ^c log softmax(s)^c:
  :func:`cpmn_tf.training.objectives.softmax_cross_entropy`;
- co-activity similarity loss: :func:`cpmn_tf.training.objectives.coactivity_terms`;
- both weigh 0.5, and the weights decay by 5e-4: here twice that, 1, 1 and 1e-3.

A batch of 10 holds 5 pairs that share a class; theirs at least 3. Of a video of over 750 units 750
are seen in training, one of each of as many segments; theirs are a stretch.

Detections: classes whose s^c is above 0; runs of A^c above the middle between its minimum and its
maximum, of two units or more (so their code); scored by max A^c + 0.7·s^c; none is suppressed. The
best class is kept here even where its s^c is not above 0.
"""

from collections.abc import Mapping

from cpmn_tf.data.manifest import Manifest
from experiments import rivals

SETTINGS = (
    *rivals.ONE,
    "data.fusion=early",
    "cascade.layers=1",
    "cascade.kernel_size=1",
    "cascade.dropout=0.7",
    "cascade.pooling=top",
    "cascade.pooling_k=8",
    "cascade.inference=every_unit",
    "training.group_size=2",
    "training.loss=softmax",
    "training.coactivity=1",
    "training.cascade_l2=0.001",
    "localization.selection=absolute",
    "localization.class_threshold=0",
    "localization.class_score=logit",
    *rivals.MID_RANGE,
    "localization.nms=none",
)
OTHERS: Mapping[str, tuple[str, ...]] = {
    "kernel 3": ("cascade.kernel_size=3",),
    "kernel 3, 512 filters": ("cascade.kernel_size=3", "cascade.filters=512"),
    "sigmoid": ("training.loss=sigmoid",),
    "classes by share": (*rivals.BY_SHARE, "localization.class_score=probability"),
}


def of_data(manifest: Manifest) -> tuple[str, ...]:
    """D; and two units as seconds, less half of one for rounding.

    Where videos' rates differ there is no such number, and runs of one unit are kept.
    """
    settings = (f"cascade.filters={sum(spec.width for spec in manifest.streams)}",)
    if manifest.rate is None:
        return settings
    return (*settings, f"localization.min_seconds={1.5 / manifest.rate}")
