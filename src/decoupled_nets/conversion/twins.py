"""Plain layers that become their decoupled twins."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..nn import DecoupledConv1d
from ..nn.operator import LEARNED, Radius
from ..ops.decoupled.learned import falls_into
from ..ops.decoupled.operator import Operator, Weighting, resolve_operator
from .classes import (
    computes_as_its_base,
    is_decoupled,
    parametrizations_in_evaluation,
    plain_class,
    put_on,
    to_plain,
)
from .trial import find_twin, taken


@dataclass(frozen=True)
class Decoupled:
    """The replacement of a layer by its decoupled twin.

    Args:
        operator: an :class:`Operator` or its shorthand.
        radius: as in :class:`decoupled_nets.DecoupledConv2d`, like weighting and eps.
        weighting: how ``‖w‖`` counts.
        eps: added to the squared norms under the root.
    """

    operator: Operator | str
    radius: Radius = "relative"
    weighting: Weighting | None = None
    eps: float = 1e-4
    _found: dict[nn.Module, type] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "operator", resolve_operator(self.operator))
        # One layer for the errors and warnings of all.
        one = dataclasses.replace(resolve_operator(self.operator), channel_groups=1)
        DecoupledConv1d(
            1, 1, 1, device="meta", operator=one, radius=self.radius, weighting=self.weighting,
            eps=self.eps,
        )  # fmt: skip

    def refusal(self, module: nn.Module) -> str | None:
        """Why a layer cannot be converted, or None."""
        if (reason := why_unfit(module)) is not None:
            return reason
        twin, reason = find_twin(module)
        if twin is None:
            return reason
        if (reason := why_no_groups(self.operator, module)) is not None:
            return reason
        if (name := taken(module, twin)) is not None:
            return f"it has an attribute {name!r} of its own"
        self._found[module] = twin
        return None

    def became(self, module: nn.Module) -> str:
        """What the layer becomes, in words."""
        return f"{self._found[module].__name__} {self.operator}"

    def note(self, module: nn.Module) -> str | None:
        """Nothing is lost; that a class was tried and not known is said."""
        kind = plain_class(module)
        return None if computes_as_its_base(kind) else "tried: it computes the same"

    @torch.no_grad()
    def apply(self, module: Any) -> nn.Module:
        """Convert a layer; returns itself."""
        trained = any(p.requires_grad for p in module.parameters())
        radius = self.radius if resolve_operator(self.operator).uses_radius else "relative"
        put_on(module, self._found[module])
        try:
            with parametrizations_in_evaluation(module):  # spectral_norm would go on with its iteration
                module._init_operator(self.operator, radius, self.weighting, self.eps)
        except BaseException:
            to_plain(module)
            raise
        for name in ("radius", "kappa", *LEARNED):
            if isinstance(parameter := getattr(module, name), nn.Parameter):
                parameter.requires_grad_(trained)
        return module


def why_no_groups(operator: Operator | str, module: Any) -> str | None:
    """Why a layer's channels cannot be learned for in so many groups, or None."""
    rows, groups = resolve_operator(operator).channel_groups, getattr(module, "groups", 1)
    with parametrizations_in_evaluation(module), torch.no_grad():
        channels = len(module.weight)
    if falls_into(rows, channels, groups):
        return None
    return f"its {channels} channels in {groups} groups do not fall into channel_groups = {rows}"


def why_unfit(module: nn.Module) -> str | None:
    """Why a layer cannot be converted whatever it computes, or None."""
    if is_decoupled(module):
        return "decoupled already"
    if "forward" in module.__dict__ or "_conv_forward" in module.__dict__:
        return "its forward was replaced on the object itself"
    with parametrizations_in_evaluation(module), torch.no_grad():
        weight: Any = module.weight
    if not weight.is_floating_point():
        return f"its weight is of type {weight.dtype}"
    return None
