"""The dynamic filters' ops on graphics processors: their Triton kernels, or ATen's where those do not run."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.library import register_kernel

from .. import gpu
from ..tensors import check_devices
from .call import DynamicForm, checked_shapes
from .register import composed, composed_backward

_cached_form = functools.lru_cache(1024)(checked_shapes)


def ddf(
    input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, stride: Any, dilation: Any, combine: Any
) -> Tensor:
    """The op ``ddf``.

    Raises:
        ValueError: shapes, options or devices do not fit.
        TypeError: the tensors are not of one type.
    """
    tensors = input, channel_filter, spatial_filter
    form = _form(*tensors, stride, dilation, combine)
    if gpu.missing(input.device.index) is not None:
        return composed(*tensors, stride, dilation, combine)
    from . import triton_launch

    return triton_launch.forward(*tensors, form)


def ddf_backward(
    grad: Tensor,
    input: Tensor,
    channel_filter: Tensor,
    spatial_filter: Tensor,
    stride: Any,
    dilation: Any,
    combine: Any,
) -> tuple[Tensor, ...]:
    """The op ``ddf_backward``; raises as :func:`ddf` does, also for a gradient that does not fit."""
    tensors = input, channel_filter, spatial_filter
    form = _form(*tensors, stride, dilation, combine)
    _check_grad(grad, input, spatial_filter)
    if gpu.missing(input.device.index) is not None:
        return composed_backward(grad, *tensors, stride, dilation, combine)
    from . import triton_launch

    return triton_launch.backward(grad, *tensors, form)


def _form(
    input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, stride: Any, dilation: Any, combine: Any
) -> DynamicForm:
    """The form of a filtering by tensors that fit; the kernels read what they are told to."""
    check_devices(input=input, channel_filter=channel_filter, spatial_filter=spatial_filter)
    if not input.dtype == channel_filter.dtype == spatial_filter.dtype:
        raise TypeError(
            f"input, channel_filter and spatial_filter of types {input.dtype}, {channel_filter.dtype} and "
            f"{spatial_filter.dtype} received; needed: one type"
        )
    shapes = tuple(input.shape), tuple(channel_filter.shape), tuple(spatial_filter.shape)
    return _cached_form(*shapes, tuple(stride), tuple(dilation), combine)


def _check_grad(grad: Tensor, input: Tensor, spatial_filter: Tensor) -> None:
    check_devices(input=input, grad=grad)
    shape = *input.shape[:2], *spatial_filter.shape[2:]
    if grad.shape != shape or grad.dtype != input.dtype:
        raise ValueError(
            f"grad of shape {tuple(grad.shape)} and type {grad.dtype} received; needed: {tuple(shape)} and "
            f"{input.dtype}, as the output has"
        )


for _op, _function in (
    (torch.ops.decoupled_nets.ddf, ddf),
    (torch.ops.decoupled_nets.ddf_backward, ddf_backward),
):
    register_kernel(_op.default, "cuda", _function)
