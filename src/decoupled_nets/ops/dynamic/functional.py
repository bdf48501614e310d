"""Decoupled dynamic filters: one filter per pixel times, or plus, one filter per channel.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

from .. import backend
from ..geometry import Geometry, IntOrInts, plain_ints
from ..tensors import check_devices
from .composed import COMBINES, Combine, DynamicForm, composed_ddf

__all__ = ["COMBINES", "Combine", "ddf"]


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
        ValueError: shapes, options or devices do not fit.
        TypeError: the tensors are not of one floating point type.

    Source: J. Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, Eq. 2; the sum is the authors'
    released code's.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> x, per_channel, per_pixel = torch.rand(2, 8, 7, 7), torch.rand(2, 8, 3, 3), torch.rand(2, 9, 4, 4)
        >>> dn.functional.ddf(x, per_channel, per_pixel, stride=2).shape
        torch.Size([2, 8, 4, 4])
    """
    tensors = _of_one_type(input, channel_filter, spatial_filter)
    on_kernels = _on_kernels(*tensors)
    if on_kernels and not torch.compiler.is_compiling():
        try:
            return torch.ops.decoupled_nets.ddf(*tensors, _pair(stride), _pair(dilation), combine)
        except RuntimeError:
            # What the op refuses is explained here: checking ahead takes longer than filtering a small map.
            _checked(input, channel_filter, spatial_filter, stride, dilation, combine)
            raise
    form = _checked(input, channel_filter, spatial_filter, stride, dilation, combine)
    if on_kernels:
        return torch.ops.decoupled_nets.ddf(*tensors, *form.arguments)
    if backend.eager_on("cuda", *tensors) and _has_triton():
        from . import triton

        return triton.ddf(*tensors, form)
    return composed_ddf(*tensors, form)


def _on_kernels(*tensors: Tensor) -> bool:
    """Whether the op is to be called: in eager mode, and in compiled programs, but not in exported ones.

    Compilers fuse what is around it. Of the composed sum they make larger programs, which run longer.
    """
    if tensors[0].dtype not in backend.DTYPES:
        return False
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        watched = torch._C._are_functorch_transforms_active()
        return not watched and all(t.device.type == "cpu" for t in tensors) and backend.usable()
    return backend.eager_on("cpu", *tensors) and backend.usable()


def _pair(value: IntOrInts) -> list[int]:
    given = plain_ints(value)
    entries = list(given) if isinstance(given, tuple) else [given]
    return entries * 2 if len(entries) == 1 else entries


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


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
    check_devices(input=input, channel_filter=channel_filter, spatial_filter=spatial_filter)
    batch, channels = input.shape[:2]
    shape = tuple(channel_filter.shape)
    if len(shape) != 4 or shape[:2] != (batch, channels) or shape[2] % 2 == 0 or shape[3] % 2 == 0:
        raise ValueError(
            f"channel_filter of shape {shape} received, ({batch}, {channels}, kh, kw) with odd kh and kw "
            f"needed for an input of shape {tuple(input.shape)}"
        )
    form = DynamicForm.of(shape[2:], stride, dilation, combine)
    _check_spatial(input, spatial_filter, form.geometry)
    return form


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
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
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
