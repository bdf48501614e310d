"""A backward pass for layers that saturate: the attack goes on where the network's own gradient says little.

A decoupled layer with a bounded h loses the radial part of its gradient, and sphere's grows as 1/‖x‖ on dark
patches; normalised filters divide by a deviation that may be tiny. Here the forward pass stays as it is, and
the gradient is that of the same layer with a linear h, or with fixed normalisation, scaled to the same size
(BPDA; Athalye et al., 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.filter_norm import FilterNorm
from ..nn.operator import DecoupledMixin
from ..ops.decoupled.operator import Operator

_TINY = 1e-12


@contextmanager
def surrogate_backward(model: nn.Module, *, on: bool = True) -> Iterator[int]:
    """Give the layers that saturate the surrogate gradient, for as long as it lasts.

    Args:
        model: outputs stay the same to the bit.
        on: False does nothing.

    Yields:
        How many layers have one.
    """
    hooks = []
    if on:
        for module in model.modules():
            if isinstance(module, DecoupledMixin):
                hooks.append(module.register_forward_hook(_linear_gradient))
            elif isinstance(module, FilterNorm):
                hooks.append(module.register_forward_hook(_fixed_normalisation))
    try:
        yield len(hooks)
    finally:
        for hook in hooks:
            hook.remove()


class _Straight(torch.autograd.Function):
    """The first argument's value with the second one's gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, stand_in: Tensor) -> Tensor:
        """The value."""
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """The gradient goes to the stand-in."""
        return None, gradients[0]


def _linear_gradient(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
    assert isinstance(module, DecoupledMixin)
    twin: Any = copy.copy(module)  # shares the parameters
    twin._parameters, twin._buffers = dict(module._parameters), dict(module._buffers)
    twin._forward_hooks = type(module._forward_hooks)()
    own = module.operator
    twin.operator = Operator("linear", own.angle, k=own.k)
    twin.relative = None
    twin._parameters["radius"] = twin._parameters["bias"] = None
    twin.__dict__.pop("radius", None)
    if "radius" not in twin._parameters:
        twin.radius = None
    response = twin(given[0])
    bias = getattr(module, "bias", None)
    channel = [1, -1, *[1] * (output.ndim - 2)] if isinstance(module, nn.modules.conv._ConvNd) else [-1]
    value = output.detach() if bias is None else output.detach() - bias.detach().reshape(channel)
    ratio = _size(value, channel) / _size(response.detach(), channel).clamp(min=_TINY)
    return _Straight.apply(output, response * ratio)


def _size(response: Tensor, channel: list[int]) -> Tensor:
    """Root mean square of each channel."""
    axis = 1 if len(channel) > 1 else response.ndim - 1
    others = [i for i in range(response.ndim) if i != axis]
    return response.square().mean(others).sqrt().reshape(channel)


def _fixed_normalisation(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
    filters = given[0]
    ratio = output.detach().std() / filters.detach().std().clamp(min=_TINY)
    return _Straight.apply(output, filters * ratio)
