"""Every number of a table or of the page stands under its heading."""

from __future__ import annotations

import pytest
from report_cases import counted, make_results, make_run

from decoupled_nets.reports.page import render
from decoupled_nets.reports.results import Cost, Score
from decoupled_nets.reports.summary import summarise
from decoupled_nets.reports.tables import cost_table, score_table


def hit(fgsm: int, pgd: int) -> dict[str, Score]:
    return {"fgsm": counted(fgsm, 100), "pgd10": counted(pgd, 100)}


@pytest.fixture
def rows():
    runs = [
        make_run("conv", 0, [700, 800], seconds=10.0, attacked=hit(30, 5)),
        make_run("tanh-cos", 0, [800, 790], seconds=3.0, attacked=hit(40, 6)),
    ]
    runs[1].parameters = 4321
    costs = [Cost("conv", 1.0, 1.0, 1.0, 3_000_000), Cost("tanh-cos", 1.25, 1.2, 1.5, 5_000_000)]
    return summarise(make_results(seeds=(0,), operators=["conv", "tanh-cos"], runs=runs, costs=costs))


def test_accuracies(rows):
    table = score_table(rows)
    assert [dict(zip(table.header, row, strict=True)) for row in table.rows] == [
        {
            "Operator": "conv",
            "Test accuracy, %": "80.0",
            "95 % interval of the first seed": "77.4–82.4",
            "Against conv, points": "–",
            "FGSM, %": "≤ 30.0",
            "PGD-10, %": "≤ 5.0",
        },
        {
            "Operator": "tanh-cos",
            "Test accuracy, %": "79.0",
            "95 % interval of the first seed": "76.4–81.4",
            "Against conv, points": "−1.0",
            "FGSM, %": "≤ 40.0",
            "PGD-10, %": "≤ 6.0",
        },
    ]


def test_costs(rows):
    """The best of the baseline, 80.0 %, is reached by the other operator in its first epoch, of 3 seconds."""
    table = cost_table(rows)
    assert [dict(zip(table.header, row, strict=True)) for row in table.rows] == [
        {
            "Operator": "conv",
            "Epochs to conv's best": "2",
            "Training seconds to it": "20.0",
            "Step time (quartiles)": "1.00×",
            "Peak memory, MB": "3.0",
            "Parameters": "1,234",
        },
        {
            "Operator": "tanh-cos",
            "Epochs to conv's best": "1",
            "Training seconds to it": "3.00",
            "Step time (quartiles)": "1.25× (1.20–1.50)",
            "Peak memory, MB": "5.0",
            "Parameters": "4,321",
        },
    ]


def test_facts_of_the_page():
    results = make_results(seeds=(0, 7), epochs=4)
    results.data.update(train_size=1111, val_size=222, test_size=33, image_size=[28, 30], in_chans=3)
    page = render(results, summarise(results), {})
    assert (
        "1,111 training images, 222 validation images, 33 test images, 3 classes, 28 × 30 pixels, 3 channels"
        in page
    )
    assert "4 epochs, seeds 0, 7" in page
    assert "width 0.25" in page
