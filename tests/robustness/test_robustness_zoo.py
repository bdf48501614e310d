"""Networks that mislead attacks are flagged and broken; honest ones are not flagged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from network_zoo import COUNT, HONEST, LIARS, THREAT, honest, liar, pictures
from torch import nn

from decoupled_nets.robustness import SUITES, Robustness, evaluate

#: Which check has to speak up; more of them may.
BY = {
    "large": "loss scale", "tiny": "loss scale", "shifted": "loss scale", "softmax": "inference",
    "detached": "gradients", "rounded": "gradients", "flipped": "gradients", "noisy": "inference",
    "dropping": "inference", "batch": "inference", "winners": "linearity", "overfitted": "linearity",
    "wavy": "linearity", "binary": "saturation",
}  # fmt: skip
#: Without an honest network behind them.
ALONE = ("winners", "binary", "overfitted")
RANDOM = ("noisy", "dropping")


def attacked(model: nn.Module, suite: object, count: int = COUNT, *, checks: bool = True) -> Robustness:
    images, labels = pictures(count, _classes(model), seed=2)
    return evaluate(model, images, labels, THREAT, suite, checks=checks)  # type: ignore[arg-type]


def _classes(model: nn.Module) -> int:
    return 2 if model is honest("two") else 4


@cache
def behind(count: int) -> int:
    """What `standard` leaves of the honest network behind the liars."""
    return int(attacked(honest("cnn"), "standard", count, checks=False).robust.sum())


def shorter(*, without: tuple[str, ...]) -> object:
    """`deep` without some stages: the long random search costs minutes, and adds nothing on small images."""
    deep = SUITES["deep"]
    return dataclasses.replace(deep, stages=tuple(s for s in deep.stages if s.attack not in without))


def examples(names: Iterable[str], *some: str, sweep: tuple[str, ...] | None = None) -> list[Any]:
    """All of them: some, then those of the sweep (None: all others), and the rest where there is time."""
    marks = {True: pytest.mark.sweep, False: pytest.mark.long}
    return [
        name if name in some else pytest.param(name, marks=marks[sweep is None or name in sweep])
        for name in names
    ]


def test_every_liar_has_its_check():
    assert BY.keys() == LIARS.keys()


@pytest.mark.parametrize("name", LIARS)
def test_liars_are_flagged_by_the_right_check(name: str):
    found = attacked(liar(name), "quick")
    assert BY[name] in found.flags, "\n".join(f"{c.name}: {c.text}" for c in found.checks)
    assert BY[name] in found.verdict
    assert "No sign of masking" not in str(found)


@pytest.mark.parametrize("name", examples(LIARS, "overfitted", sweep=()))
def test_deep_breaks_liars(name: str):
    """Where an honest network is behind, no more stands than of it, but for an image of rounding."""
    count = 24 if name in RANDOM else COUNT
    without = ("square", "square-20000") if name in RANDOM else ("square-20000",)
    found = attacked(liar(name), shorter(without=without), count, checks=False)
    stand = int(found.robust.sum())
    if name in ALONE:
        fooled = attacked(liar(name), "fgsm", checks=False)
        assert stand <= 2 / 3 * int(fooled.robust.sum())
    else:
        assert stand <= behind(count) + 1
    assert int(found.clean.sum()) > 0.9 * count
    assert (found.notes != []) == (name in RANDOM)


@pytest.mark.parametrize("name", examples(HONEST, "linear", "cnn", "tanh-cos", "two"))
def test_honest_networks_are_not_flagged_by_quick(name: str):
    found = attacked(honest(name), "quick")
    assert set(found.flags) <= {"convergence"}, "\n".join(f"{c.name}: {c.text}" for c in found.checks)
    assert 0 < int(found.robust.sum()) < int(found.clean.sum())


@pytest.mark.parametrize("name", examples(HONEST, "linear", sweep=()))
def test_honest_networks_are_not_flagged_by_standard(name: str):
    found = attacked(honest(name), "standard")
    assert found.flags == [], "\n".join(f"{c.name}: {c.text}" for c in found.checks)
    assert "No sign of masking" in found.verdict


def test_the_same_holds_for_l2():
    images, labels = pictures(COUNT, seed=2)

    def flags(model: nn.Module) -> list[str]:
        return evaluate(model, images, labels, "l2:0.4", "quick").flags

    assert set(flags(honest("cnn"))) <= {"convergence"}
    assert "gradients" in flags(liar("flipped"))
    assert "loss scale" in flags(liar("large"))
