"""Inputs for the tests of the dynamic filters: odd sizes, large windows, both memory formats."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
COMBINES = ["mul", "add"]

#: name: ((B, C, H, W), heads, kernel, stride, dilation)
GEOMETRIES: dict[str, tuple[Any, ...]] = {
    "plain": ((2, 6, 5, 19), 1, (3, 3), (1, 1), (1, 1)),
    "bands": ((1, 5, 17, 5), 1, (3, 3), (1, 1), (1, 1)),
    "heads": ((2, 12, 4, 7), 3, (3, 3), (1, 1), (1, 1)),
    "wide": ((2, 37, 3, 4), 1, (3, 1), (1, 1), (1, 1)),
    "strided": ((2, 3, 9, 10), 1, (3, 5), (2, 3), (1, 1)),
    "odd size": ((1, 4, 7, 7), 2, (3, 3), (2, 2), (1, 1)),
    "dilated": ((1, 2, 6, 9), 1, (3, 3), (1, 2), (3, 2)),
    "step beyond the window": ((1, 2, 7, 8), 1, (1, 1), (3, 4), (1, 1)),
    "larger than the image": ((1, 2, 3, 4), 1, (9, 7), (1, 2), (1, 1)),
    "one pixel": ((3, 5, 1, 1), 1, (3, 3), (2, 1), (1, 1)),
    "one channel": ((2, 1, 4, 3), 1, (5, 3), (1, 1), (1, 1)),
    "no image": ((0, 3, 5, 4), 1, (3, 3), (2, 1), (1, 1)),
}


def make(
    name: str, dtype: torch.dtype = torch.float64, last: bool = False, combine: str = "mul"
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Input and both filters, numbers that every type holds exactly, and the options."""
    shape, heads, kernel, stride, dilation = GEOMETRIES[name]
    return make_of(shape, heads, kernel, stride, dilation, combine, dtype, last)


def make_of(
    shape: Any,
    heads: int,
    kernel: Any,
    stride: Any,
    dilation: Any,
    combine: str,
    dtype: torch.dtype,
    last: bool,
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    batch, channels, *size = shape
    out = [-(-n // s) for n, s in zip(size, stride, strict=True)]
    memory_format = torch.channels_last if last else torch.contiguous_format
    shapes = shape, (batch, channels, *kernel), (batch, heads * kernel[0] * kernel[1], *out)
    x, channel, spatial = (torch.randn(s).bfloat16().to(dtype) for s in shapes)
    maps = (t.contiguous(memory_format=memory_format) for t in (x, spatial))
    return (next(maps), channel, next(maps)), {"stride": stride, "dilation": dilation, "combine": combine}


def leaves(tensors: tuple[Tensor, ...], dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """The same numbers as leaves that require a gradient."""
    return tuple(t.detach().to(dtype or t.dtype).requires_grad_() for t in tensors)
