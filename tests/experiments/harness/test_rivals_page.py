"""The rivals' page says what was measured, and what was not."""

import pytest

from experiments.harness import rivals_page
from experiments.harness.report import publish
from experiments.harness.study import PROTOCOLS, Result, Variant


@pytest.fixture
def results(tmp_path):
    """Two seeds on `watch`, one on a simulation, which has no row of W-TALC."""
    for name, preset, methods, values in (
        ("watch", "watch", ("W-TALC", "CPMN, published"), (0.2, 0.4)),
        ("simulated_single", "thumos14", ("CPMN, published",), (0.6,)),
    ):
        variants = [Variant(method) for method in methods]
        found = [
            Result(method, seed, [0.5], {key: [value] for key in PROTOCOLS}, 1.0, 9, 0, "m")
            for seed, value in enumerate(values)
            for method in methods
        ]
        facts = {
            "title": "Rivals",
            "paper": "nothing",
            "data": "small data",
            "simulated": name != "watch",
            "preset": preset,
            "set": ["training.epochs=8"],
            "precision": "float32",
            "split": "testing",
            "videos": 4,
            "instances": 8,
            "annotations": "annotations.json",
            "annotation_sha256": "0",
            "seeds": len(values),
            "costs": {method: {"minutes": [1.0, 2.0], "passes": 30} for method in methods},
        }
        (tmp_path / name).mkdir()
        costs = "| training | minutes |\n| --- | --- |\n| W-TALC | 1.0 |\n"
        publish(tmp_path / name / "rivals", facts, variants, found, 0, costs)
    return tmp_path


def test_the_page_shows_what_is_in_results():
    text = (rivals_page.HERE / "rivals.md").read_text("utf-8")
    assert rivals_page.updated(text, rivals_page.HERE / "results") == text


def test_methods_and_data_sets_in_one_table(results):
    before = "text\n" + rivals_page.BEGIN + "old" + rivals_page.END + "end\n"
    text = rivals_page.updated(before, results)
    assert text.startswith(
        "text\n<!-- measured -->\n\nNot run yet: `short`, `simulated_several`.\n"
    )
    assert text.endswith("<!-- end -->\nend\n") and "old" not in text
    assert "| method | watch; minutes | simulated_single; minutes | mean |" in text
    # 20 and 40: mean 30, standard deviation 14.1, standard error 10; 60 by itself; their mean 45.
    assert "| W-TALC | 30.0 ± 10.0; 1.0 | - |  |" in text
    assert "| CPMN, published | 30.0 ± 10.0; 1.0 | 60.0; 1.0 | 45.0 |" in text
    two_seeds = {"results": [dict(variant="plus", map={"activitynet": [v]}) for v in (0.2, 0.4)]}
    two_seeds |= {"variants": ["plus"], "costs": {"plus": {"minutes": [1.0]}}}
    # √(10² + 10²) / 2
    row = rivals_page.overview({"watch": two_seeds, "short": two_seeds}).splitlines()[-1]
    assert row == "| plus | 30.0 ± 10.0; 1.0 | 30.0 ± 10.0; 1.0 | 30.0 ± 7.1 |"
    call = (
        "`python -m experiments.run rivals --preset=thumos14 --precision=float32 "
        "--set=training.epochs=8 --data_dir=runs/simulated_single "
        "--output_dir=runs/results/simulated_single --seeds=1` (SIMULATED)"
    )
    assert call in text and text.count("| activitynet |") == 2
    assert rivals_page.updated(text, results) == text


def test_parts_are_compared_on_the_same_seeds():
    folds = {"joined": ["a", "b"], "trainings": 2}
    judged = [("plus", 0.5), ("plus", 0.7), ("no dropout", 0.4), ("no dropout", 0.5)]
    results = [dict(variant=name, map={"activitynet": [v]}) for name, v in judged]
    table = rivals_page.parts_of_plus(
        {
            "watch": {"variants": ["plus"], "results": results[:2], "seeds": 2},
            "recipe_watch": {"variants": ["plus", "no dropout"], "results": results, **folds},
        }
    )
    assert table.splitlines()[0] == "| instead | watch, 2 seeds | recipe_watch, 2 folds |"
    assert table.splitlines()[2:] == [
        "| plus | 60.0 ± 10.0 | 60.0 ± 10.0 |",
        "| no dropout | - | -15.0 ± 5.0 |",
    ]
