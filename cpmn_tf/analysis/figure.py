"""The analysis on one page of plots."""

import os
import warnings
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cpmn_tf.analysis.bootstrap import Interval
from cpmn_tf.analysis.diagnosis import Analysis
from cpmn_tf.analysis.error_kinds import KINDS
from cpmn_tf.analysis.sensitivity import MISSED, NORMALIZED, TITLES
from cpmn_tf.evaluation.results import Sources, many
from cpmn_tf.files import replaced

# Okabe and Ito's colours, which the colour-blind tell apart; the page also reads in grey.
_RUN, _BASELINE, _MISSED = "#0072B2", "#D55E00", "#666666"
_KINDS = {
    "true positive": ("#009E73", "true positive"),
    "double detection": ("#56B4E9", "double detection\n(instance already found)"),
    "localization": ("#E69F00", "localization\n(right class, poor overlap)"),
    "wrong label": ("#CC79A7", "wrong label\n(good overlap, other class)"),
    "confusion": ("#F0E442", "confusion\n(other class, poor overlap)"),
    "background": ("#BBBBBB", "background\n(no instance there)"),
}
_CLASSES = 24  # more are cut to the best and the worst
_TIOU = 10  # more thresholds are drawn without their values

_Style = dict[str, Any]  # keyword arguments of Matplotlib
_SMALL: _Style = {"fontsize": 8, "va": "center"}
_MEDIUM: _Style = {"fontsize": 9, "va": "center"}
_WHITE: _Style = {"facecolor": "white", "edgecolor": "none"}


def save_page(
    path: str | os.PathLike, analysis: Analysis, sources: Sources, baseline: str = "baseline"
) -> None:
    """Draws the analysis; the suffix says the format (`.png`, `.pdf`, `.svg`).

    ``baseline`` is the other run's file, where there is one.
    """
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():  # names: "$"
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = _page(analysis, sources, baseline)
        with replaced(path) as temporary:
            figure.savefig(temporary, dpi=110)


def _page(analysis: Analysis, sources: Sources, baseline: str) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, rect=(0, 0, 1, 0.915))
    figure = Figure(figsize=(16, 12), layout=layout)
    headline, facts = _headline(analysis, sources, baseline), _facts(analysis, sources)
    figure.text(0.012, 0.987, headline, fontsize=13, va="top", linespacing=1.3)
    height = 0.964 if analysis.comparison is None else 0.942
    figure.text(0.012, height, facts, fontsize=9, va="top", color="#444444", linespacing=1.3)
    rows = figure.add_gridspec(2, 1, height_ratios=(1.0, 2.0))
    top = rows[0].subgridspec(1, 3, width_ratios=(1.0, 1.5, 0.95))
    _draw_map(figure.add_subplot(top[0]), analysis)
    _draw_profile(figure.add_subplot(top[1]), analysis)
    _draw_gains(figure.add_subplot(top[2]), analysis)
    below = rows[1].subgridspec(2, 2, width_ratios=(2.2, 0.95))
    found, missed = figure.add_subplot(below[0, 0]), figure.add_subplot(below[1, 0])
    _draw_bins(found, analysis, "map_n", _RUN)
    found.set_ylabel("average mAP, normalised [%]")
    _tidy(found, f"Which instances are found well: average mAP on each group alone ({NORMALIZED})")
    _draw_bins(missed, analysis, "missed", _MISSED)
    missed.set_ylabel("missed instances [%]")
    _tidy(missed, f"Which instances are missed: {MISSED}")
    _draw_classes(figure.add_subplot(below[:, 1]), analysis)
    return figure


def _headline(analysis: Analysis, sources: Sources, baseline: str) -> str:
    result, bounds = analysis.evaluation, analysis.interval
    ends = sorted({result.tiou[0], result.tiou[-1]})
    lines = [
        f"{_file(sources.detection_file)}: average mAP {_interval(result.average_map, bounds)} "
        f"by the {result.protocol} protocol, tIoU {' to '.join(f'{value:g}' for value in ends)}"
    ]
    if analysis.comparison is not None:
        other = analysis.comparison
        gap = other.difference_interval
        lines.append(
            f"baseline {_file(baseline)}: {_interval(other.baseline.average_map, other.interval)}; "
            f"difference {100 * other.average_difference:+.2f} points "
            f"({100 * gap.average_low:+.2f} to {100 * gap.average_high:+.2f})"
        )
    return "\n".join(lines)


