"""What is in each panel, and how it looks.

Hues are Okabe and Ito's, which colour-blind readers tell apart; lines also differ in width and
dashes, areas in lightness, so that a grey print still reads.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from cpmn_tf.plotting.curves import ClassCurves, RecordingCurves

Style = dict[str, Any]  # keyword arguments of Matplotlib

BLACK, GREY, PALE = "#000000", "#595959", "#e6e6e6"
BLUE, GREEN, DARK_GREEN, RED = "#0072b2", "#009e73", "#004d38", "#d55e00"
CASCADED: Style = {"color": "#a6a6a6", "linewidth": 3.2}
ORIGINAL: Style = {"color": BLUE, "linewidth": 1.2}
MINING: Style = {"color": RED, "linewidth": 1.2, "linestyle": (0, (4, 1.5))}
PHI: Style = {"color": GREEN, "linewidth": 1.2}
CUT: Style = {"color": BLACK, "linewidth": 1.0, "linestyle": (0, (1, 1.5))}


def _bar(label: str, face: Any, edge: str, width: float) -> Style:
    return {"label": label, "facecolor": face, "edgecolor": edge, "linewidth": width}


TRUTH = _bar("truth", GREY, BLACK, 0.6)
OTHER = _bar("truth, other classes", "none", "#8c8c8c", 0.7)
DETECTION = _bar("detection", (0.0, 0.62, 0.45, 0.65), DARK_GREEN, 0.8)


def _bars(axes: Axes, spans: np.ndarray, heights: np.ndarray, **style: Any) -> None:
    """Bars over ``spans`` [N, 2] seconds from 0 to ``heights`` [N]; an outline keeps short ones."""
    start, end = spans.T
    zero = np.zeros_like(heights)
    corners: Any = np.stack([start, zero, start, heights, end, heights, end, zero], axis=1)
    axes.add_collection(PolyCollection(corners.reshape(-1, 4, 2), **style), autolim=False)


def _note(axes: Axes, text: str) -> None:
    """Says why a panel is empty."""
    style: Style = {"ha": "center", "va": "center", "fontsize": 9, "style": "italic", "color": GREY}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, bbox=box, **style)


def draw_truth(axes: Axes, recording: RecordingCurves, item: ClassCurves) -> None:
    """The class's instances, and in outline those of other classes: what it may be taken for."""
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if item.truth is None:
        _note(axes, "labels only: when it happens is not known")
        return
    if not len(recording.truth):
        _note(axes, "no instance of this class")
    for spans, style in ((recording.truth, OTHER), (item.truth, TRUTH)):
        _bars(axes, spans, np.ones(len(spans)), **style)


def _shade_truth(axes: Axes, item: ClassCurves) -> None:
    """Where the action is, behind a panel's curves and over its whole height."""
    if item.truth is not None:
        style = {"color": PALE, "linewidth": 0.6, "zorder": 0, "label": "shade"}
        ones = np.ones(len(item.truth))
        _bars(axes, item.truth, ones, transform=axes.get_xaxis_transform(), **style)


def draw_detections(axes: Axes, recording: RecordingCurves, item: ClassCurves) -> None:
    """Bars as high as their score, on one scale for all classes; lower ones are in front."""
    _shade_truth(axes, item)
    scores = np.append(recording.detections[:, 2], 0.0)
    low, high = 1.1 * scores.min(), 1.1 * scores.max()
    axes.set_ylim(low, high if high > low else 1.0)
    if not len(item.detections):
        dropped = f" of at least {recording.min_seconds:g} s" if recording.min_seconds else ""
        _note(axes, f"no detections{dropped}")
        return
    ordered = item.detections[np.argsort(-item.detections[:, 2], kind="stable")]
    _bars(axes, ordered[:, :2], ordered[:, 2], zorder=2, **DETECTION)


def _per_edge(values: np.ndarray) -> np.ndarray:
    """[T] to [T + 1]: the last unit's value holds to its end."""
    return np.append(values, values[-1])


def _steps(axes: Axes, recording: RecordingCurves, values: np.ndarray, **style: Any) -> None:
    """A curve that holds each unit's value over the unit (Axes.stairs is slow on long ones)."""
    axes.plot(recording.edges, _per_edge(values), drawstyle="steps-post", **style)


def draw_tcas(axes: Axes, recording: RecordingCurves, item: ClassCurves, stream: str) -> None:
    """M(A) and M(mining) upon M(Cas)."""
    _shade_truth(axes, item)
    axes.axhline(0.0, color=GREY, linewidth=0.5, zorder=1)
    for name, style in {"cascaded": CASCADED, "original": ORIGINAL, "mining": MINING}.items():
        values = getattr(item.curves[stream], name)
        if values is not None:
            _steps(axes, recording, values, label=name, zorder=2, **style)


def draw_attention(axes: Axes, recording: RecordingCurves, item: ClassCurves, stream: str) -> None:
    """H as a strip, white at 0 and dark at 1."""
    attention = item.curves[stream].attention
    assert attention is not None
    axes.set_yticks([])
    style: Style = {"cmap": "Purples", "vmin": 0.0, "vmax": 1.0, "label": "attention"}
    extent = (0.0, recording.edges[-1], 0.0, 1.0)
    axes.imshow(attention[np.newaxis], extent=extent, aspect="auto", **style)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.4)


def draw_phi(axes: Axes, recording: RecordingCurves, item: ClassCurves, stream: str) -> None:
    """Φ and where θ cuts it; what is above, and so proposed, is filled."""
    _shade_truth(axes, item)
    curves = item.curves[stream]
    cuts = curves.cuts(recording.thresholds, recording.min_max)
    for cut in cuts:
        above = _per_edge(np.where(curves.phi > cut, curves.phi, 0.0))
        style: Style = {"step": "post", "facecolor": GREEN, "alpha": 0.35, "linewidth": 0}
        axes.fill_between(recording.edges, above, label="proposed", **style)
        axes.axhline(float(cut), label="threshold", zorder=3, **CUT)
    _steps(axes, recording, curves.phi, label="phi", zorder=2, **PHI)
    if not cuts:
        what = "constant" if recording.min_max else "nowhere positive"
        _note(axes, f"{what}: nothing is proposed")
    elif curves.attention is not None:
        axes.set_ylim(bottom=0.0)
