"""Decoupled dynamic filters as a layer: the branches that generate them, and the filtering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..ops.dynamic.functional import COMBINES, Combine, ddf
from ..ops.geometry import Geometry, plain_ints
from ..ops.tensors import check_devices
from .filter_norm import FilterNorm, Norm, filter_norm, window
from .layer import Layer
from .start import Init, chosen_init, start_depthwise

Branches = Literal["both", "spatial", "channel"]
RELU_GAIN = math.sqrt(2.0)


class DDF2d(Layer):
    """Depth-wise filtering by generated filters: one a pixel, combined with one a channel.

    A **spatial branch**, one 1×1 convolution with the layer's stride, generates a kh×kw filter for every
    output pixel, shared by the channels of a head. A **channel branch** (global average, a squeeze to
    σC channels, ReLU, a linear layer) generates one for every channel, shared by all pixels. Both are
    normalised, multiplied (or added) and applied: ``C`` channels in, ``C`` out, like a depth-wise
    ``nn.Conv2d(C, C, k, stride, padding=dilation·(k − 1)/2, dilation, groups=C, bias=False)``. By default it
    starts as one, which the image modulates: random filters in both branches train worse (docs/ddf-cifar.md).

    Args:
        channels: C.
        kernel_size: odd, a number or (kh, kw); T = kh·kw taps.
        stride: a number or one for each axis. Sizes need not be multiples of it.
        dilation: likewise.
        heads: G: as many spatial filters a pixel, each for C/G consecutive channels.
        squeeze_ratio: σ: the channel branch has max(1, floor(σC)) hidden channels.
        combine: ``"mul"`` (the paper) or ``"add"`` (the released code's variant).
        norm: normalisation of the generated filters. ``"paper"``: with a learned scale and shift a filter, as
            Eq. 3 has it. ``"filter"``: :class:`FilterNorm` with the learned parameters of the released code
            (a scale a tap in the channel branch, none in the spatial one), which the parameter counts of the
            named networks are made of. ``"released"``: the released code's arithmetic, with which its
            weights belong. ``"batch"`` (BatchNorm) and ``"sigmoid"``: the paper's ablation, Table 3.
        branches: ``"both"``, or ``"spatial"`` or ``"channel"`` alone (likewise).
        gain: root sum of squares of a normalised filter at the start.
        init: what the layer starts as. ``"depthwise"``: a depth-wise convolution with the channel filters;
            the spatial filters' taps start at 1 with deviation 0.3 (with ``combine="add"`` at 0, with 0.3
            times a channel filter's). ``"random"``: both branches give filters of mean 0, as the released
            code. None: ``"depthwise"`` where norm is ``"paper"`` and there is a channel branch.
        bias: add a learned number a channel, which starts at 0.
        device: as in ``torch.nn``.
        dtype: likewise.

    Shape:
        (B, C, H, W) or (C, H, W) to the same with sizes ceil(H / stride), ceil(W / stride).

    Raises:
        ValueError: an argument is out of range, or the input does not fit.
        TypeError: the input is not floating point.

    Source: J. Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, sections 3.1 to 3.3.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.DDF2d(64, kernel_size=3, stride=2)
        >>> layer(torch.rand(2, 64, 15, 15)).shape
        torch.Size([2, 64, 8, 8])
        >>> sum(p.numel() for p in layer.parameters())
        8983
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        heads: int = 1,
        squeeze_ratio: float = 0.2,
        combine: Combine = "mul",
        *,
        norm: Norm = "paper",
        branches: Branches = "both",
        gain: float = RELU_GAIN,
        init: Init | None = None,
        bias: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        channels, heads = plain_ints((channels, heads))
        check_generator(channels, heads, squeeze_ratio, combine)
        if branches not in get_args(Branches):
            raise ValueError(f"branches = {branches!r} received; needed: one of {get_args(Branches)}")
        self.channels, self.heads, self.squeeze_ratio = channels, heads, float(squeeze_ratio)
        self.kernel_size = window(kernel_size)
        if norm == "paper" and self.kernel_size == (1, 1):
            raise ValueError(
                "filters of one tap received; needed: at least two; standardised, a single tap is 0"
            )
        placed = Geometry.of(self.kernel_size, stride, 0, dilation)
        self.stride, self.dilation = placed.stride, placed.dilation
        self.combine, self.norm, self.branches, self.gain = combine, norm, branches, float(gain)
        self.init = chosen_init(init, norm, branches)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        maps = heads * math.prod(self.kernel_size)
        self.spatial_branch = self.channel_branch = None
        if branches != "channel":
            self.spatial_branch = nn.Sequential(
                nn.Conv2d(channels, maps, 1, stride=self.stride, **made),  # type: ignore[arg-type]
                filter_norm(norm, heads, self.kernel_size, per_tap=False, gain=gain, **made),
            )
        if branches != "spatial":
            hidden = squeeze_width(channels, squeeze_ratio)
            self.channel_branch = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, hidden, 1, **made),
                nn.ReLU(),
                nn.Conv2d(hidden, channels * math.prod(self.kernel_size), 1, **made),
                filter_norm(norm, channels, self.kernel_size, per_tap=True, gain=gain, **made),
            )
        self.register_parameter("bias", nn.Parameter(torch.empty(channels, **made)) if bias else None)
        self._start()

    def reset_parameters(self) -> None:
        """Initialise both branches anew."""
        reset_generators(self)
        self._start()

    def _start(self) -> None:
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.init == "depthwise":
            start_depthwise(self.spatial_branch, self.combine, self.gain)

    def use_released_arithmetic(self) -> None:
        """Normalise filters as the released code does from now on.

        Raises:
            ValueError: the layer is normalised by something else, which has other parameters.
        """
        if self.norm not in ("filter", "released"):
            raise ValueError(
                f"a layer with norm = {self.norm!r} received; needed: 'filter' or 'released': "
                "released weights know no other normalisation"
            )
        for module in self.modules():
            if isinstance(module, FilterNorm):
                module.use_released_arithmetic()
        self.norm = "released"

    def filters(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """The filters that an input generates.

        Args:
            input: (B, C, H, W).

        Returns:
            Channel filters (B, C, kh, kw) and spatial filters (B, G·kh·kw, H', W'). Those of a branch that
            the layer lacks are ones.
        """
        if self.channel_branch is None:
            # One number seen as a tensor: takes no memory.
            channel = input.new_ones(()).expand(input.shape[0], self.channels, *self.kernel_size)
        else:
            channel = self.channel_branch(input).view(-1, self.channels, *self.kernel_size)
        if self.spatial_branch is None:
            sizes = [-(-size // step) for size, step in zip(input.shape[2:], self.stride, strict=True)]
            spatial = input.new_ones(()).expand(input.shape[0], math.prod(self.kernel_size), *sizes)
        else:
            spatial = self.spatial_branch(input)
        return channel, spatial

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) or (C, H, W) to (B, C, H', W') or (C, H', W')."""
        check_input(input, self.channels, "input", self.spatial_branch, self.channel_branch)
        batch = input if input.dim() == 4 else input.unsqueeze(0)
        channel, spatial = self.filters(batch)
        # Beside ones, the other branch's filters are left as they are by the product only.
        combine = self.combine if self.branches == "both" else "mul"
        out = ddf(batch, channel, spatial, stride=self.stride, dilation=self.dilation, combine=combine)
        if self.bias is not None:
            out = out + self.bias.view(-1, 1, 1)
        return out if input.dim() == 4 else out.squeeze(0)

    def options(self) -> dict[str, Any]:
        """The constructor's arguments beyond the channels, as they are now."""
        names = (
            "kernel_size", "stride", "dilation", "heads", "squeeze_ratio", "combine", "norm", "branches",
            "gain", "init",
        )  # fmt: skip
        return {**{name: getattr(self, name) for name in names}, "bias": self.bias is not None}

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return shown(self.channels, self.options())


def shown(channels: int, options: dict[str, Any]) -> str:
    """Arguments in words.

    Example:
        >>> shown(8, {"norm": "filter", "gain": 2**0.5})
        "8, norm='filter', gain=1.414"
    """
    values = {name: f"{v:.4g}" if isinstance(v, float) else repr(v) for name, v in options.items()}
    return ", ".join([str(channels), *(f"{name}={value}" for name, value in values.items())])


def squeeze_width(channels: int, ratio: float) -> int:
    """Hidden channels of a channel branch: floor(σC), but at least one."""
    return max(1, int(channels * ratio))


def reset_generators(module: nn.Module) -> None:
    """Initialise what a module is made of anew, each part by its own method."""
    for part in module.modules():
        if part is not module and callable(reset := getattr(part, "reset_parameters", None)):
            reset()


def check_generator(channels: int, heads: int, squeeze_ratio: float, combine: str) -> None:
    """What the layers ask of their arguments alike.

    Raises:
        ValueError: one is out of range.
    """
    if channels < 1:
        raise ValueError(f"channels = {channels} received; needed: at least 1")
    if heads < 1 or channels % heads:
        raise ValueError(f"heads = {heads} received; needed: a divisor of the {channels} channels")
    if not 0 < squeeze_ratio < math.inf:
        raise ValueError(f"squeeze_ratio = {squeeze_ratio} received; needed: a positive number")
    if combine not in COMBINES:
        raise ValueError(f"combine = {combine!r} received; needed: one of {COMBINES}")


def check_input(input: Tensor, channels: int, name: str = "input", *branches: nn.Module | None) -> None:
    """What the layers ask of an input, before a branch says it less clearly.

    Raises:
        ValueError: it has another shape, or is on another device than a parameter of `branches`, which on the
            meta device gives an output that nobody wrote.
        TypeError: it is not floating point.
    """
    if not input.is_floating_point():
        raise TypeError(f"{name} of type {input.dtype} received; needed: a floating point type")
    if input.dim() not in (3, 4) or input.shape[-3] != channels or 0 in input.shape[-2:]:
        raise ValueError(
            f"{name} of shape {tuple(input.shape)} received; needed: (B, {channels}, H, W) or ({channels}, "
            "H, W) with at least one pixel"
        )
    for branch in branches:
        for part in () if branch is None else (branch, *branch.children()):
            check_devices(**{name: input}, **part._parameters)
