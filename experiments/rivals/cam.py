"""CAM, class activation mapping (Zhou et al., CVPR 2016), in time: the row that CPMN begins with.

- s^c = Σ_k w^c(k) · mean_t Z_t(k) + b^c, global average pooling and a linear classifier:
  :meth:`cpmn_tf.models.cascade.TemporalClassifier.scores`;
- M_t^c = Σ_k w^c(k) Z_t(k), the map: :meth:`cpmn_tf.models.cascade.TemporalClassifier.tcas`;
- every run above 20 % of the map's maximum is a detection:
  :func:`cpmn_tf.localization.proposals.propose`.

The network before the pooling, in the paper one for images, is CPMN's: two convolutions of kernel 3
and 512 filters (its Section 4.3 has this row). In the paper the largest run is the detection; here
each is, as videos hold several instances.
"""

from experiments import rivals

SETTINGS = (*rivals.ONE, "localization.thresholds=0.2")
OTHERS = {**rivals.OTHERS, "streams joined": ("data.fusion=early",)}
