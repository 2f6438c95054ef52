"""The paper's mathematics as Keras models; knows neither flags nor files."""

from cpmn_tf.models.cascade import CascadedClassifier, TemporalClassifier
from cpmn_tf.models.cpmn import CPMN
from cpmn_tf.models.pyramid import PyramidAttention

__all__ = ["CPMN", "CascadedClassifier", "PyramidAttention", "TemporalClassifier"]