def _facts(analysis: Analysis, sources: Sources) -> str:
    counts = analysis.evaluation.counts
    return (
        f"{many(counts.detections, 'detection')}: {_file(sources.detection_file)}, "
        f"SHA-256 {sources.detection_sha256}\n"
        f"truth: {_file(sources.annotation_file)}, SHA-256 {sources.annotation_sha256}, "
        f"{sources.split}: {many(counts.videos, 'video')} ({counts.videos_without_detections} "
        f"without detections), {many(counts.instances, 'instance')} of "
        f"{many(counts.classes, 'class')}"
    )


def _interval(average: float, bounds: Interval) -> str:
    low, high = 100 * bounds.average_low, 100 * bounds.average_high
    return f"{100 * average:.2f} % (95 % interval over videos {low:.2f} to {high:.2f})"


def _file(path: str) -> str:
    return _short(os.path.basename(os.path.normpath(path)), 60)


def _tidy(axes: Axes, title: str, grid: Literal["x", "y", "both"] = "y") -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_map(axes: Axes, analysis: Analysis) -> None:
    runs = [("this run", analysis.evaluation, analysis.interval, _RUN, "o")]
    if analysis.comparison is not None:
        other = analysis.comparison
        runs.append(("baseline", other.baseline, other.interval, _BASELINE, "s"))
    tiou = np.array(analysis.evaluation.tiou)
    beside = 0.12 * np.diff(np.sort(tiou)).min(initial=0.1)
    for number, (name, result, bounds, colour, marker) in enumerate(runs):
        middle = 100 * result.map
        reach = np.abs([100 * bounds.low - middle, 100 * bounds.high - middle])
        place = tiou + beside * ((len(runs) - 1) / 2 - number)
        axes.errorbar(place, middle, reach, color=colour, fmt=marker, capsize=3, label=name)
        if len(tiou) <= _TIOU and number == 0:  # this run is to the right of the baseline
            axes.set_xticks(tiou, [f"{value:g}" for value in tiou], fontsize=9)
            for x, y in zip(place, middle, strict=True):
                beside_it: _Style = {"textcoords": "offset points", "color": colour}
                axes.annotate(f"{y:.1f}", (x, y), (6, 0), **beside_it, **_SMALL)
    axes.set_xlim(tiou.min() - 4 * beside, tiou.max() + 6 * beside)
    axes.set(xlabel="tIoU threshold", ylabel="mAP [%]", ylim=(0, max(axes.get_ylim()[1], 1)))
    if len(runs) > 1:
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.legend(frameon=False, loc="upper right", ncols=2)
    _tidy(axes, "mAP with its 95 % interval over videos")


def _draw_profile(axes: Axes, analysis: Analysis) -> None:
    errors = analysis.errors
    place = np.arange(len(errors.shares))
    bottom = np.zeros(len(place))
    outline: _Style = {"edgecolor": "white", "linewidth": 0.6}
    for kind, share in zip(KINDS, 100 * np.nan_to_num(errors.shares).T, strict=True):
        colour, meaning = _KINDS[kind]
        axes.bar(place, share, 0.85, bottom, color=colour, label=meaning, **outline)
        for column, value in enumerate(share):
            if value >= 7:
                middle = bottom[column] + value / 2
                axes.text(column, middle, f"{value:.0f}", ha="center", **_SMALL)
        bottom += share
    names = [f"{row}G\n{number:.0f}" for row, number in enumerate(errors.detections, start=1)]
    axes.set_xticks(place, names, fontsize=8)
    axes.set(
        xlabel="each class's detections by score, G at a time (G: its number of instances); "
        "below: how many",
        ylabel="share of detections [%]",
        ylim=(0, 100),
    )
    handles, labels = axes.get_legend_handles_labels()
    right: _Style = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "fontsize": 8}
    axes.legend(handles[::-1], labels[::-1], frameon=False, **right)
    _tidy(axes, "What the detections are, from the best scored on")


