"""The page of results says what the experiments wrote."""

import pytest

from cpmn_tf.errors import UserError
from experiments.harness import results_page

COMMAND = "`python -m experiments.run table3 --data_dir=x --output_dir=runs/results/small`\n"


@pytest.fixture
def results(tmp_path):
    (tmp_path / "small").mkdir()
    tables = "| activitynet | a |\n| --- | --- |\n| row | 1 |\n\n| thumos14 | a |\n| row | 2 |\n"
    (tmp_path / "small" / "table3.md").write_text(f"# Table\n\n{tables}")
    return tmp_path


def test_the_page_shows_what_is_in_results():
    text = (results_page.HERE / "README.md").read_text("utf-8")
    assert results_page.updated(text, results_page.HERE / "results") == text


def test_the_table_of_the_same_protocol_is_put_in(results):
    before = f"{COMMAND}\nwords\n\n| thumos14 | old |\n| row | old |\n\nafter\n"
    after = f"{COMMAND}\nwords\n\n| thumos14 | a |\n| row | 2 |\n\nafter\n"
    assert results_page.updated(before, results) == after


def test_a_command_that_is_given_a_name_writes_that_file(results):
    command = COMMAND.replace("table3", "join --name=table3")
    text = f"{command}| activitynet | old |\n| row | old |\n"
    assert "| row | 1 |" in results_page.updated(text, results)


@pytest.mark.parametrize("text", [COMMAND, COMMAND + "| other | a |\n| row | 1 |\n"])
def test_a_command_without_table_is_refused(results, text):
    with pytest.raises(UserError, match=r"table3\.md"):
        results_page.updated(text, results)
