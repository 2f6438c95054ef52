"""Results of a study as JSON, Markdown and a plot."""

import dataclasses
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cpmn_tf.files import replaced, write_json, write_text
from experiments.harness.study import PROTOCOLS, Published, Result, Variant

# Okabe and Ito's colours, which stay apart for the colour-blind; marks and dashes for printing.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKS, DASHES = "os^Dvx*P", ("-", "--", "-.", ":")


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation, in per cent."""
    mean = 100 * statistics.mean(values)
    return f"{mean:.1f}" + (f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "")


def difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Mean ± standard error of the differences of the same seeds, in points."""
    deltas = [100 * (one - two) for one, two in zip(ours, theirs, strict=True)]
    return mean_and_error(deltas, sign="+")


def mean_and_error(values: Sequence[float], sign: str = "-") -> str:
    """Mean ± standard error; of one value, itself. A ``sign`` of + is shown, too."""
    text = f"{statistics.mean(values):{sign}.1f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"
    return text


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join([lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]]) + "\n"


def results_of(results: Sequence[Result], variant: Variant) -> list[Result]:
    """The results of one variant, by seed."""
    return [result for result in results if result.variant == variant.name]


def table(
    results: Sequence[Result], variants: Sequence[Variant], protocol: str, reference: int | None
) -> str:
    """A Markdown table of one protocol, in per cent.

    Args:
      results: of the variants.
      variants: the rows.
      protocol: whose mAP is shown.
      reference: number of the row that the differences are to; None: to the row above.
    """
    tiou = results[0].tiou
    to = "the row above" if reference is None else variants[reference].name
    heads = [protocol, *(f"{value:g}" for value in tiou), "average ± s.d.", f"Δ ± s.e. to {to}"]
    rows = [[*heads, "top class ± s.d.", "detections", "videos without"]]
    for number, variant in enumerate(variants):
        mine = results_of(results, variant)
        columns = zip(*(r.map[protocol] for r in mine), strict=True)
        cells = [variant.name, *(f"{100 * statistics.mean(column):.1f}" for column in columns)]
        averages = [r.average(protocol) for r in mine]
        cells.append(spread(averages))
        other = number - 1 if reference is None else reference
        names = variant.to or (() if other in (-1, number) else (variants[other].name,))
        deltas = []
        for one in variants:
            if one.name in names:
                theirs = [r.average(protocol) for r in results_of(results, one)]
                to_whom = f" to {one.name}" if variant.to else ""
                deltas.append(difference(averages, theirs) + to_whom)
        cells.append("; ".join(deltas))
        cells.append(spread([r.top_class for r in mine]))
        cells.append(f"{statistics.mean(r.detections for r in mine):.0f}")
        cells.append(f"{statistics.mean(r.videos_without_detections for r in mine):.1f}")
        rows.append(cells)
    return markdown(rows)


def beside(published: Published, results: Sequence[Result], facts: dict[str, Any]) -> str:
    """A Markdown table as the paper's Tables 1 and 2: its rows, then ours by each protocol.

    Args:
      published: the paper's rows.
      results: of one variant, a seed each; they may have more thresholds than are shown.
      facts: of :func:`publish`.
    """
    data = ("SIMULATED: " if facts["simulated"] else "") + facts["data"]
    figures = [value for row in published.rows for value in row[2] if value is not None]
    # As many decimals as the paper prints.
    digits = max(len(f"{value:g}".partition(".")[2]) for value in figures)
    averaged = len(published.rows[0][2]) > len(published.tiou)
    heads = ["supervision", "method", "data", "protocol"]
    rows = [heads + [f"{value:g}" for value in published.tiou] + ["average"] * averaged]
    for supervision, method, values in published.rows:
        cells = [supervision, method, f"{published.data} (published)", "not named"]
        rows.append(cells + ["-" if value is None else f"{value:.{digits}f}" for value in values])
    for protocol in PROTOCOLS:
        columns = list(zip(*(result.map[protocol] for result in results), strict=True))
        cells = ["weak", "CPMN, this code", data, protocol]
        cells += [spread(columns[results[0].tiou.index(value)]) for value in published.tiou]
        if averaged:
            cells.append(spread([result.average(protocol) for result in results]))
        rows.append(cells)
    return markdown(rows)


