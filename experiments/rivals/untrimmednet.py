"""UntrimmedNet's selection module (Wang et al., CVPR 2017), soft and hard, on features.

The paper learns it together with a network on raw video; here it is on features, behind one layer
of one unit's context. With x_t the class scores of unit t:

- soft: a_t = softmax_t(w·Z_t), p = Σ_t a_t · softmax(x_t):
  :func:`cpmn_tf.models.layers.pool_softmax`;
- hard: p = softmax(x̄), x̄^c the mean of class c's k highest scores:
  :func:`cpmn_tf.models.layers.pool_top`, k being a share of the units here, ⌈T/k⌉;
- both: -Σ_c ȳ^c log p^c with ȳ the labels divided by their number:
  :func:`cpmn_tf.training.objectives.softmax_cross_entropy`.

Its detections also leave out units of low attention; here the class scores alone are cut, as CPMN
does. The paper was not at hand when this was written.
"""

from experiments import rivals

_BOTH = (*rivals.ONE, "cascade.layers=1", "cascade.kernel_size=1", "training.loss=softmax")
SOFT = (*_BOTH, "cascade.pooling=soft_selection")
HARD = (*_BOTH, "cascade.pooling=top", "cascade.pooling_k=8")
SOFT_OTHERS = {**rivals.OTHERS, "of scores before the softmax": ("cascade.pooling=attention",)}
HARD_OTHERS = {**rivals.OTHERS, "streams joined": ("data.fusion=early",)}
