"""What the page says of how networks started."""

from __future__ import annotations

import html

from report_cases import make_results

from decoupled_nets.reports.page import render
from decoupled_nets.reports.summary import summarise

WEIGHTS = {
    "label": "base.safetensors", "loaded": 60, "parameters": 900, "of": 1000, "missing": ["new.a"],
    "unexpected": [f"old.{k}" for k in range(8)],
    "other_shape": [{"name": "fc.weight", "shape": [10, 512], "there": [1000, 512]}],
}  # fmt: skip
PLAIN = {"how": "as built", "weights": WEIGHTS, "normalisation": "that of the weights", "notes": []}
CONVERTED = {
    **PLAIN, "how": "calibrated", "converted": 16, "left": 4, "notes": ["one layer was <left>"],
    "calibration": {"before": {"agreement": 0.125, "error": 1}, "after": {"agreement": 0.9531, "error": 0.1}},
}  # fmt: skip


def page(*starts):
    results = make_results(operators=["conv", "tanh-cos"], seeds=(0,))
    for run, start in zip(results.runs, starts, strict=False):
        run.start = start
    return html.unescape(render(results, summarise(results), {}))


def test_what_of_the_weights_fitted_and_why_the_rest_did_not():
    text = page(PLAIN, CONVERTED)
    for words in (
        "base.safetensors: 60 tensors, 90.0 % of 1,000 parameters",
        "another shape there</dt><dd>fc.weight (10×512, there 1000×512)",
        "missing there</dt><dd>new.a",
        "old.0, old.1, old.2, old.3, old.4, old.5 and 2 more",
        "that of the weights",
        "one layer was <left>",
    ):
        assert words in text, words
    row = text.partition('<th scope="row">tanh-cos</th>')[2].partition("</tr>")[0]
    assert [cell.partition("<")[0] for cell in row.split("<td>")[1:]] == [
        "calibrated",
        "16",
        "4",
        "12.5 %",
        "95.3 %",
    ]


def test_networks_of_new_weights_have_no_such_section():
    assert "<h2>Start</h2>" not in page({"how": "as built", "notes": []}, {})
    assert "<h2>Start</h2>" not in page()
    assert "<h2>Start</h2>" in page({"how": "as built"}, {"how": "converted", "converted": 3, "left": 1})
