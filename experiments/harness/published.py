"""Our rows beside published ones, as in the paper's Tables 1 and 2."""

from collections.abc import Sequence

from absl import flags

from cpmn_tf.config import TIOU
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import parse_tiou
from cpmn_tf.files import write_text
from experiments.harness import report
from experiments.harness.study import PROTOCOLS, Result, Study, Variant

# Supervision, method, and mAP in % (with the average last where the table has one).
Published = tuple[str, str, tuple[float | None, ...]]


def rows(
    results: Sequence[Result],
    tiou: Sequence[float],
    published: Sequence[Published],
    theirs: str,
    data: str,
) -> str:
    """The table in Markdown: published rows, then ours by each protocol.

    Args:
      results: of one variant, a seed each.
      tiou: thresholds shown; the results may have more.
      published: rows with a figure per threshold, or one more for the average.
      theirs: what the published rows were measured on.
      data: what our rows were measured on.
    """
    # As many decimals as the paper prints.
    digits = max(
        len(f"{value:g}".partition(".")[2])
        for _, _, figures in published
        for value in figures
        if value is not None
    )
    averaged = len(published[0][2]) > len(tiou)
    heads = ["supervision", "method", "data", "protocol", *(f"{value:g}" for value in tiou)]
    heads += ["average"] if averaged else []
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for supervision, method, figures in published:
        cells = [supervision, method, f"{theirs} (published)", "not named"]
        cells += ["-" if value is None else f"{value:.{digits}f}" for value in figures]
        lines.append("| " + " | ".join(cells) + " |")
    for protocol in PROTOCOLS:
        columns = list(zip(*(result.map[protocol] for result in results), strict=True))
        cells = ["weak", "CPMN, this code", data, protocol]
        cells += [report.spread(columns[results[0].tiou.index(value)]) for value in tiou]
        if averaged:
            cells.append(report.spread([result.average(protocol) for result in results]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_beside(
    values: flags.FlagValues,
    name: str,
    theirs: str,
    preset: str,
    tiou: Sequence[float],
    published: Sequence[Published],
) -> None:
    """Trains and judges the full method, and writes NAME.md with the published rows beside it.

    Raises:
      UserError: if ``--preset`` does not report the table's thresholds.
    """
    if not set(tiou) <= set(parse_tiou(TIOU[values.preset])):
        raise UserError(f"--preset={values.preset} reports other tIoU; use --preset={preset}")
    study = Study(values)
    variants = [Variant("CPMN")]
    results = study.results(variants)
    title = f"Table {name[-1]}: mAP beside the published rows"
    figures = ", ".join(f"{value:g}" for value in published[-1][2] if value is not None)
    paper = f"CPMN {figures} ({theirs})."
    report.write(study, name, title, paper, variants, results)
    facts = study.describe()
    data = ("SIMULATED: " if facts["simulated"] else "") + facts["data"]
    text = f"\n{rows(results, tiou, published, theirs, data)}"
    path = study.output / f"{name}.md"
    write_text(path, path.read_text(encoding="utf-8") + text)
    print(text, flush=True)
