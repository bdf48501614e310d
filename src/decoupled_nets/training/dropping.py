"""Dropout before the classifier and stochastic depth, put into a network that is there already."""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ..models import PixelNetwork

_NAMES = ("drop_path", "drop_path1", "drop_path2")  # of timm's blocks, and of ours


def drop_in_training(network: nn.Module, rate: float, path: float) -> None:
    """Have a network drop features and residual branches while it trains; afterwards it gives what it gave.

    Args:
        network: with or without its normalisation.
        rate: share of the features that the classifier does not see.
        path: probability of leaving out a residual branch: that of the last block, in proportion before.

    Raises:
        ValueError: it has no classifier, or no residual branches, that are known.
    """
    inner = network.network if isinstance(network, PixelNetwork) else network
    if rate:
        _classifier(inner, rate).register_forward_pre_hook(_Dropout(rate))
    if not path:
        return
    blocks = [block for block in inner.modules() if _is_residual(block)]
    if not blocks:
        raise ValueError(
            f"drop_path = {path} received; needed: 0, as {_name(inner)} has no residual branches to leave out"
        )
    for number, block in enumerate(blocks):
        _set(block, path * (number + 1) / len(blocks))


def _classifier(network: nn.Module, rate: float) -> nn.Module:
    told = cast(Any, network).get_classifier() if hasattr(network, "get_classifier") else None
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    found = told if isinstance(told, nn.Module) and any(True for _ in told.parameters()) else None
    if found is None and linear:
        found = linear[-1]
    if found is None:
        raise ValueError(
            f"drop_rate = {rate} received; needed: 0, as {_name(network)} has no linear classifier"
        )
    return found


class _Dropout:
    """A hook, not a layer: the names of the network's parts stay theirs."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (F.dropout(inputs[0], self.rate, module.training), *inputs[1:])


def _name(network: nn.Module) -> str:
    recipe = getattr(network, "recipe", None)
    return recipe["model"] if isinstance(recipe, dict) and "model" in recipe else type(network).__name__


def _is_residual(block: nn.Module) -> bool:
    if isinstance(block, StochasticDepth):
        return True
    return any(isinstance(getattr(block, name, 0), nn.Identity | DropPath | None) for name in _NAMES)


def _set(block: nn.Module, probability: float) -> None:
    if isinstance(block, StochasticDepth):  # torchvision's
        block.p = probability
        return
    for name in _NAMES:
        if isinstance(getattr(block, name, 0), nn.Identity | DropPath | None):
            setattr(block, name, DropPath(probability))
