"""The picture of a recording: panels under one another, headings, the legend, files.

Nothing here touches pyplot: figures are made while a model trains.
"""

import dataclasses
import functools
import io
import warnings
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from cpmn_tf.plotting import panels
from cpmn_tf.plotting.curves import ClassCurves, RecordingCurves

FORMATS = ("png", "svg", "pdf")
MOST_PREDICTED, MOST_MISSED = 8, 12  # classes drawn; a picture has to end somewhere

# Inches.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 11.0, 1.55, 0.25, 0.85, 0.2
_GAP, _HEADING, _AXIS = 0.1, 0.4, 0.38


def render(drawn: Figure, file_format: str = "png") -> bytes:
    """A figure as one of ``FORMATS``; the same figure gives the same bytes (SVG: but for ids)."""
    date = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[file_format]
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # ids and classes may be of any script; a box is no failure
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn.savefig(buffer, format=file_format, metadata=date)
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
    """One panel.

    Attributes:
      label: left of it.
      height: inches.
      draw: fills its axes.
      opens: the class whose block begins with it, or None.
      ends: whether it ends a block, and shows the seconds.
    """

    label: str
    height: float
    draw: Callable[[Axes], None]
    opens: ClassCurves | None = None
    ends: bool = False


def figure(recording: RecordingCurves) -> Figure:
    """Draws a recording: a block of panels per class, all on one axis of seconds."""
    shown = recording.predicted[:MOST_PREDICTED] + recording.missed[:MOST_MISSED]
    rows = [row for item in shown for row in _rows(recording, item)]
    height = _TOP + _BOTTOM
    height += sum(row.height + _GAP + _HEADING * bool(row.opens) + _AXIS * row.ends for row in rows)
    drawn = Figure(figsize=(_WIDTH, height), dpi=110, facecolor="white")
    FigureCanvasAgg(drawn)
    first, top, width = None, height - _TOP, _WIDTH - _LEFT - _RIGHT
    for row in rows:
        top -= _HEADING * bool(row.opens) + row.height
        box = (_LEFT / _WIDTH, top / height, width / _WIDTH, row.height / height)
        axes = drawn.add_axes(box, sharex=first, label=row.label)
        first = first or axes
        _frame(axes, row)
        row.draw(axes)
        top -= _GAP + _AXIS * row.ends
    if first is not None:
        first.set_xlim(0.0, recording.duration)
    _title(drawn, recording, len(recording.classes) - len(shown))
    return drawn


def _rows(recording: RecordingCurves, item: ClassCurves) -> list[_Row]:
    """The panels of one class, from top to bottom."""

    def row(label: str, height: float, draw: Callable, *values: Any) -> _Row:
        draw = functools.partial(draw, recording=recording, item=item)
        return _Row(label=label, height=height, draw=lambda axes: draw(axes, *values))

    rows = [row("truth", 0.2, panels.draw_truth)]
    if item.p_class is not None:
        rows.append(row("detections\n(p_conf)", 0.62, panels.draw_detections))
        curves = {_short(name, 14): item.curves[name] for name in recording.streams}
        attention = any(curve.attention is not None for curve in curves.values())
        rows += [row(f"T-CAS\n{name}", 0.75, panels.draw_tcas, curves[name]) for name in curves]
        if attention:
            rows += [
                row(f"attention\n{name}", 0.27, panels.draw_attention, curves[name])
                for name in curves
            ]
        phi = "Φ" if attention else "M(Cas), cut"
        rows += [row(f"{phi}\n{name}", 0.75, panels.draw_phi, curves[name]) for name in curves]
    rows[0] = dataclasses.replace(rows[0], opens=item)
    rows[-1] = dataclasses.replace(rows[-1], ends=True)
    return rows


def _describe(item: ClassCurves) -> str:
    """What became of a class, in a line."""
    if item.truth is None:
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


def _frame(axes: Axes, row: _Row) -> None:
    """What all panels share."""
    axes.set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=9)
    axes.yaxis.set_label_coords(-0.42 / (_WIDTH - _LEFT - _RIGHT), 0.5)
    axes.tick_params(labelsize=8.5, length=2.5, labelbottom=row.ends, bottom=row.ends)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)
    if row.ends:
        axes.set_xlabel("time (s)", fontsize=9, labelpad=1)
    if row.opens:
        _heading(axes, row.opens)


def _heading(axes: Axes, item: ClassCurves) -> None:
    missed = item.p_class is None
    name = _short(item.name, 40 if missed else 54)  # leaves room for the description
    common: panels.Style = {"textcoords": "offset points", "va": "bottom", "parse_math": False}
    bold = axes.annotate(
        f"Missed class: {name}" if missed else name,
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        fontsize=11,
        fontweight="bold",
        color=panels.RED if missed else panels.BLACK,
        **common,
    )
    axes.annotate(
        _describe(item), (1, 0), (8, 0), xycoords=bold, fontsize=9.5, color=panels.GREY, **common
    )


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
    drawn.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left - 0.005, 1 - 0.36 / height),
        ncols=-(-len(handles) // 2),
        fontsize=9,
        frameon=False,
        borderaxespad=0,
        columnspacing=1.1,
        handlelength=2.0,
    )


def _legend(recording: RecordingCurves) -> list[Line2D | Patch]:
    """A handle for each thing that this picture holds."""
    curves = [curve for item in recording.predicted for curve in item.curves.values()]
    attention = any(curve.attention is not None for curve in curves)
    others = any(
        item.truth is not None and len(item.truth) < len(recording.truth)
        for item in recording.classes
    )
    handles: list[Line2D | Patch] = [
        Patch(**panels.TRUTH),
        *([Patch(**panels.OTHER)] if others else []),
        Patch(**panels.DETECTION),
        Line2D([], [], **panels.ORIGINAL, label="original T-CAS"),
    ]
    if any(curve.mining is not None for curve in curves):
        handles.append(Line2D([], [], **panels.MINING, label="mining T-CAS"))
    handles.append(Line2D([], [], **panels.CASCADED, label="cascaded (maximum)"))
    if attention:
        handles.append(Patch(facecolor="#6a51a3", label="attention (dark = 1)"))
    phi = "Φ" if attention else "M(Cas)"
    thetas = [f"{theta:g}" for theta in recording.thresholds]
    shares = ", ".join(thetas) if len(thetas) <= 3 else f"{thetas[0]} … {thetas[-1]}"
    formula = f"Φ = {recording.fused}" if attention else phi
    handles.append(Line2D([], [], **panels.PHI, label=f"{formula} (filled: proposed)"))
    handles.append(Line2D([], [], **panels.CUT, label=f"{shares} · max {phi}"))
    return handles


def _short(text: str, most: int) -> str:
    """``text`` on one line, its middle left out if it is long."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    keep = (most - 1) // 2
    return text if len(text) <= most else f"{text[:keep]}…{text[-keep:]}"
