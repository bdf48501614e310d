"""Suites by name or as lists, and the table that a result prints."""

from __future__ import annotations

import json
import re

import pytest
import torch
from network_zoo import THREAT, honest, liar, pictures

from decoupled_nets.robustness import SUITES, Stage, Suite, Threat, evaluate
from decoupled_nets.robustness.suites import suite_named


def rows(text: str) -> dict[str, list[str]]:
    """The cells of every line of a table, by its first cell."""
    lines = [re.split(r"[│┃]", line) for line in text.splitlines() if re.match(r"\s*[│┃]", line)]
    cells = [[cell.strip() for cell in line[1:-1]] for line in lines]
    return {line[0]: line[1:] for line in cells if line[0]}


def test_a_result_prints_its_numbers():
    images, labels = pictures(48, seed=2)
    found = evaluate(honest("cnn"), images, labels, THREAT, "quick")
    assert found.flags == []
    text = str(found)
    table = rows(text)
    low, high = 100 * found.interval.low, 100 * found.interval.high
    stand = f"{100 * found.accuracy:.1f}"
    assert table["none"][:4] == [
        f"{100 * float(found.clean.double().mean()):.1f}",
        "92.6 to 100.0",
        "48",
        "0",
    ]
    assert table["all of them"][:2] == [f"≤ {stand}", f"{low:.1f} to {high:.1f}"]
    for stage in found.stages:
        title = stage.title if stage.every else f"… and {stage.title}"
        left = stage.left if stage.every else 48 - int((found.clean & ~found.robust).sum())
        seen, broken = table[title][2:4]
        assert (int(seen), int(broken)) == (stage.seen, stage.count)
        assert table[title][0].startswith("≤ ")
        if stage.every:
            assert table[title][0] == f"≤ {100 * left / 48:.1f}"
    for check in found.checks:
        assert table[check.name][0] == "ok"
    assert found.verdict in text
    assert "\x1b" not in text


def test_the_verdict_never_stands_without_what_it_belongs_to():
    images, labels = pictures(48, seed=2)
    for model, suite in ((honest("cnn"), "fgsm"), (honest("cnn"), "quick"), (liar("large"), "quick")):
        for checks in (False, True):
            found = evaluate(model, images, labels, THREAT, suite, checks=checks)
            low, high = 100 * found.interval.low, 100 * found.interval.high
            begins = f"{suite}, L∞ 0.06, 48 images: at most {100 * found.accuracy:.1f} % stand"
            assert found.verdict.startswith(f"{begins} (95 % interval {low:.1f} to {high:.1f})")
            assert "robust" not in str(found)
            ends = "No check was made." if not checks else "it may be far too high." if found.flags else None
            assert found.verdict.endswith(ends or "No sign of masking.")
            assert all(name in found.verdict for name in found.flags)


def test_plain_values_are_json():
    images, labels = pictures(16, seed=2)
    found = evaluate(honest("cnn"), images, labels, "linf:0.2", "quick")
    values = json.loads(json.dumps(found.to_dict()))
    assert values["robust"] == int(found.robust.sum())
    assert values["interval"] == [found.interval.low, found.interval.high]
    assert [one["name"] for one in values["attacks"]] == [stage.name for stage in found.stages]
    broken = found.distance[found.clean & ~found.robust]
    assert len(broken) == int(found.clean.sum())
    assert values["median_distance"] == pytest.approx(float(broken.median()), rel=0.2)


def test_standard_is_autoattack():
    stages = SUITES["standard"].stages
    assert [stage.attack for stage in stages] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    budgets = [stage.settings.get("queries", stage.settings.get("steps")) for stage in stages]
    assert budgets == [100, 100, 100, 5000]
    assert [stage.cost(4) for stage in stages] == [300, 900, 900, 5000]


def test_deep_has_more_of_everything_than_standard():
    names = [stage.name for stage in SUITES["deep"]]
    assert names[:4] == [stage.name for stage in SUITES["standard"]]
    assert {"apgd-margin+float64", "pgd-margin+surrogate", "square-20000"} < set(names)


def test_a_list_of_attacks_is_a_suite():
    suite = suite_named("fgsm, pgd")
    assert [(stage.attack, stage.every) for stage in suite] == [("fgsm", True), ("pgd", True)]
    assert suite_named(suite) is suite
    with pytest.raises(ValueError, match="each attack once"):
        suite_named("pgd,pgd")
    with pytest.raises(ValueError, match=r"standart.*standard"):
        suite_named("standart")


def test_what_is_not_made_for_a_norm_is_left_out():
    paper = SUITES["paper"].for_threat(Threat.parse("l2:0.5"))
    assert [stage.name for stage in paper] == ["fgsm", "bim"]
    only = Suite("own", (Stage("fgsm", threat="linf:0.3"),), "")
    with pytest.raises(ValueError, match=r"own has no attack for L2 0\.5"):
        only.for_threat(Threat.parse("l2:0.5"))


def test_names_tell_stages_apart():
    stage = Stage("apgd-margin", wide=True, surrogate=True, threat="linf:0.3")
    assert stage.name == "apgd-margin+float64+surrogate@linf:0.3"
    assert "float64, surrogate gradient" in stage.title
    for suite in SUITES.values():
        assert len({one.name for one in suite}) == len(suite.stages)


def test_the_paper_s_suite_says_what_is_guessed():
    images, labels = pictures(16, seed=2)
    found = evaluate(honest("cnn"), images, labels, THREAT, "paper", checks=False)
    other = [stage for stage in found.stages if stage.threat != str(found.threat)]
    assert [stage.threat for stage in other] == ["L∞ 0.3", "L∞ 0.3"]
    assert int(torch.stack([stage.broken for stage in other]).any(0).sum()) > int((~found.robust).sum())
    assert "guessed" in SUITES["paper"].about
