"""Dynamic filters in plain PyTorch: what compilers and exporters see, and what derivatives of any order use.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry import Geometry
from ..norms import accumulation_dtype
from .call import DynamicForm


def composed_ddf(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm) -> Tensor:
    """The sum over taps of the shifted input times its filters: plain PyTorch, without unfolding."""
    x, per_channel, per_pixel = _by_head(input, channel_filter, spatial_filter, form)
    out: Tensor | None = None
    for tap, place in enumerate(_places(form.geometry, input.shape[-2:])):
        shifted, of_channel, of_pixel = x[place], per_channel[..., tap, :, :], per_pixel[..., tap, :, :]
        # The shifted input comes first: the first factor decides the memory format.
        product = form.combine == "mul"
        term = shifted * of_channel * of_pixel if product else shifted * (of_channel + of_pixel)
        out = term if out is None else out + term
    assert out is not None
    return (out.flatten(1, 2) if out.dim() > 4 else out).to(input.dtype)


def composed_ddf_backward(
    grad: Tensor, input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of input, channel filter and spatial filter, tap by tap and without autograd."""
    x, per_channel, per_pixel = _by_head(input, channel_filter, spatial_filter, form)
    wide = grad.to(x.dtype).reshape(*x.shape[:-2], *per_pixel.shape[-2:])
    by_x, by_channel, by_pixel = torch.zeros_like(x), [], []
    for tap, place in enumerate(_places(form.geometry, input.shape[-2:])):
        of_channel, of_pixel = per_channel[..., tap, :, :], per_pixel[..., tap, :, :]
        share = wide * x[place]
        if form.combine == "mul":
            by_x[place] += wide * of_channel * of_pixel
            to_channel, to_pixel = share * of_pixel, share * of_channel
        else:
            by_x[place] += wide * (of_channel + of_pixel)
            to_channel = to_pixel = share
        by_channel.append(to_channel.sum((-2, -1)))
        by_pixel.append(to_pixel.sum(-3))
    rows, columns = (pads[0] for pads in form.geometry.padding)
    inner = by_x[..., rows : rows + input.shape[2], columns : columns + input.shape[3]]
    return (
        inner.reshape(input.shape).to(input.dtype),
        torch.stack(by_channel, -1).reshape(channel_filter.shape).to(channel_filter.dtype),
        torch.stack(by_pixel, -3).reshape(spatial_filter.shape).to(spatial_filter.dtype),
    )


def _by_head(
    input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm
) -> tuple[Tensor, Tensor, Tensor]:
    """Padded input (B, C, …) and filters (B, C, taps, 1, 1) and (B, 1, taps, H', W'), in wide types.

    With several heads (B, G, C/G, …) and (B, G, C/G, taps, 1, 1) and (B, G, 1, taps, H', W').
    """
    wide = accumulation_dtype(input.dtype)
    taps = channel_filter.shape[2] * channel_filter.shape[3]
    heads = spatial_filter.shape[1] // taps
    x = form.geometry.pad(input.to(wide))
    per_channel = channel_filter.to(wide).flatten(2).unsqueeze(-1).unsqueeze(-1)
    per_pixel = spatial_filter.to(wide).unflatten(1, (heads, taps))
    if heads == 1:
        return x, per_channel, per_pixel
    return x.unflatten(1, (heads, -1)), per_channel.unflatten(1, (heads, -1)), per_pixel.unsqueeze(2)


def _places(geometry: Geometry, size: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Where every tap finds its part of the padded input, for an input of (H, W)."""
    for row, column in itertools.product(*map(range, geometry.kernel)):
        starts = (row * geometry.dilation[0], column * geometry.dilation[1])
        # Ends that are a constant short of the padded size: an exporter with an open size can tell they fit.
        steps = zip(starts, size, geometry.stride, strict=True)
        yield ..., *(slice(start, start + n, step) for start, n, step in steps)
