import io

from report_cases import make_results, make_run
from rich.console import Console

from decoupled_nets.reports.summary import summarise
from decoupled_nets.reports.tables import Table, as_html, as_markdown, as_rich, tables


def printed(table, width=80):
    file = io.StringIO()
    Console(file=file, width=width).print(as_rich(table))
    return file.getvalue()


def test_every_number_shows_at_80_columns():
    results = make_results(seeds=(0, 1))
    results.runs[-1].history[-1].train_loss = float("nan")
    for table in tables(summarise(results)):
        text = printed(table)
        assert all(len(line) <= 80 for line in text.splitlines())
        for row in table.rows:
            assert all(cell in text for cell in row[1:])
        assert "(diverged" in text


def test_a_table_of_many_columns_keeps_the_names_of_its_rows():
    """Columns that do not fit follow below, and nothing is cut off."""
    header = ["Corruption", *(f"{name}-cos (batch norm False, relu False)" for name in "abcdefghij")]
    rows = [[row, *(f"{10 * k + n}.5" for n in range(10))] for k, row in enumerate(["gaussian noise", "fog"])]
    text = printed(Table("Accuracy", header, rows))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.count("gaussian noise") == text.count("Accuracy") == text.count("(continued)") + 1 > 1
    for name in "abcdefghij":
        assert text.count(f"{name}-cos") == 1
    assert all(cell in text for row in rows for cell in row)
    assert "…" not in text


def test_two_names_that_begin_alike_are_told_apart():
    rows = [[f"spline-spline@{start}-cos", "1"] for start in ("linear", "sphere")]
    text = "".join(printed(Table("c", ["Operator", "n"], rows), 22).split())
    assert "linear" in text
    assert "sphere" in text


def test_markdown():
    accuracy, cost = (as_markdown(table) for table in tables(summarise(make_results(seeds=(0,)))))
    assert accuracy.splitlines()[2].startswith("| conv | 84.0 | 81.6–86.1 | – | ≤ 30.0 | ≤ 5.0 |")
    assert "| tanh-cos | 3 | 6.00 | 1.20× (1.10–1.30) | 5.0 | 1,234 |" in cost
    assert as_markdown(Table("c", ["a|b"], [["c|d"]])) == "| a\\|b |\n| --- |\n| c\\|d |\n"


def test_html_is_escaped_and_scoped():
    text = as_html(Table("<c>", ["<h>", "n"], [["<r>", "<1"]]))
    assert '<th scope="col">&lt;h&gt;</th>' in text
    assert '<th scope="row">&lt;r&gt;</th><td>&lt;1</td>' in text


def test_what_is_missing_is_a_dash_or_never():
    runs = [make_run("conv", 0, [900]), make_run("tanh-cos", 0, [800])]
    results = make_results(seeds=(0,), operators=["conv", "tanh-cos", "ball-cos"], runs=runs, costs=[])
    _, cost = tables(summarise(results))
    assert cost.rows[1][1:4] == ["never", "–", "–"]
    assert cost.rows[2][1:] == ["–"] * 5


def test_no_operators():
    assert [table.rows for table in tables([])] == [[], []]
    assert printed(tables([])[0])
