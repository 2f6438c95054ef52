"""Puts what `rivals` measured into rivals.md, between its two marks: no figure there is typed in.

cp runs/results/watch/rivals* runs/results/watch/one_out* experiments/results/watch/
python -m experiments.run rivals_page
"""

import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

from cpmn_tf.commands import cli
from cpmn_tf.evaluation.results import many
from cpmn_tf.files import read_json, write_text
from experiments.harness.report import difference, markdown, mean_and_error
from experiments.harness.results_page import HERE, table_of

BEGIN, END = "<!-- measured -->\n", "<!-- end -->\n"
DATA = ("watch", "short", "simulated_single", "simulated_several")
# Test data, and the folds of training videos that the recipe was chosen by, joined.
PARTS_ON = (
    "watch",
    "short",
    *(f"recipe_{kind}" for kind in ("watch", "short", "single", "several")),
)
STUDIES = {"rivals": "By their published settings", "rivals_otherwise": "By other settings"}


def updated(page: str, results: pathlib.Path) -> str:
    """The page with what is in ``results`` between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + measured(results) + END + after


def measured(results: pathlib.Path) -> str:
    """All methods on all data sets, what has not been run, and each study's tables."""
    paths = {name: results / name / "rivals.json" for name in DATA}
    found = {name: read_json(path) for name, path in paths.items() if path.is_file()}
    parts = []
    if missing := [f"`{name}`" for name in DATA if name not in found]:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    if found:
        parts.append(overview(found))
    for study, title in STUDIES.items():
        for name in DATA:
            path = results / name / f"{study}.md"
            if path.is_file():
                facts = read_json(path.with_suffix(".json"))
                tables = [table_of(path, head) for head in ("activitynet", "training")]
                parts += [f"### {title}: {name}", command(study, name, facts), *tables]
    judged = {name: results / name / "one_out.json" for name in PARTS_ON}
    judged = {name: read_json(path) for name, path in judged.items() if path.is_file()}
    if judged:
        parts.append(f"### What each part of `plus` gives\n\n{parts_of_plus(judged)}")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n\n"


def command(study: str, name: str, facts: Mapping[str, Any]) -> str:
    """What was run, and whether the data are simulated."""
    flags = [f"--preset={facts['preset']}", f"--precision={facts['precision']}"]
    flags += [f"--set={item}" for item in facts["set"]]
    flags += [f"--data_dir=runs/{name}", f"--output_dir=runs/results/{name}"]
    call = f"`python -m experiments.run {study} {' '.join(flags)} --seeds={facts['seeds']}`"
    return call + (" (SIMULATED)" if facts["simulated"] else "")


def overview(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A row per method: average mAP ± s.e., minutes of the quickest training, mean over data sets.

    The standard error of that mean is of the same data sets and other seeds.
    """
    methods = dict.fromkeys(row for facts in found.values() for row in facts["variants"])
    rows = [["method", *(f"{name}; minutes" for name in found), "mean"]]
    for method in methods:
        cells, means, variances = [method], [], []
        for facts in found.values():
            averages = [100 * value for value in averages_of(facts, method)]
            if not averages:
                cells.append("-")
                continue
            minutes = min(facts["costs"][method]["minutes"])
            means.append(statistics.mean(averages))
            if len(averages) > 1:
                variances.append(statistics.variance(averages) / len(averages))
            cells.append(f"{mean_and_error(averages)}; {minutes:.1f}")
        mean = f"{statistics.mean(means):.1f}" if len(means) == len(found) else ""
        if mean and len(variances) == len(means):
            mean += f" ± {sum(variances) ** 0.5 / len(means):.1f}"
        rows.append([*cells, mean])
    return markdown(rows)


def averages_of(facts: Mapping[str, Any], row: str) -> list[float]:
    """Average mAP of each result of a row, none where the table has no such row."""
    results = [result for result in facts["results"] if result["variant"] == row]
    return [statistics.mean(result["map"]["activitynet"]) for result in results]


def parts_of_plus(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A row per part: the difference to `plus` of the same seeds (or folds), ± s.e."""
    rows = [["instead", *(f"{name}, {trainings(facts)}" for name, facts in found.items())]]
    for part in dict.fromkeys(row for facts in found.values() for row in facts["variants"]):
        cells = [part]
        for facts in found.values():
            ours, plus = averages_of(facts, part), averages_of(facts, "plus")
            if part == "plus":
                cells.append(mean_and_error([100 * value for value in ours]))
            else:
                cells.append(difference(ours, plus) if ours else "-")
        rows.append(cells)
    return markdown(rows)


def trainings(facts: Mapping[str, Any]) -> str:
    """Over how many trainings the means are."""
    number, noun = (facts["trainings"], "fold") if "joined" in facts else (facts["seeds"], "seed")
    return many(number, noun)


def run(_: cli.Flags) -> None:
    """Brings the page up to date."""
    page = HERE / "rivals.md"
    write_text(page, updated(page.read_text("utf-8"), HERE / "results"))
