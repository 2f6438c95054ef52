"""Means, deviations and errors in the tables, and the paper's rows beside ours."""

from experiments.harness import report
from experiments.harness.study import PROTOCOLS, Published, Result, Variant


def result(variant: str, seed: int, values: tuple[float, float]) -> Result:
    """A result whose two protocols are equal."""
    both = {name: list(values) for name in PROTOCOLS}
    return Result(variant, seed, [0.1, 0.5], both, 0.75, 10, 2, "model")


def test_table_means_and_errors():
    variants = [Variant("a"), Variant("b")]
    results = [
        result("a", 0, (0.30, 0.10)),  # average 0.20
        result("a", 1, (0.50, 0.30)),  # average 0.40
        result("b", 0, (0.40, 0.10)),  # average 0.25, +5 points
        result("b", 1, (0.60, 0.50)),  # average 0.55, +15 points
    ]
    lines = report.table(results, variants, "thumos14", None).splitlines()
    # a: mean 30, standard deviation sqrt(2 · 10²) = 14.1.
    assert lines[2] == "| a | 40.0 | 20.0 | 30.0 ± 14.1 |  | 75.0 ± 0.0 | 10 | 2.0 |"
    # b - a: 5 and 15, mean 10, standard deviation 7.07, standard error 7.07 / sqrt(2) = 5.0.
    assert "| b | 50.0 | 30.0 | 40.0 ± 21.2 | +10.0 ± 5.0 |" in lines[3]
    to_b = report.table(results, variants, "thumos14", reference=1).splitlines()
    assert "-10.0 ± 5.0" in to_b[2] and "| 40.0 ± 21.2 |  |" in to_b[3]


def test_a_row_may_name_what_its_differences_are_to():
    """As the control rows of Table 3; a row that a setting made superfluous is passed over."""
    variants = [Variant("a"), Variant("b"), Variant("c", to=("a", "b", "left out"))]
    values = {"a": (0.2, 0.2), "b": (0.3, 0.3), "c": (0.25, 0.25)}
    results = [result(name, 0, both) for name, both in values.items()]
    for reference in (None, 0):
        lines = report.table(results, variants, "activitynet", reference).splitlines()
        assert "| 30.0 | +10.0 |" in lines[3]
        assert "| 25.0 | +5.0 to a; -5.0 to b |" in lines[4]


def test_published_rows_are_beside_ours():
    results = [result("CPMN", 0, (0.30, 0.10)), result("CPMN", 1, (0.50, 0.30))]
    theirs = Published(
        data="T14", preset="thumos14", tiou=(0.5,), rows=[("full", "Theirs", (1.5, None))]
    )
    text = report.beside(theirs, results, {"simulated": True, "data": "x"})
    assert "| full | Theirs | T14 (published) | not named | 1.5 | - |" in text
    # At 0.5: 10 and 30; averages 20 and 40.
    for protocol in PROTOCOLS:
        row = f"| weak | CPMN, this code | SIMULATED: x | {protocol} | 20.0 ± 14.1 | 30.0 ± 14.1 |"
        assert row in text
