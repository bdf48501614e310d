"""A backward pass for layers that saturate: the attack goes on where the network's own gradient says little.

A decoupled layer with a bounded h loses the radial part of its gradient, and sphere's grows as 1/‖x‖ on dark
patches; normalised filters divide by a deviation that may be tiny. Here the forward pass stays as it is, and
the gradient is that of the same layer with h(‖x‖) = ‖x‖, or of the filters times their scale, each image's
made as large as the layer's own response (BPDA; Athalye et al., 2018).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..nn.filter_norm import FilterNorm
from ..nn.fused import FusedDecoupledConv, FusedDecoupledLinear
from ..nn.operator import DecoupledMixin
from ..ops.decoupled.operator import Operator

_TINY = 1e-12
#: Layers with an h, as they are trained and as :func:`decoupled_nets.fuse` leaves them.
DECOUPLED = (DecoupledMixin, FusedDecoupledConv, FusedDecoupledLinear)


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
            if isinstance(module, DECOUPLED):
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
    """The output with the gradient of the layer of a linear h, one factor an image."""
    if not torch.is_grad_enabled():
        return output
    response = _with_linear_h(module)(given[0])
    own, layer = output.detach(), cast(Any, module)
    if layer.bias is not None:
        # A linear layer's channels are last, a convolution's have the axes of the image behind them.
        own = own - layer.bias.detach().reshape(-1, *[1] * (layer.weight.ndim - 2))
    ratio = _size(own) / _size(response.detach()).clamp(min=_TINY)
    return _Straight.apply(output, (response * ratio).to(output.dtype))


def _with_linear_h(module: Any) -> Any:
    """The layer with h(‖x‖) = ‖x‖ and without its bias; it shares the parameters."""
    twin = copy.copy(module)
    twin._parameters, twin._buffers = dict(module._parameters), dict(module._buffers)
    twin._forward_hooks = type(module._forward_hooks)()
    own = module.operator
    twin.operator = Operator("linear", own.angle, alpha=own.alpha, k=own.k)
    for name in ("radius", "bias"):
        twin.__dict__.pop(name, None)
        for there in (twin._parameters, twin._buffers):
            there.pop(name, None)
    twin.bias = None
    twin.radius = twin.relative = None
    if not isinstance(module, DecoupledMixin):
        twin.radius = 1.0  # a fused layer passes it on, and a linear h takes no notice
    return twin


def _fixed_normalisation(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The output with the gradient of the filters times their learned scale, one factor an image."""
    if not torch.is_grad_enabled():
        return output
    assert isinstance(module, FilterNorm)
    filters, own = given[0], output.detach()
    factor, shape = module.factor, (1, -1, *[1] * (output.ndim - 2))
    scaled = filters
    if factor is not None:
        taps = 1 if module.affine == "tap" else module.taps
        scaled = filters * factor.detach().repeat_interleave(taps).reshape(shape)
    if module.shift is not None:
        own = own - module.shift.detach().repeat_interleave(module.taps).reshape(shape)
    ratio = _size(own) / _size(scaled.detach()).clamp(min=_TINY)
    return _Straight.apply(output, (scaled * ratio).to(output.dtype))


def _size(response: Tensor) -> Tensor:
    """Root mean square of each image, to be multiplied with it: of each alone, whatever is beside it."""
    wide = response.flatten(1).double() if response.ndim > 1 else response.double()[:, None]
    size = torch.linalg.vector_norm(wide, dim=1) / math.sqrt(max(wide.shape[1], 1))
    return size.to(response.dtype).reshape(-1, *[1] * (response.ndim - 1))
