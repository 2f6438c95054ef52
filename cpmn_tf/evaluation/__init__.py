"""Evaluation by the field's two protocols, and why a detector errs. Imports no TensorFlow."""

from cpmn_tf.evaluation.canonical import Counts
from cpmn_tf.evaluation.protocols import (
    DEFAULT_TIOU,
    PROTOCOLS,
    Evaluation,
    evaluate,
    parse_tiou,
)

__all__ = ["DEFAULT_TIOU", "PROTOCOLS", "Counts", "Evaluation", "evaluate", "parse_tiou"]
