"""Post-processing: fused T-CAS in, scored and suppressed detections out.

TensorFlow ops only, so that the command line and the exported graph run the same code.
A *row* is one selected class of one video; a *curve* is one stream's Φ of a row.
"""

from cpmn_tf.localization.detect import Detected, Trace, detections_of

__all__ = ["Detected", "Trace", "detections_of"]
