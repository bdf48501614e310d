"""The dynamic filters' ops as torch knows them: schemas, shapes, derivatives, flops.

The CPU's code is in ``csrc/dynamic/ddf.cpp`` and may be missing; shapes as in :mod:`.functional`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._decomp import register_decomposition
from torch.library import define, register_autograd, register_fake, register_kernel
from torch.utils.flop_counter import register_flop_formula

from ..tensors import MaybeTensor, arranged, check_devices, gradients, readable
from .call import DynamicForm
from .composed import composed_ddf, composed_ddf_backward

_NAME = "decoupled_nets::"
_OPERANDS = (
    "Tensor input, Tensor channel_filter, Tensor spatial_filter, int[] stride, int[] dilation, str combine"
)
ops = torch.ops.decoupled_nets

define(_NAME + "ddf", f"({_OPERANDS}) -> Tensor")
define(_NAME + "ddf_backward", f"(Tensor grad, {_OPERANDS}) -> (Tensor, Tensor, Tensor)")


@register_fake(_NAME + "ddf")
def _fake_ddf(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, *form: Any) -> Tensor:
    check_devices(input=input, channel_filter=channel_filter, spatial_filter=spatial_filter)
    x = readable(input)
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    size = (*input.shape[:2], *spatial_filter.shape[2:])
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)


@register_fake(_NAME + "ddf_backward")
def _fake_ddf_backward(
    grad: Tensor, input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, *form: Any
) -> tuple[Tensor, Tensor, Tensor]:
    check_devices(input=input, grad=grad, channel_filter=channel_filter, spatial_filter=spatial_filter)
    dense = readable(input), channel_filter.contiguous(), readable(spatial_filter)
    by_input, by_channel, by_spatial = map(torch.empty_like, dense)
    return by_input, by_channel, by_spatial


def _save_ddf(ctx: Any, inputs: Any, output: Tensor) -> None:
    *tensors, ctx.stride, ctx.dilation, ctx.combine = inputs
    ctx.save_for_backward(*tensors)


def _ddf_backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
    tensors, form = ctx.saved_tensors, (ctx.stride, ctx.dilation, ctx.combine)
    if torch.is_grad_enabled():
        placed = DynamicForm.of(tensors[1].shape[2:], *form)
        return *gradients(partial(composed_ddf, form=placed), tensors, grad), *[None] * 3
    return *ops.ddf_backward(grad, *tensors, *form), *[None] * 3


def _save_ddf_backward(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.stride, ctx.dilation, ctx.combine = inputs
    ctx.save_for_backward(*tensors)


def _ddf_backward_backward(ctx: Any, *grads: Tensor) -> tuple[MaybeTensor, ...]:
    form = DynamicForm.of(ctx.saved_tensors[2].shape[2:], ctx.stride, ctx.dilation, ctx.combine)

    def inner_product(grad: Tensor, *tensors: Tensor) -> Tensor:
        # All three gradients are needed here, also those of what needs none itself.
        own = tuple(t if t.requires_grad else t.detach().requires_grad_() for t in tensors)
        found = gradients(partial(composed_ddf, form=form), own, grad)
        pairs = zip(found, grads, strict=True)
        return torch.stack([(f * g).sum() for f, g in pairs if f is not None]).sum()

    return *gradients(inner_product, ctx.saved_tensors, grads[0].new_ones(())), *[None] * 3


# Devices without kernels take the ops made of ATen's, and so does an exported program that is decomposed.
def composed(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, *form: Any) -> Tensor:
    """The op ``ddf``, answering in the memory format in which kernels do."""
    placed = DynamicForm.of(channel_filter.shape[2:], *form)
    return arranged(composed_ddf(input, channel_filter, spatial_filter, placed), input)


def composed_backward(
    grad: Tensor, input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, *form: Any
) -> tuple[Tensor, ...]:
    """The op ``ddf_backward``, likewise."""
    placed = DynamicForm.of(channel_filter.shape[2:], *form)
    found = composed_ddf_backward(grad, input, channel_filter, spatial_filter, placed)
    # As the kernels answer: in the inputs' memory formats, the channel filter's contiguous.
    formats = input, channel_filter.contiguous(), spatial_filter
    return tuple(arranged(f, like) for f, like in zip(found, formats, strict=True))


for _op, _function in ((ops.ddf, composed), (ops.ddf_backward, composed_backward)):
    register_kernel(_op.default, None, _function)
    register_decomposition(_op.default)(_function)

register_autograd(_NAME + "ddf", _ddf_backward, setup_context=_save_ddf)
register_autograd(_NAME + "ddf_backward", _ddf_backward_backward, setup_context=_save_ddf_backward)


@register_flop_formula(ops.ddf)
def _ddf_flops(input: Any, channel_filter: Any, spatial_filter: Any, *args: Any, **kwargs: Any) -> int:
    """One operation to combine the filters, one product and one addition a tap."""
    return 3 * math.prod((*input[:2], *spatial_filter[2:], *channel_filter[2:]))


@register_flop_formula(ops.ddf_backward)
def _ddf_backward_flops(grad: Any, input: Any, channel_filter: Any, *args: Any, **kwargs: Any) -> int:
    """Two products that three sums share, and a product and an addition for each."""
    return 8 * math.prod((*grad, *channel_filter[2:]))