def _draw_gains(axes: Axes, analysis: Analysis) -> None:
    names = list(analysis.errors.gains)[::-1]
    gains = [100 * analysis.errors.gains[name] for name in names]
    bars = axes.barh(names, gains, color=[_KINDS[name][0] for name in names])
    axes.bar_label(bars, [f"+{value:.2f}" for value in gains], padding=3, fontsize=9)
    axes.set(xlabel="gain in average mAP [points] without it", xlim=(0, 1.18 * max(*gains, 0.5)))
    _tidy(axes, "What to fix first", grid="x")


def _draw_bins(
    axes: Axes, analysis: Analysis, what: Literal["map_n", "missed"], colour: str
) -> None:
    groups, overall = analysis.sensitivities, getattr(analysis, what)
    values = [getattr(group, what) for group in groups]
    ticks: list[float] = []
    names: list[str] = []
    begin = 0
    top = 100 * max([overall, *(np.nanmax(row, initial=0.0) for row in values)]) or 1.0
    for group, row in zip(groups, values, strict=True):
        place = begin + np.arange(len(row))
        bars = axes.bar(place, 100 * np.nan_to_num(row), 0.8, color=colour)
        texts = ["–" if np.isnan(value) else f"{100 * value:.1f}" for value in row]
        axes.bar_label(bars, texts, padding=2, fontsize=8, bbox={**_WHITE, "pad": 0.6})
        style: _Style = {"ha": "center", "fontweight": "bold", **_MEDIUM}
        axes.text(place.mean(), 1.18 * top, TITLES[group.name], **style)
        ticks.extend(place)
        for text, number in zip(group.bins, group.instances, strict=True):
            text = text if len(text) < 9 else text.replace("–", "–\n")  # beside its neighbours
            names.append(f"{text}\nn={number}")
        begin += len(row) + 1
    axes.axhline(100 * overall, color="black", linestyle="--", linewidth=1, zorder=1.5)
    box = {**_WHITE, "pad": 1.5}
    axes.text(begin - 1.4, 100 * overall, f"all: {100 * overall:.1f}", bbox=box, **_MEDIUM)
    axes.set_xticks(ticks, names, fontsize=8)
    axes.set(ylim=(0, 1.25 * top), xlim=(-0.7, begin - 0.3))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= min(100, 1.1 * top)])


def _draw_classes(axes: Axes, analysis: Analysis) -> None:
    rows = sorted(
        (float(values.mean()), name) for name, values in analysis.evaluation.per_class.items()
    )
    title = "Average AP by class"
    if len(rows) > _CLASSES:
        half = _CLASSES // 2
        title = f"Average AP: best and worst {half} of {len(rows)} classes"
        rows = [*rows[:half], *rows[-half:]]
    place = np.arange(len(rows))
    values = [100 * value for value, _ in rows]
    axes.barh(place, values, 0.7, color=_RUN)
    for row, value in zip(place, values, strict=True):
        right: _Style = {"ha": "right", "transform": axes.get_yaxis_transform()}
        axes.text(1.0, float(row), f"{value:.1f}", **right, **_SMALL)
    longest = max(*values, 1.0)
    if analysis.comparison is not None:
        other = analysis.comparison.baseline.per_class
        others = [100 * float(other[name].mean()) for _, name in rows]
        longest = max(longest, *others)
        mark: _Style = {"markersize": 13, "markeredgewidth": 2.5, "color": _BASELINE}
        axes.plot(others, place, "|", label="baseline", **mark)
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)
    axes.set_xlim(0, 1.12 * longest)
    axes.axvline(100 * analysis.evaluation.average_map, color="black", linestyle="--", linewidth=1)
    axes.set_yticks(place, [_short(name) for _, name in rows], fontsize=8)
    axes.set(xlabel="average AP [%] (dashed: mean over classes)", ylim=(-0.6, len(rows) - 0.4))
    _tidy(axes, title, grid="x")


def _short(name: str, most: int = 26) -> str:
    """The name, its middle left out where it is long."""
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"
