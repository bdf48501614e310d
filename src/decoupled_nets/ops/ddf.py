"""Decoupled dynamic filters: one filter per pixel times, or plus, one filter per channel.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .geometry import Geometry, IntOrInts
from .norms import accumulation_dtype

Combine = Literal["mul", "add"]
COMBINES: tuple[str, ...] = get_args(Combine)


@dataclass(frozen=True)
class DynamicForm:
    """Everything about a filtering but its tensors."""

    geometry: Geometry
    combine: Combine


def ddf(
    input: Tensor,
    channel_filter: Tensor,
    spatial_filter: Tensor,
    *,
    stride: IntOrInts = 1,
    dilation: IntOrInts = 1,
    combine: Combine = "mul",
) -> Tensor:
    """Depth-wise convolution by a filter of every pixel's own, combined with one of every channel's own.

    ``y[c, i] = Σ_j (D_sp[i, j] ∘ D_ch[c, j]) x[c, s·i + offset(j)]`` over the window j, in every image, where
    ∘ is a product or a sum. The input is continued by zeros so that the window's centre is on the pixel.

    Args:
        input: (B, C, H, W), floating point.
        channel_filter: D_ch, (B, C, kh, kw); kh and kw odd.
        spatial_filter: D_sp, (B, G·kh·kw, H', W') with H' = ceil(H / stride): for each of the G heads the
            taps of the window, row by row. C/G consecutive channels share a head; G follows from the shape.
        stride: step between the windows, a number or one for each axis.
        dilation: step between the taps, a number or one for each axis.
        combine: ``"mul"`` (the paper) or ``"add"``.

    Returns:
        (B, C, H', W') of the input's type; under autocast of autocast's.

    Raises:
        ValueError: shapes or options do not fit.
        TypeError: the tensors are not of one floating point type.

    Source: J. Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, Eq. 2; the sum is the authors'
    released code's.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> x, per_channel, per_pixel = torch.rand(2, 8, 7, 7), torch.rand(2, 8, 3, 3), torch.rand(2, 9, 4, 4)
        >>> dn.functional.ddf(x, per_channel, per_pixel, stride=2).shape
        torch.Size([2, 8, 4, 4])
    """
    form = _checked(input, channel_filter, spatial_filter, stride, dilation, combine)
    tensors = _of_one_type(input, channel_filter, spatial_filter)
    return composed_ddf(*tensors, form)


def composed_ddf(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm) -> Tensor:
    """The sum over taps of the shifted input times its filters: plain PyTorch, without unfolding."""
    geometry = form.geometry
    wide = accumulation_dtype(input.dtype)
    rows, columns = geometry.output_size(input.shape[2:])
    taps = channel_filter.shape[2] * channel_filter.shape[3]
    heads = spatial_filter.shape[1] // taps
    x = geometry.pad(input.to(wide))
    per_channel = channel_filter.to(wide).flatten(2).unsqueeze(-1).unsqueeze(-1)  # (B, C, taps, 1, 1)
    per_pixel = spatial_filter.to(wide).unflatten(1, (heads, taps))  # (B, G, taps, H', W')
    if heads > 1:
        x, per_channel, per_pixel = x.unflatten(1, (heads, -1)), *_by_head(per_channel, per_pixel, heads)
    out: Tensor | None = None
    for tap, (row, column) in enumerate(itertools.product(*map(range, geometry.kernel))):
        top, left = row * geometry.dilation[0], column * geometry.dilation[1]
        # The shifted input comes first: the first factor decides the memory format.
        shifted = x[
            ...,
            top : top + (rows - 1) * geometry.stride[0] + 1 : geometry.stride[0],
            left : left + (columns - 1) * geometry.stride[1] + 1 : geometry.stride[1],
        ]
        of_channel, of_pixel = per_channel[..., tap, :, :], per_pixel[..., tap, :, :]
        product = form.combine == "mul"
        term = shifted * of_channel * of_pixel if product else shifted * (of_channel + of_pixel)
        out = term if out is None else out + term
    assert out is not None
    return (out.flatten(1, 2) if heads > 1 else out).to(input.dtype)


def _by_head(per_channel: Tensor, per_pixel: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Filters (B, C, taps, 1, 1) and (B, G, taps, H', W') to (B, G, C/G, …) and (B, G, 1, …)."""
    return per_channel.unflatten(1, (heads, -1)), per_pixel.unsqueeze(2)


def _checked(
    input: Tensor,
    channel_filter: Tensor,
    spatial_filter: Tensor,
    stride: IntOrInts,
    dilation: IntOrInts,
    combine: Combine,
) -> DynamicForm:
    if combine not in COMBINES:
        raise ValueError(f"combine = {combine!r} received, one of {COMBINES} needed")
    if input.dim() != 4 or 0 in input.shape[1:]:
        raise ValueError(
            f"input of shape {tuple(input.shape)} received, (B, C, H, W) needed with at least one channel "
            "and one pixel"
        )
    batch, channels = input.shape[:2]
    shape = tuple(channel_filter.shape)
    if len(shape) != 4 or shape[:2] != (batch, channels) or shape[2] % 2 == 0 or shape[3] % 2 == 0:
        raise ValueError(
            f"channel_filter of shape {shape} received, ({batch}, {channels}, kh, kw) with odd kh and kw "
            f"needed for an input of shape {tuple(input.shape)}"
        )
    kernel = shape[2:]
    placed = Geometry.of(kernel, stride, 0, dilation)
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, placed.dilation, strict=True))
    geometry = Geometry.of(kernel, placed.stride, padding, placed.dilation)
    _check_spatial(input, spatial_filter, geometry)
    return DynamicForm(geometry, combine)


def _check_spatial(input: Tensor, spatial_filter: Tensor, geometry: Geometry) -> None:
    batch, channels = input.shape[:2]
    shape = tuple(spatial_filter.shape)
    rows, columns = geometry.output_size(input.shape[2:])
    taps = geometry.kernel[0] * geometry.kernel[1]
    fits = len(shape) == 4 and shape[0] == batch and shape[2:] == (rows, columns) and shape[1] > 0
    if not fits or shape[1] % taps or channels % (shape[1] // taps):
        raise ValueError(
            f"spatial_filter of shape {shape} received, ({batch}, G·{taps}, {rows}, {columns}) needed, where "
            f"the heads G divide {channels} channels, for an input of shape {tuple(input.shape)}, window "
            f"{geometry.kernel} and stride {geometry.stride}"
        )


def _of_one_type(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three tensors as they are, or as autocast wants the arguments of a convolution."""
    device = tensors[0].device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        tensors = tuple(
            t if t.dtype == torch.float64 or not t.is_floating_point() else t.to(dtype) for t in tensors
        )
    input, channel_filter, spatial_filter = tensors
    if (
        not input.is_floating_point()
        or channel_filter.dtype != input.dtype
        or spatial_filter.dtype != input.dtype
    ):
        raise TypeError(
            f"input, channel_filter and spatial_filter of types {input.dtype}, {channel_filter.dtype} and "
            f"{spatial_filter.dtype} received, one floating point type needed"
        )
    return input, channel_filter, spatial_filter
