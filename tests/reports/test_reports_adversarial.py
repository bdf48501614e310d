"""What a report says of adversarial training."""

from __future__ import annotations

import dataclasses

from report_cases import make_results

from decoupled_nets.reports.results import Results
from decoupled_nets.reports.sections import Content
from decoupled_nets.reports.sections.score import score
from decoupled_nets.reports.summary import adversarial, summarise


def attacked(**changes) -> Results:
    """Two operators, two seeds each; one run overfits."""
    results = make_results(operators=["conv", "tanh-cos"], **changes)
    for i, run in enumerate(results.runs):
        run.adversarial = {
            "how": "PGD-7 within L∞ 8/255", "forwards": 8, "backwards": 8, "epoch": 3 + i, "fgsm": 0.5,
            "pgd": 0.4, "images": 500, "overfitted": 9 if i == 3 else None,
        }  # fmt: skip
    results.costs[0] = dataclasses.replace(results.costs[0], beside_plain=7.5)
    return results


def test_plain_training_is_not_mentioned():
    assert adversarial(make_results()) == ""


def test_how_what_it_cost_what_was_chosen_and_where_it_overfitted():
    results = attacked()
    words = (
        "Training was adversarial: PGD-7 within L∞ 8/255, 8 forward and 8 backward passes a step, 7.50× the"
        " time of a plain step of conv. Each network is that of the epoch with the best accuracy under PGD-10"
        " of 500 validation images (conv 3 and 4; tanh-cos 5 and 6). tanh-cos with seed 1 overfitted"
        " catastrophically in epoch 9, where its training ended."
    )
    assert adversarial(results) == words
    results.costs = []
    assert "8 backward passes a step. Each" in adversarial(results)


def test_the_page_has_it_and_does_not_speak_of_the_last_epoch():
    for results, epoch in (
        (attacked(), "the epoch that was chosen on validation images"),
        (make_results(), "the last"),
    ):
        page = " ".join(score(Content(results, summarise(results), {})))
        assert f"that of the network after {epoch}" in page
        assert ("Training was adversarial: PGD-7" in page) == (epoch != "the last")


def test_results_come_back_as_they_were():
    results = attacked()
    results.runs[0].history[0].watched = {"val_pgd": 0.25}
    again = Results.from_json(results.to_json())
    assert again.runs[0].adversarial == results.runs[0].adversarial
    assert again.runs[0].history[0].watched == {"val_pgd": 0.25}
    assert again.costs[0].beside_plain == 7.5
    assert again.costs[1].beside_plain is None
