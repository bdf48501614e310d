"""Dynamic filters on graphics processors, with their derivatives: what starts the Triton kernels."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..norms import accumulation_dtype
from ..tensors import MaybeTensor, gradients
from . import triton_kernels as kernels
from .call import DynamicForm
from .composed import composed_ddf

_PIXELS, _CHANNELS = 64, 16
_ACCUMULATION = {torch.float32: tl.float32, torch.float64: tl.float64}


def ddf(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm) -> Tensor:
    """As :func:`decoupled_nets.functional.ddf`, whose arguments have been checked."""
    return _Filtering.apply(input, channel_filter, spatial_filter, form)


class _Filtering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, ctx.form = inputs
        ctx.save_for_backward(*tensors)
        return forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
        tensors: tuple[Tensor, Tensor, Tensor] = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *gradients(partial(composed_ddf, form=ctx.form), tensors, grad), None
        return *backward(grad, *tensors, ctx.form, ctx.needs_input_grad[:3]), None


def forward(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm) -> Tensor:
    """The sum over taps, in the memory format of the input."""
    launch = _Launch(input, channel_filter, spatial_filter, form)
    size = (*input.shape[:2], *spatial_filter.shape[2:])
    last = not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last)
    out = torch.empty(
        size,
        dtype=input.dtype,
        device=input.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )
    tasks = launch.images_and_heads * launch.blocks(*size[2:]) * launch.channel_blocks
    launch(kernels._forward, tasks, (input, channel_filter.contiguous(), spatial_filter, out), (0, 2, 3))
    return out


def backward(
    grad: Tensor,
    input: Tensor,
    channel_filter: Tensor,
    spatial_filter: Tensor,
    form: DynamicForm,
    needed: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[MaybeTensor, MaybeTensor, MaybeTensor]:
    """The gradients of the input and of both filters, as far as they are needed."""
    launch = _Launch(input, channel_filter, spatial_filter, form)
    own = channel_filter.contiguous()
    by_input = torch.empty_like(input) if needed[0] else None
    by_channel = torch.empty_like(own) if needed[1] else None
    by_spatial = torch.empty_like(spatial_filter) if needed[2] else None
    pixel_blocks, taps = launch.blocks(*grad.shape[2:]), own.shape[2] * own.shape[3]
    if by_input is not None:
        tasks = launch.images_and_heads * launch.blocks(*input.shape[2:]) * launch.channel_blocks
        launch(kernels._by_input, tasks, (grad, own, spatial_filter, by_input), (0, 2, 3))
    if by_channel is not None:
        tasks = launch.images_and_heads * taps * launch.channel_blocks
        launch(kernels._by_channel, tasks, (input, grad, spatial_filter, by_channel), (0, 1, 2))
    if by_spatial is not None:
        tasks = launch.images_and_heads * taps * pixel_blocks
        launch(kernels._by_spatial, tasks, (input, grad, own, by_spatial), (0, 1, 3))
    return by_input, by_channel, by_spatial


class _Launch:
    """The numbers that all kernels take alike."""

    def __init__(
        self, input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm
    ) -> None:
        geometry = form.geometry
        channels, taps = input.shape[1], geometry.kernel[0] * geometry.kernel[1]
        heads = spatial_filter.shape[1] // taps
        self.images_and_heads = input.shape[0] * heads
        self.channel_blocks = triton.cdiv(channels // heads, _CHANNELS)
        self.numbers = (
            channels, heads, *input.shape[2:], *spatial_filter.shape[2:], *geometry.kernel, *geometry.stride,
            *geometry.dilation, form.combine == "add", _ACCUMULATION[accumulation_dtype(input.dtype)],
            _PIXELS, _CHANNELS,
        )  # fmt: skip

    @staticmethod
    def blocks(height: int, width: int) -> int:
        """Blocks of pixels of an image."""
        return int(triton.cdiv(height * width, _PIXELS))

    def __call__(
        self, kernel: Any, tasks: int, tensors: tuple[Tensor, ...], strided: tuple[int, ...]
    ) -> None:
        """Start `tasks` programs; the tensors counted in `strided` may lie anyhow in memory."""
        if tasks == 0:
            return
        strides = [step for i in strided for step in tensors[i].stride()]
        with torch.cuda.device_of(tensors[0]):
            kernel[(tasks,)](*tensors, *strides, *self.numbers)
