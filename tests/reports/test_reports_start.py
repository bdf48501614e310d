"""What the page says of how the networks started."""

from __future__ import annotations

from report_cases import make_results, make_run

from decoupled_nets.reports.page import render
from decoupled_nets.reports.summary import summarise

HEADING = "What the networks started from"


def page(results):
    return render(results, summarise(results), {})


def run_of(operator, **start):
    run = make_run(operator, 0, [500])
    run.start = start
    return run


def test_the_page_says_what_was_loaded_converted_and_calibrated():
    loaded = {
        "label": "best.ckpt", "loaded": 3, "parameters": 90, "of": 120, "missing": ["a.weight"],
        "unexpected": [f"old.{k}" for k in range(8)],
        "other_shape": [{"name": "fc.weight", "shape": [3, 2], "there": [9, 2]}],
    }  # fmt: skip
    error = {"before": {"agreement": 0.123, "error": 1.0}, "after": {"agreement": 0.987, "error": 0.1}}
    runs = [
        run_of("conv", how="as built", normalisation="that of the weights", weights=loaded, notes=[]),
        run_of("tanh-cos", how="calibrated", weights=loaded, converted=11, left=3, calibration=error,
               normalisation="that of the weights", notes=["<of> this & that"]),
    ]  # fmt: skip
    text = page(make_results(seeds=(0,), operators=["conv", "tanh-cos"], runs=runs))
    assert HEADING in text
    said = (
        "best.ckpt", "75.0 %", "11 of 14 layers", "calibrated", "12.3 %", "98.7 %", "&lt;of&gt; this &amp;",
        "New, of another shape there</dt><dd>fc.weight (3×2, there 9×2)<",
        "New, missing there</dt><dd>a.weight<",
        "Not used, unknown here</dt><dd>old.0, old.1, old.2, old.3, old.4, old.5 and 2 more<",
        "Images are normalised by that of the weights",
    )  # fmt: skip
    assert [words for words in said if words not in text] == []


def test_networks_of_ours_with_new_weights_have_no_such_section():
    runs = [run_of(name, how="as built", normalisation="x", notes=[]) for name in ("conv", "tanh-cos")]
    assert HEADING not in page(make_results(seeds=(0,), operators=["conv", "tanh-cos"], runs=runs))
    assert HEADING not in page(make_results())


def test_the_page_says_why_there_are_no_features():
    config = {"data": "sample", "model": "timm:resnet10t", "feature_epochs": 2}
    words = "timm:resnet10t is not built with them"
    assert words in page(make_results(config=config, sections=["attacks"], features=[]))
    assert words not in page(
        make_results(config={**config, "feature_epochs": 0}, sections=["attacks"], features=[])
    )
    assert words not in page(make_results(config=config))
