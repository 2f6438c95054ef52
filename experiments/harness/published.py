"""Our rows beside published ones, as in the paper's Tables 1 and 2."""

from collections.abc import Sequence

from experiments.harness.report import markdown, spread
from experiments.harness.study import PROTOCOLS, Published, Result


def table(published: Published, results: Sequence[Result], data: str) -> str:
    """The table in Markdown: published rows, then ours by each protocol.

    Args:
      published: the paper's rows.
      results: of one variant, a seed each; they may have more thresholds than are shown.
      data: what our rows were measured on.
    """
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
