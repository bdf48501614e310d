"""An evaluation that has a little of everything, and what it found."""

from __future__ import annotations

from functools import cache

import torch
from network_zoo import COUNT, THREAT, honest, pictures
from torch import Tensor

from decoupled_nets.robustness import Robustness, Stage, Suite, evaluate

#: All kinds of stages, with few steps.
SHORT = Suite(
    "short",
    (
        Stage("corners", every=True),
        Stage("fgsm", every=True),
        Stage("pgd", every=True),
        Stage("apgd-ce", options={"steps": 10}),
        Stage("apgd-t", options={"steps": 10}),
        Stage("fab-t", options={"steps": 10}),
        Stage("square", options={"queries": 60}),
        Stage("apgd-margin", wide=True, options={"steps": 10}),
        Stage("pgd-margin", surrogate=True, options={"steps": 5, "restarts": 2}),
        Stage("fgsm", every=True, threat="linf:0.3"),
    ),
    "a little of everything",
)


def data(count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Images of their own, and labels."""
    return pictures(count, seed=2)


@cache
def found(name: str = "cnn", threat: str = THREAT) -> Robustness:
    """What the suite finds, computed once."""
    return evaluate(honest(name), *data(), threat, SHORT, checks=False)


def same(one: Robustness, other: Robustness, order: Tensor | None = None) -> None:
    """Equal to the bit."""
    order = torch.arange(len(one)) if order is None else order
    for name in ("clean", "robust", "step", "distance", "logits", "adversarial"):
        assert torch.equal(getattr(one, name)[order], getattr(other, name)), name
    assert [one.broken_by[i] for i in order.tolist()] == other.broken_by
    for mine, theirs in zip(one.stages, other.stages, strict=True):
        assert torch.equal(mine.broken[order], theirs.broken), mine.name
        assert torch.equal(mine.steps[order], theirs.steps), mine.name
