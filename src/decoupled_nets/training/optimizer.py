"""The optimizer and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from timm.models import group_parameters
from timm.optim.lamb import Lamb
from timm.optim.muon import Muon
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from ..models import PixelNetwork
from ..nn import DDF2d
from ..nn.operator import DecoupledMixin
from ..optim import (
    decoupled_layers,
    operator_parameters,
    orthogonality,
    parameter_groups,
    total_variation,
)
from .optim_config import OptimConfig

_MAKERS: dict[str, Callable[[list[dict[str, Any]], OptimConfig], Optimizer]] = {
    "adam": lambda groups, config: torch.optim.Adam(groups, lr=config.lr),
    "adamw": lambda groups, config: torch.optim.AdamW(groups, lr=config.lr),
    "sgd": lambda groups, config: torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum),
    "lamb": lambda groups, config: Lamb(groups, lr=config.lr),
    # torch's own takes matrices only, and leaves everything else to a second optimizer.
    "muon": lambda groups, config: Muon(groups, lr=config.lr, momentum=config.momentum, nesterov=True),
}


def make_optimizer(network: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimizer over the network's parameter groups.

    The groups are those of :func:`decoupled_nets.parameter_groups`, divided further where layers have
    learning rates of their own, or only some kernels are for Muon.
    """
    groups = parameter_groups(network, config.weight_decay)
    if config.layer_decay != 1:
        scale = layer_scales(network, config.layer_decay)
        groups = _divided(groups, lambda p: {"lr": config.lr * scale[id(p)]})
    if config.operator_lr != 1:
        own, factor = {id(p) for p in operator_parameters(network)}, config.operator_lr
        spared = [{**group, "params": [p for p in group["params"] if id(p) not in own]} for group in groups]
        scaled = [
            {**group, "params": [p for p in group["params"] if id(p) in own], "operator_lr": factor,
             "lr": factor * group.get("lr", config.lr)}
            for group in groups
        ]  # fmt: skip
        groups = [group for group in (*spared, *scaled) if group["params"]]
    if config.optimizer == "muon":
        hidden = hidden_kernels(network)
        groups = _divided(groups, lambda p: {} if id(p) in hidden else {"use_fallback": True})
    return _MAKERS[config.optimizer](groups, config)


def penalties(network: nn.Module, config: OptimConfig) -> list[tuple[float, Callable[[nn.Module], Tensor]]]:
    """What is added to the loss of a step: factors, and functions of the network that has something of it."""
    layers = [layer for _, layer in decoupled_layers(network)]
    found: list[tuple[float, Callable[[nn.Module], Tensor]]] = []
    if config.orthogonality > 0 and layers:
        found.append((config.orthogonality, orthogonality))
    if config.total_variation > 0 and any(layer.operator.learns_slopes for layer in layers):
        found.append((config.total_variation, total_variation))
    return found


def _divided(
    groups: list[dict[str, Any]], own: Callable[[nn.Parameter], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The same groups, one for each set of further options that their parameters have."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            more = own(parameter)
            key = (number, *sorted(more.items()))
            found.setdefault(key, {**group, **more, "params": []})["params"].append(parameter)
    return list(found.values())


def layer_scales(network: nn.Module, decay: float) -> dict[int, float]:
    """The factor on the learning rate of each parameter, by its id: 1 in the last layer.

    Layers are those of timm, where the network tells them (``group_matcher``); else each kernel begins one,
    and a decoupled layer or a DDF is one with all that it has.
    """
    inner = _inner(network)
    if hasattr(inner, "group_matcher"):
        matcher = cast(Any, inner).group_matcher(coarse=False)
        of_name = group_parameters(inner, matcher, reverse=True)
        layers = {id(p): of_name[name] for name, p in inner.named_parameters() if name in of_name}
    else:
        whole = _whole_layers(inner)
        layers, number, within = {}, -1, None
        for p in inner.parameters():
            owner = whole.get(id(p))
            number += (p.dim() >= 2 if owner is None else owner is not within) or number < 0
            layers[id(p)], within = number, owner
    last = max(layers.values(), default=0)
    return {id(p): decay ** (last - layers.get(id(p), last)) for p in network.parameters()}


def _whole_layers(network: nn.Module) -> dict[int, nn.Module]:
    """The decoupled layer or DDF that a parameter belongs to, by the parameter's id."""
    found: dict[int, nn.Module] = {}
    for module in network.modules():
        if isinstance(module, (DecoupledMixin, DDF2d)):
            for parameter in module.parameters():
                found.setdefault(id(parameter), module)
    return found


def hidden_kernels(network: nn.Module) -> set[int]:
    """Ids of the kernels between the first one and the classifier: those that Muon is for.

    timm's Muon itself passes over those that are no matrices, such as depth-wise ones. What operators learn
    are no kernels, though they have two axes, too: rows are functions, each for channels of its own.

    Source: K. Jordan et al., "Muon", 2024: input and output layers are left to AdamW.
    """
    inner, learned = _inner(network), {id(p) for p in operator_parameters(network)}
    kernels = [id(p) for p in inner.parameters() if p.dim() >= 2 and id(p) not in learned]
    classifier = _classifier(inner)
    outer = {*kernels[:1], *(classifier or kernels[-1:])}
    return set(kernels) - outer


def _classifier(network: nn.Module) -> list[int]:
    """Ids of the parameters of the classifier, where a network tells which it is."""
    if not hasattr(network, "get_classifier"):
        return []
    told = cast(Any, network).get_classifier()
    return [id(p) for p in told.parameters()] if isinstance(told, nn.Module) else []


def _inner(network: nn.Module) -> nn.Module:
    return network.network if isinstance(network, PixelNetwork) else network


def updates(batches: int, config: OptimConfig) -> int:
    """How many steps the optimizer makes in a training of so many batches; each epoch ends with a step."""
    if config.accumulate == 1:
        return batches
    return config.epochs * math.ceil(batches / config.epochs / config.accumulate)


def make_schedule(optimizer: Optimizer, config: OptimConfig, steps: int) -> lr_scheduler.LRScheduler:
    """A linear warm-up, then the schedule over the rest of the steps."""
    warmup = int(config.warmup * steps)
    schedule = _falling(optimizer, config, max(steps - warmup, 1))
    if warmup == 0:
        return schedule
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, schedule], [warmup])


def _falling(optimizer: Optimizer, config: OptimConfig, steps: int) -> lr_scheduler.LRScheduler:
    """The schedule after the warm-up."""
    if config.schedule == "cosine" and config.final_lr == 0:
        return lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if config.schedule == "cosine":  # in proportion: layers may have learning rates of their own
        least = config.final_lr / config.lr
        return lr_scheduler.LambdaLR(
            optimizer, lambda step: least + (1 - least) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2
        )
    if config.schedule == "linear":
        return lr_scheduler.LinearLR(optimizer, 1.0, config.final_lr / config.lr, steps)
    if config.schedule == "step":
        return lr_scheduler.MultiStepLR(optimizer, [round(at * steps) for at in config.fractions])
    if config.schedule == "constant":
        return lr_scheduler.ConstantLR(optimizer, factor=1.0)
    raise ValueError(
        f"schedule = {config.schedule!r} received; needed: one of cosine, linear, step, constant"
    )


def shown_rate(optimizer: Optimizer) -> float:
    """The learning rate to report: that of the layers with the highest, what operators learn aside."""
    rates = [float(group["lr"]) / group.get("operator_lr", 1.0) for group in optimizer.param_groups]
    return max(rates)
