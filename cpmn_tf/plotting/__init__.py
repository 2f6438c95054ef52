"""Pictures of one recording: what the model saw, what it cut out of it, and what is true.

Figures 4 and 6 of the paper in one: per class, on one axis of seconds, the truth, the detections,
the T-CASs of the two kinds of stages and what they are combined to, the attention map, and Φ with
its threshold. :func:`collect_curves` collects plain arrays from a model, :func:`figure` draws them.
"""

from cpmn_tf.plotting.curves import ClassCurves, RecordingCurves, StreamCurves, collect_curves
from cpmn_tf.plotting.drawing import figure, render

__all__ = ["ClassCurves", "RecordingCurves", "StreamCurves", "collect_curves", "figure", "render"]
