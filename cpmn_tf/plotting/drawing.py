"""The picture of a recording: panels under one another, headings, the legend, files.

Nothing here touches pyplot: figures are made while a model trains.
"""

import functools
import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from cpmn_tf.plotting import panels
from cpmn_tf.plotting.curves import ClassCurves, RecordingCurves

# Each with the metadata that leaves out the date.
FORMATS = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
MOST_PREDICTED, MOST_MISSED = 8, 12  # classes drawn; a picture has to end somewhere

# Inches.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 11.0, 1.55, 0.25, 0.85, 0.2
_GAP, _HEADING, _AXIS = 0.1, 0.4, 0.38


def render(drawn: Figure, file_format: str = "png") -> bytes:
    """A figure as one of ``FORMATS``; the same figure gives the same bytes (SVG: but for ids)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # ids and classes may be of any script; a box is no failure
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn.savefig(buffer, format=file_format, metadata=FORMATS[file_format])
    return buffer.getvalue()


_Panel = tuple[str, float, Callable[[Axes], None]]  # label, height in inches, what fills the axes


def figure(recording: RecordingCurves, frames: Sequence[np.ndarray] = ()) -> Figure:
    """Draws a recording: a block of panels per class, all on one axis of seconds.

    Args:
      recording: what is drawn.
      frames: of the video, [height, width, 3] uint8, each from the middle of one of as many equal
        parts of it; they are drawn on top.
    """
    shown = recording.predicted[:MOST_PREDICTED] + recording.missed[:MOST_MISSED]
    blocks = [(item, _panels(recording, item)) for item in shown]
    strip = _strip_height(frames)
    height = _TOP + _BOTTOM + strip
    for _, block in blocks:
        height += _HEADING + _AXIS + sum(tall + _GAP for _, tall, _ in block)
    drawn = Figure(figsize=(_WIDTH, height), dpi=110, facecolor="white")
    FigureCanvasAgg(drawn)
    first, top, width = None, height - _TOP, _WIDTH - _LEFT - _RIGHT
    if strip:
        top -= strip
        first = drawn.add_axes((_LEFT / _WIDTH, top / height, width / _WIDTH, strip / height))
        first.imshow(np.concatenate(frames, 1), extent=(0, recording.duration, 0, 1), aspect="auto")
        first.set_axis_off()
    for item, block in blocks:
        top -= _HEADING
        for number, (label, tall, draw) in enumerate(block, start=1):
            top -= tall
            box = (_LEFT / _WIDTH, top / height, width / _WIDTH, tall / height)
            axes = drawn.add_axes(box, sharex=first, label=label)
            first = first or axes
            _frame(axes, label, last=number == len(block))
            if number == 1:
                _heading(axes, item)
            draw(axes)
            top -= _GAP
        top -= _AXIS
    if first is not None:
        first.set_xlim(0.0, recording.duration)
    _title(drawn, recording, len(recording.classes) - len(shown))
    return drawn


def _strip_height(frames: Sequence[np.ndarray]) -> float:
    """Inches, so that the frames fill the width in their own proportions."""
    if not frames:
        return 0.0
    tall, wide = frames[0].shape[:2]
    return (_WIDTH - _LEFT - _RIGHT) / len(frames) * tall / wide


def _panels(recording: RecordingCurves, item: ClassCurves) -> list[_Panel]:
    """One class, from top to bottom."""

    def panel(label: str, height: float, draw: Callable, **values: str) -> _Panel:
        return label, height, functools.partial(draw, recording=recording, item=item, **values)

    truth = [] if item.labelled is None else [panel("truth", 0.2, panels.draw_truth)]
    if item.p_class is None:
        return truth
    kinds = [("T-CAS", 0.75, panels.draw_tcas)]
    if any(curves.attention is not None for curves in item.curves.values()):
        kinds.append(("attention", 0.27, panels.draw_attention))
        kinds.append(("Φ", 0.75, panels.draw_phi))
    else:
        kinds.append(("M(Cas), cut", 0.75, panels.draw_phi))
    return [
        *truth,
        panel("detections\n(p_conf)", 0.62, panels.draw_detections),
        *(
            panel(f"{kind}\n{_short(stream, 14)}", height, draw, stream=stream)
            for kind, height, draw in kinds
            for stream in recording.streams
        ),
    ]


def _describe(item: ClassCurves) -> str:
    """What became of a class, in a line."""
    if item.labelled is None:
        known = "truth not known"
    elif item.truth is None:
        known = "labelled, instances not given" if item.labelled else "not among the labels"
    elif len(item.truth):
        known = _count(len(item.truth), "true instance")
    else:
        known = "labelled, no instance given" if item.labelled else "not in this recording"
    if item.p_class is None:
        return f"{known} · not selected (score {item.score:.2g})"
    return f"{known} · {_count(len(item.detections), 'detection')} · p_class {item.p_class:.2g}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _frame(axes: Axes, label: str, *, last: bool) -> None:
    """What all panels share."""
    axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    axes.yaxis.set_label_coords(-0.42 / (_WIDTH - _LEFT - _RIGHT), 0.5)
    axes.tick_params(labelsize=8.5, length=2.5, labelbottom=last, bottom=last)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)
    if last:
        axes.set_xlabel("time (s)", fontsize=9, labelpad=1)


def _heading(axes: Axes, item: ClassCurves) -> None:
    missed = item.p_class is None
    text = _short(item.name, 40 if missed else 54)  # leaves room for the description
    common: panels.Style = {"textcoords": "offset points", "va": "bottom", "parse_math": False}
    style: panels.Style = {"fontsize": 11, "fontweight": "bold", "xycoords": "axes fraction"}
    style["color"] = panels.RED if missed else panels.BLACK
    text = f"Missed class: {text}" if missed else text
    name = axes.annotate(text, (0, 1), (0, 5), **style, **common)
    style = {"fontsize": 9.5, "color": panels.GREY, "xycoords": name}
    axes.annotate(_describe(item), (1, 0), (8, 0), **style, **common)


def _title(drawn: Figure, recording: RecordingCurves, hidden: int) -> None:
    """The recording's id, its length, and one legend for all panels."""
    left, height = _LEFT / _WIDTH, drawn.get_figheight()
    text = f"{_short(recording.id, 64)}   ({recording.duration:.4g} s)"
    text += "   SIMULATED features" if recording.simulated else ""
    drawn.text(left, 1 - 0.3 / height, text, fontsize=12, fontweight="bold", parse_math=False)
    if hidden:
        text = f"classes not drawn: {hidden}"
        drawn.text(1 - _RIGHT / _WIDTH, 1 - 0.3 / height, text, fontsize=9, ha="right")
    handles = _legend(recording)
    look: panels.Style = {"loc": "upper left", "fontsize": 9, "frameon": False}
    look |= {"borderaxespad": 0, "columnspacing": 1.1, "handlelength": 2.0}
    place, columns = (left - 0.005, 1 - 0.36 / height), -(-len(handles) // 2)
    drawn.legend(handles=handles, bbox_to_anchor=place, ncols=columns, **look)


def _legend(recording: RecordingCurves) -> list[Line2D | Patch]:
    """A handle for each thing that this picture holds."""
    curves = [curve for item in recording.predicted for curve in item.curves.values()]
    attention = any(curve.attention is not None for curve in curves)
    others = any(
        item.truth is not None and len(item.truth) < len(recording.truth)
        for item in recording.classes
    )
    known = any(item.labelled is not None for item in recording.classes)
    handles: list[Line2D | Patch] = [
        *([Patch(**panels.TRUTH)] if known else []),
        *([Patch(**panels.OTHER)] if others else []),
        Patch(**panels.DETECTION),
        Line2D([], [], **panels.ORIGINAL, label="original T-CAS"),
    ]
    if any(curve.mining is not None for curve in curves):
        handles.append(Line2D([], [], **panels.MINING, label="mining T-CAS"))
    handles.append(Line2D([], [], **panels.CASCADED, label=f"cascaded ({recording.combined})"))
    if attention:
        handles.append(Patch(facecolor="#6a51a3", label="attention (dark = 1)"))
    phi = "Φ" if attention else "M(Cas)"
    thetas = [f"{theta:g}" for theta in recording.thresholds]
    shares = ", ".join(thetas) if len(thetas) <= 3 else f"{thetas[0]} … {thetas[-1]}"
    span = f"(max - min) {phi} above its minimum" if recording.min_max else f"max {phi}"
    formula = f"Φ = {recording.fused}" if attention else phi
    handles.append(Line2D([], [], **panels.PHI, label=f"{formula} (filled: proposed)"))
    handles.append(Line2D([], [], **panels.CUT, label=f"{shares} · {span}"))
    return handles


def _short(text: str, most: int) -> str:
    """``text`` on one line, its middle left out if it is long."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    keep = (most - 1) // 2
    return text if len(text) <= most else f"{text[:keep]}…{text[-keep:]}"
