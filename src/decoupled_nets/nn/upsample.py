"""Upsampling by decoupled dynamic filters, with or without guidance.

Shapes: B batch, C channels, (H, W) input, s scale factor, G heads, T = kh·kw taps, P guidance channels. The
s² output pixels that lie in one input pixel are its sub-positions, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.dynamic.functional import Combine, ddf
from ..ops.geometry import Geometry, plain_ints
from .ddf import check_generator, check_input, reset_generators, shown, squeeze_width
from .filter_norm import FilterNorm, Norm, filter_norm, window
from .layer import Layer
from .output_size import fitted, target_size, unfitted

Init = Literal["bilinear", "nearest", "random"]
#: From how many numbers on maps are filtered part by part (measured: decision 0010).
REPEATED = 2**20


class DDFUpsample(Layer):
    """Upsample by s: every sub-position has a spatial and a channel filter of its own.

    The channel filters come from the input, the spatial ones from a guidance: another map of the same scene,
    of any resolution. Without guidance it is a 3×3 depth-wise convolution of the input. For a large scale the
    paper chains layers of scale 2.

    The guidance is taken to cover the output's area. One of the input's size goes through the 1×1 convolution
    as it is: all sub-positions see the same vector, each with its own weights. Any other is first brought to
    the output's size by area averages (a coarser one is repeated); then each sub-position sees the vector at
    its own place. A guidance of the input's size, repeated, gives the same.

    Memory: the filtered maps and the interleaved output have the output's size each. What the backward pass
    keeps is the input, once (see :func:`filtered_parts`), and the filters.

    Args:
        channels: C.
        scale_factor: s, a whole number.
        kernel_size: odd, a number or (kh, kw), in input pixels.
        guidance_channels: P; None for no guidance.
        dilation: step between the taps, in input pixels; a number or one for each axis.
        heads: G: as many spatial filters an output pixel, each for C/G consecutive channels.
        squeeze_ratio: σ, as in :class:`DDF2d`; each sub-position has its own channel branch.
        combine: ``"mul"`` or ``"add"``.
        norm: as in :class:`DDF2d`; only ``"paper"`` has the shifts that an interpolating filter needs.
        init: ``"bilinear"``: the layer starts as bilinear interpolation (zeros lie beyond the border), which
            trains better; ``"nearest"``: as nearest interpolation, border and any size included, for
            networks that were trained with it; ``"random"``: as :class:`DDF2d`. None: ``"bilinear"`` if
            `norm` allows it.
        device: as in ``torch.nn``.
        dtype: likewise.

    Shape:
        Input (B, C, H, W) and guidance (B, P, H₂, W₂) to (B, C, sH, sW), or `output_size`; or without B.

    Raises:
        ValueError: an argument is out of range, guidance is missing or not expected, or a size does not fit.
        TypeError: the input or guidance is not floating point.

    Source: J. Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, section 3.4.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.DDFUpsample(32, scale_factor=2, guidance_channels=3)
        >>> layer(torch.rand(1, 32, 10, 12), torch.rand(1, 3, 20, 24)).shape
        torch.Size([1, 32, 20, 24])
        >>> dn.DDFUpsample(32)(torch.rand(1, 32, 10, 12), output_size=(19, 23)).shape
        torch.Size([1, 32, 19, 23])
    """

    guided: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        scale_factor: int = 2,
        kernel_size: int | Sequence[int] = 3,
        guidance_channels: int | None = None,
        *,
        dilation: int | Sequence[int] = 1,
        heads: int = 1,
        squeeze_ratio: float = 0.2,
        combine: Combine = "mul",
        norm: Norm = "paper",
        init: Init | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels, heads, scale_factor, guidance_channels = plain_ints(
            (channels, heads, scale_factor, guidance_channels)
        )
        check_generator(channels, heads, squeeze_ratio, combine)
        if isinstance(scale_factor, bool) or not isinstance(scale_factor, int) or scale_factor < 1:
            raise ValueError(f"scale_factor = {scale_factor!r} received; needed: a whole number from 1 on")
        if guidance_channels is not None and guidance_channels < 1:
            raise ValueError(f"guidance_channels = {guidance_channels} received; needed: None or at least 1")
        self.channels, self.scale_factor, self.heads = channels, scale_factor, heads
        self.kernel_size = window(kernel_size)
        self.dilation = Geometry.of(self.kernel_size, 1, 0, dilation).dilation
        self.guidance_channels, self.squeeze_ratio = guidance_channels, float(squeeze_ratio)
        self.combine, self.norm, self.init = combine, norm, _chosen(init, norm)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        parts, taps = scale_factor**2, math.prod(self.kernel_size)
        self.guide: nn.Module | None = None
        if guidance_channels is None:
            self.guide = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, **made)
        # A guidance gives every sub-position a group of channels; without, all see the same ones.
        groups, seen = (1, channels) if guidance_channels is None else (parts, parts * guidance_channels)
        self.spatial_branch = nn.Sequential(
            nn.Conv2d(seen, parts * heads * taps, 1, groups=groups, **made),
            filter_norm(norm, parts * heads, self.kernel_size, per_tap=False, gain=1.0, **made),
        )
        hidden = parts * squeeze_width(channels, squeeze_ratio)
        self.channel_branch = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1, **made),
            nn.ReLU(),
            nn.Conv2d(hidden, parts * channels * taps, 1, groups=parts, **made),
            filter_norm(norm, parts * channels, self.kernel_size, per_tap=True, gain=1.0, **made),
        )
        self._start()

    def reset_parameters(self) -> None:
        """Initialise both branches anew."""
        reset_generators(self)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Constant spatial filters that interpolate, and channel filters that leave them as they are."""
        if self.init == "random":
            return
        conv, norm = self.spatial_branch
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, FilterNorm)
        if self.init == "nearest":
            tents = nearest_filters(self.scale_factor, self.kernel_size)
        else:
            tents = bilinear_filters(self.scale_factor, self.kernel_size, self.dilation)
        tents = tents.repeat_interleave(self.heads, 0)
        nn.init.zeros_(conv.weight)
        assert conv.bias is not None
        assert norm.scale is not None
        assert norm.shift is not None
        conv.bias.copy_(tents.flatten())
        norm.scale.copy_((tents.var(1, correction=0) + norm.eps).sqrt())
        norm.shift.copy_(tents.mean(1))
        channel_norm = self.channel_branch[4]
        nn.init.zeros_(channel_norm.scale)  # type: ignore[arg-type]
        nn.init.constant_(channel_norm.shift, 1.0 if self.combine == "mul" else 0.0)  # type: ignore[arg-type]

    def forward(
        self, input: Tensor, guidance: Tensor | None = None, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """(B, C, H, W) and (B, P, H₂, W₂) to (B, C, sH, sW), or without B.

        Args:
            input: what to upsample.
            guidance: of any resolution; needed if and only if the layer has `guidance_channels`.
            output_size: the output's height and width if they are no multiples of s: within s − 1. What lies
                beyond is cut off, as a convolution of stride s would have made the input of it; what is
                missing continues the last row and column. With ``init="nearest"`` pixels are taken as
                nearest-neighbour interpolation to that size takes them.
        """
        check_input(input, self.channels, "input", self.guide, self.spatial_branch, self.channel_branch)
        self._check_guidance(input, guidance)
        size = target_size(input, self.scale_factor, output_size, "output_size")
        if input.dim() == 3:
            batched = None if guidance is None else guidance.unsqueeze(0)
            return self.forward(input.unsqueeze(0), batched, output_size).squeeze(0)
        parts = self.scale_factor**2
        channel = self.channel_branch(input).view(-1, parts * self.channels, *self.kernel_size)
        spatial = self._spatial_filters(input, guidance, size)
        maps = filtered_parts(input, channel, spatial, parts, dilation=self.dilation, combine=self.combine)
        return fitted(interleave(maps, self.scale_factor), size, picked=self.init == "nearest")

    def _spatial_filters(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, s²·G·T, H, W)."""
        if self.guide is not None:
            return self.spatial_branch(self.guide(input))
        assert guidance is not None
        s = self.scale_factor
        if guidance.shape[2:] == input.shape[2:]:
            return self.spatial_branch(torch.cat([guidance] * s**2, 1))
        if tuple(guidance.shape[2:]) != size:
            guidance = F.adaptive_avg_pool2d(guidance, size)
        whole = (s * input.shape[2], s * input.shape[3])
        return self.spatial_branch(separate(unfitted(guidance, whole, picked=self.init == "nearest"), s))

    def _check_guidance(self, input: Tensor, guidance: Tensor | None) -> None:
        if self.guidance_channels is None:
            if guidance is not None:
                raise ValueError(
                    f"guidance of shape {tuple(guidance.shape)} received by a layer made without it; "
                    "needed: guidance_channels"
                )
            return
        if guidance is None:
            raise ValueError(f"no guidance received; needed: guidance of {self.guidance_channels} channels")
        check_guidance(guidance, self.guidance_channels, input)

    def options(self) -> dict[str, Any]:
        """The constructor's arguments beyond the channels, as they are now."""
        names = (
            "scale_factor", "kernel_size", "guidance_channels", "dilation", "heads", "squeeze_ratio",
            "combine", "norm", "init",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return shown(self.channels, self.options())


def check_guidance(guidance: Tensor, channels: int, input: Tensor) -> None:
    """What is asked of a guidance.

    Raises:
        ValueError: it has another shape than (B, `channels`, H₂, W₂), with the input's B.
        TypeError: it is not floating point.
    """
    check_input(guidance, channels, "guidance")
    if guidance.shape[:-3] != input.shape[:-3]:
        raise ValueError(
            f"guidance of shape {tuple(guidance.shape)} and input of shape {tuple(input.shape)} "
            "received; needed: equally many images"
        )


def bilinear_filters(scale: int, kernel: tuple[int, int], dilation: Sequence[int] = (1, 1)) -> Tensor:
    """The taps by which bilinear interpolation makes each sub-position of its input pixel: (s², T).

    With a dilation d the taps are d pixels apart, and it is between those that is interpolated.
    """
    # On the processor, whatever torch.device is in force: it may have no numbers, or none of 64 bits.
    made: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    offset = (torch.arange(scale, **made) + 0.5) / scale - 0.5
    along = []
    for size, step in zip(kernel, dilation, strict=True):
        taps = torch.arange(size, **made) - size // 2
        tent = (1 - (offset[:, None] / step - taps).abs()).clamp(min=0)
        along.append(tent / tent.sum(1, keepdim=True))  # a window of one tap has no neighbour
    rows, columns = along
    return torch.einsum("ai,bj->abij", rows, columns).reshape(scale * scale, -1)


def nearest_filters(scale: int, kernel: tuple[int, int]) -> Tensor:
    """The taps that repeat the input pixel, the same for every sub-position: (s², T)."""
    taps = torch.zeros(scale * scale, math.prod(kernel), dtype=torch.float64, device="cpu")
    taps[:, math.prod(kernel) // 2] = 1.0
    return taps


def _chosen(init: Init | None, norm: Norm) -> Init:
    if init is not None and init not in get_args(Init):
        raise ValueError(f"init = {init!r} received; needed: None or one of {get_args(Init)}")
    if init in ("bilinear", "nearest") and norm != "paper":
        raise ValueError(
            f"init = {init!r} with norm = {norm!r} received; needed: norm = 'paper', which has a shift"
        )
    return init or ("bilinear" if norm == "paper" else "random")


def filtered_parts(
    input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, parts: int, **options: Any
) -> Tensor:
    """One input filtered by `parts` pairs of filters: (B, C, H, W) to (B, parts·C, H, W).

    The filters of a part are consecutive channels of both tensors. Each part is a call of :func:`ddf`, which
    keeps the same input for the backward pass. Small maps are repeated for one call instead, where that is
    quicker; the results have the same bits. Programs that are compiled or exported have one form.
    """
    if torch.compiler.is_compiling() or parts * input.numel() >= REPEATED:
        pairs = zip(channel_filter.chunk(parts, 1), spatial_filter.chunk(parts, 1), strict=True)
        return torch.cat([ddf(input, *pair, **options) for pair in pairs], 1)
    # Every part is a group of channels with heads of its own. `cat` keeps the memory format.
    return ddf(torch.cat([input] * parts, 1), channel_filter, spatial_filter, **options)


def separate(guidance: Tensor, s: int) -> Tensor:
    """(B, P, sH, sW) to (B, s²·P, H, W), sub-position by sub-position."""
    parts = guidance.unflatten(3, (-1, s)).unflatten(2, (-1, s))  # (B, P, H, s, W, s)
    return parts.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def interleave(maps: Tensor, s: int) -> Tensor:
    """(B, s²·C, H, W), sub-position by sub-position, to (B, C, sH, sW) in the same memory format."""
    parts = maps.unflatten(1, (s, s, -1))  # (B, s, s, C, H, W)
    if maps.is_contiguous() or not maps.is_contiguous(memory_format=torch.channels_last):
        return parts.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
    return parts.permute(0, 4, 1, 5, 2, 3).flatten(3, 4).flatten(1, 2).movedim(-1, 1)
