"""Evaluation by the field's two protocols. Imports no TensorFlow."""

from cpmn_tf.evaluation.canonical import Counts
from cpmn_tf.evaluation.matching import Protocol
from cpmn_tf.evaluation.protocols import PROTOCOLS, evaluate, parse_tiou
from cpmn_tf.evaluation.results import Evaluation

__all__ = ["PROTOCOLS", "Counts", "Evaluation", "Protocol", "evaluate", "parse_tiou"]
