"""Decoupled dynamic filters: one filter per pixel times, or plus, one filter per channel.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from .. import backend, gpu
from ..geometry import IntOrInts, plain_ints
from .call import COMBINES, Combine, checked
from .composed import composed_ddf

__all__ = ["COMBINES", "Combine", "ddf"]

_DTYPES = {"cpu": backend.DTYPES, "triton": (*backend.DTYPES, torch.float16)}
#: Torch itself can be asked, but older versions of its compiler cannot ask it.
_WITHOUT_AUTOCAST = ("meta", "vulkan")


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
    given = input, channel_filter, spatial_filter
    if has_torch_function(given):
        # One function to those who watch functions, as a plain convolution is.
        seen: Tensor = handle_torch_function(
            ddf, given, *given, stride=stride, dilation=dilation, combine=combine
        )
        return seen
    tensors = _of_one_type(*given)
    on = backend.choose("ddf", tensors, lambda name: _reason_against(name, *tensors))
    if on != "composed" and not torch.compiler.is_compiling():
        try:
            return torch.ops.decoupled_nets.ddf(*tensors, _pair(stride), _pair(dilation), combine)
        except RuntimeError:
            # What the op refuses is explained here: checking ahead takes longer than filtering a small map.
            checked(*tensors, stride, dilation, combine)
            raise
    form = checked(*tensors, stride, dilation, combine)
    if on == "composed":
        return composed_ddf(*tensors, form)
    return torch.ops.decoupled_nets.ddf(*tensors, *form.arguments)


def _reason_against(name: str, *tensors: Tensor) -> str | None:
    """Why the kernels of this name do not take these tensors; None if they do.

    They run in eager mode and in compiled programs, but not in exported ones. Compilers fuse what is around
    the op. Of the composed sum they make larger programs, which run longer.
    """
    device, dtype = tensors[0].device, tensors[0].dtype
    if dtype not in _DTYPES[name]:
        return f"the tensors are of type {dtype}"
    watched = backend.watched(device.type, *tensors, by_compilers=False)
    return watched or (backend.missing() if name == "cpu" else gpu.missing(device.index))


def _pair(value: IntOrInts) -> list[int]:
    given = plain_ints(value)
    entries = list(given) if isinstance(given, tuple) else [given]
    return entries * 2 if len(entries) == 1 else entries


def _of_one_type(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three tensors as they are, or as autocast wants the arguments of a convolution."""
    device = tensors[0].device.type
    if device not in _WITHOUT_AUTOCAST and torch.is_autocast_enabled(device):
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
            f"{spatial_filter.dtype} received; needed: one floating point type"
        )
    return input, channel_filter, spatial_filter