def plot(results: Sequence[Result], variants: Sequence[Variant], title: str) -> Figure:
    """mAP against tIoU, a line per variant, bars of one standard error, a panel per protocol."""
    many = len(variants) > 6  # lines: the legend then goes below
    height = max(6.4, 3.6 + 0.2 * len(variants)) if many else 4.6
    figure = Figure(figsize=(11, height), layout="constrained")
    figure.suptitle(title)
    for axes, protocol in zip(figure.subplots(1, 2, sharey=True), PROTOCOLS, strict=True):
        for number, variant in enumerate(variants):
            mine = results_of(results, variant)
            values = 100 * np.array([r.map[protocol] for r in mine])
            error = values.std(axis=0, ddof=1) / len(mine) ** 0.5 if len(mine) > 1 else None
            average = 100 * statistics.mean(r.average(protocol) for r in mine)
            axes.errorbar(
                mine[0].tiou,
                values.mean(axis=0),
                yerr=error,
                label=f"{variant.name} ({average:.1f})",
                color=COLOURS[number % len(COLOURS)],
                marker=MARKS[number % len(MARKS)],
                linestyle=DASHES[number % len(DASHES)],
                capsize=3,
                markersize=5,
            )
        axes.set(title=f"protocol {protocol}", xlabel="tIoU threshold")
        axes.grid(alpha=0.3)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)} if many else {}
        axes.legend(title="(average mAP)", fontsize=9, **below)
    figure.axes[0].set_ylabel("mAP (%), bars: one standard error")
    return figure


def about(facts: dict[str, Any]) -> str:
    """What was measured on, and how often; says first if it is simulated."""
    unit = "training" if "joined" in facts else "seed"
    number = facts[f"{unit}s"]
    simulated = "SIMULATED; " if facts["simulated"] else ""
    return f"{simulated}{facts['data']}; {number} {unit}{'s' * (number != 1)}"


def heading(facts: dict[str, Any]) -> str:
    """What is above a table; ``facts`` as of :func:`publish`."""
    split = f"Split {facts['split']}, {facts['videos']} videos, {facts['instances']} instances"
    if "joined" in facts:
        truth = f"{len(facts['joined'])} data sets"
    else:
        truth = f"{facts['annotations']}, SHA-256 {facts['annotation_sha256']}"
    return f"# {facts['title']}\n\nmAP in %. {about(facts)}. {split}; {truth}."


def publish(
    path: pathlib.Path,
    facts: dict[str, Any],
    variants: Sequence[Variant],
    results: Sequence[Result],
    reference: int | None,
    appendix: str = "",
) -> None:
    """Writes PATH.json, PATH.md and PATH.png, and prints the tables.

    Args:
      path: of the files, without their endings.
      facts: title, paper, and those of :meth:`experiments.harness.lab.Lab.describe`; of joined
        runs their files as ``joined`` and the number of ``trainings``.
      variants, results, reference: see :func:`table`.
      appendix: what comes below the tables.
    """
    written = {
        **facts,
        "reference": reference,
        "variants": {variant.name: list(variant.settings) for variant in variants},
        "to": {variant.name: list(variant.to) for variant in variants if variant.to},
        "results": [dataclasses.asdict(result) for result in results],
    }
    write_json(path.with_suffix(".json"), written)
    tables = [table(results, variants, protocol, reference) for protocol in PROTOCOLS]
    tables += [appendix] if appendix else []
    text = f"{heading(facts)}\n\nThe paper: {facts['paper']}\n\n" + "\n".join(tables)
    write_text(path.with_suffix(".md"), text)
    figure = plot(results, variants, f"{facts['title']}\n{about(facts)}")
    with replaced(path.with_suffix(".png")) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    print(f"\n{text}\n{path}.json, .md, .png", flush=True)
