"""The analysis on one page of plots."""

import os
import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cpmn_tf.evaluation.analysis import Analysis
from cpmn_tf.evaluation.report import Sources
from cpmn_tf.evaluation.sensitivity import Sensitivity
from cpmn_tf.files import replaced

# Okabe and Ito's colours, which the colour-blind tell apart; the page also reads in grey.
_BLUE, _ORANGE, _GREY = "#0072B2", "#E69F00", "#999999"
_KINDS = {
    "true positive": "#009E73",
    "double detection": "#56B4E9",
    "localization": _ORANGE,
    "wrong label": "#CC79A7",
    "confusion": "#F0E442",
    "background": "#BBBBBB",
}
_MEANINGS = {
    "true positive": "true positive",
    "double detection": "double detection\n(instance already found)",
    "localization": "localization\n(right class, poor overlap)",
    "wrong label": "wrong label\n(good overlap, other class)",
    "confusion": "confusion\n(other class, poor overlap)",
    "background": "background\n(no instance there)",
}
_CLASSES = 24  # more are cut to the best and the worst


def save_page(path: str | os.PathLike, analysis: Analysis, sources: Sources) -> None:
    """Draws the analysis; the suffix says the format (`.png`, `.pdf`, `.svg`)."""
    figure = Figure(figsize=(16, 11.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    figure.suptitle(_headline(analysis, sources), fontsize=13, x=0.012, ha="left")
    rows = figure.add_gridspec(2, 1, height_ratios=(1.0, 2.0))
    top = rows[0].subgridspec(1, 3, width_ratios=(1.0, 1.5, 0.95))
    _draw_map(figure.add_subplot(top[0]), analysis)
    _draw_profile(figure.add_subplot(top[1]), analysis)
    _draw_gains(figure.add_subplot(top[2]), analysis)
    below = rows[1].subgridspec(2, 2, width_ratios=(2.0, 0.95))
    _draw_bins(
        figure.add_subplot(below[0, 0]),
        analysis.sensitivities,
        [item.map_n for item in analysis.sensitivities],
        analysis.overall.map_n,
        title="Which instances are found well: average mAP on each group alone, normalised by size",
        label="average mAP, normalised [%]",
    )
    _draw_bins(
        figure.add_subplot(below[1, 0]),
        analysis.sensitivities,
        [item.missed for item in analysis.sensitivities],
        analysis.overall.missed,
        title="Which instances are missed: no detection ranked high enough finds them",
        label="missed instances [%]",
    )
    _draw_classes(figure.add_subplot(below[:, 1]), analysis)
    with replaced(path) as temporary:
        suffix = pathlib.Path(path).suffix.lstrip(".")
        figure.savefig(temporary, format=suffix, dpi=110)


def _headline(analysis: Analysis, sources: Sources) -> str:
    result, counts = analysis.evaluation, analysis.evaluation.counts
    bounds = analysis.interval
    name, truth = (
        os.path.basename(os.path.normpath(path))
        for path in (sources.detection_file, sources.annotation_file)
    )
    return (
        f"{name}: average mAP {100 * result.average_map:.2f} % "
        f"(95 % interval {100 * bounds.average_low:.2f} to {100 * bounds.average_high:.2f}) "
        f"by the {result.protocol} protocol, tIoU {result.tiou[0]:g} to {result.tiou[-1]:g}\n"
        f"{counts.detections} detections against {counts.instances} instances of "
        f"{counts.classes} classes in {counts.videos} videos ({truth}, {sources.split})"
    )


def _tidy(axes: Axes, title: str, grid: str = "y") -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_map(axes: Axes, analysis: Analysis) -> None:
    runs = [("this run", analysis.evaluation, analysis.interval, _BLUE, "o")]
    if analysis.comparison is not None:
        other = analysis.comparison
        runs.insert(0, ("baseline", other.baseline, other.interval, _ORANGE, "s"))
    for number, (name, result, bounds, colour, marker) in enumerate(runs):
        tiou, middle = np.array(result.tiou), 100 * result.map
        reach = np.abs([100 * bounds.low - middle, 100 * bounds.high - middle])
        axes.errorbar(
            tiou + 0.012 * (number - (len(runs) - 1) / 2),
            middle,
            reach,
            color=colour,
            fmt=marker,
            capsize=3,
            label=name,
        )
    for place, value in zip(analysis.evaluation.tiou, analysis.evaluation.map, strict=True):
        axes.annotate(
            f"{100 * value:.1f}",
            (place, 100 * value),
            xytext=(9, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set(xlabel="tIoU threshold", ylabel="mAP [%]", ylim=(0, None))
    if analysis.comparison is not None:
        gap = analysis.comparison
        bounds = gap.difference_interval
        axes.legend(
            frameon=False,
            loc="upper right",
            alignment="right",
            title=f"average over tIoU: {100 * gap.average_difference:+.2f} points\n"
            f"(95 %: {100 * bounds.average_low:+.2f} to {100 * bounds.average_high:+.2f})",
        )
    _tidy(axes, "mAP with its 95 % interval over videos")


def _draw_profile(axes: Axes, analysis: Analysis) -> None:
    errors = analysis.errors
    place = np.arange(len(errors.shares))
    bottom = np.zeros(len(place))
    for kind, share in zip(errors.kinds, 100 * np.nan_to_num(errors.shares).T, strict=True):
        axes.bar(
            place,
            share,
            0.85,
            bottom=bottom,
            color=_KINDS[kind],
            edgecolor="white",
            linewidth=0.6,
            label=_MEANINGS[kind],
        )
        for column, value in enumerate(share):
            if value >= 7:
                axes.text(
                    column, bottom[column] + value / 2, f"{value:.0f}", ha="center", va="center",
                    fontsize=8,
                )  # fmt: skip
        bottom += share
    axes.set_xticks(
        place,
        [
            f"{row + 1}G\n{number:.0f}"
            for row, number in enumerate(np.nan_to_num(errors.detections))
        ],
        fontsize=8,
    )
    axes.set(
        xlabel="rank within the class, in units of G = its number of instances; below: detections",
        ylabel="share of detections [%]",
        ylim=(0, 100),
    )
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
        fontsize=8,
    )  # fmt: skip
    _tidy(axes, "What the detections are, from the best ranked on")


def _draw_gains(axes: Axes, analysis: Analysis) -> None:
    names = list(analysis.errors.gains)[::-1]
    gains = [100 * analysis.errors.gains[name] for name in names]
    bars = axes.barh(names, gains, color=[_KINDS[name] for name in names])
    axes.bar_label(bars, [f"+{value:.2f}" for value in gains], padding=3, fontsize=9)
    axes.set(
        xlabel="gain in average mAP without it [points]",
        xlim=(0, 1.18 * max(*gains, 0.01)),
    )
    _tidy(axes, "What to mend first", grid="x")


def _draw_bins(
    axes: Axes,
    groups: tuple[Sensitivity, ...],
    values: list[np.ndarray],
    overall: float,
    *,
    title: str,
    label: str,
) -> None:
    colours = {"length": _BLUE, "coverage": "#CC79A7", "instances": "#009E73"}
    ticks, names, begin = [], [], 0
    top = max([overall, *(np.nanmax(row, initial=0.0) for row in values)])
    for group, row in zip(groups, values, strict=True):
        place = begin + np.arange(len(row))
        bars = axes.bar(place, 100 * np.nan_to_num(row), 0.8, color=colours[group.name])
        texts = ["–" if np.isnan(value) else f"{100 * value:.1f}" for value in row]
        axes.bar_label(
            bars, texts, padding=2, fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
        axes.text(
            place.mean(), 118 * top, group.title, ha="center", va="center", fontsize=9,
            color=colours[group.name], fontweight="bold",
        )  # fmt: skip
        ticks.extend(place)
        names.extend(
            f"{text}\nn={number}" for text, number in zip(group.bins, group.instances, strict=True)
        )
        begin += len(row) + 1
    axes.axhline(100 * overall, color="black", linestyle="--", linewidth=1, zorder=1.5)
    axes.text(
        begin - 1.4, 100 * overall, f"all: {100 * overall:.1f}", va="bottom", ha="left", fontsize=9
    )
    axes.set_xticks(ticks, names, fontsize=8)
    axes.set(ylabel=label, ylim=(0, 125 * top or 1), xlim=(-0.7, begin - 0.3))
    _tidy(axes, title)


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
    axes.barh(place, values, 0.7, color=_BLUE)
    for row, value in zip(place, values, strict=True):
        axes.text(
            1.0, row, f"{value:.1f}", va="center", ha="right", fontsize=8,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_xlim(0, 1.12 * max(*values, 1.0))
    if analysis.comparison is not None:
        other = analysis.comparison.baseline.per_class
        axes.plot(
            [100 * float(other[name].mean()) for _, name in rows],
            place,
            linestyle="none",
            marker="|",
            markersize=13,
            markeredgewidth=2.5,
            color=_ORANGE,
            label="baseline",
        )
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(0.93, 0.0))
    axes.axvline(100 * analysis.evaluation.average_map, color="black", linestyle="--", linewidth=1)
    axes.set_yticks(place, [_short(name) for _, name in rows], fontsize=8)
    axes.set(xlabel="average AP [%] (dashed: mean over classes)", ylim=(-0.6, len(rows) - 0.4))
    _tidy(axes, title, grid="x")


def _short(name: str, most: int = 26) -> str:
    """The name, its middle left out where it is long."""
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"
