"""Normalisation of generated filters, each over its own taps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..ops.geometry import plain_ints
from ..ops.norms import accumulation_dtype
from .layer import Layer

Affine = Literal["filter", "tap"]
Norm = Literal["filter", "paper", "released", "batch", "sigmoid"]
NORMS: tuple[str, ...] = get_args(Norm)
RELEASED_EPS = 1e-10


class FilterNorm(Layer):
    """Standardise every filter over its taps, then scale and shift: ``α (D − mean) / std + β``.

    By default ``std`` is ``sqrt(var + eps)`` with the variance over all taps, so that a filter whose taps are
    all alike, or almost, has finite gradients. The authors' released code adds 1e-10 to the unbiased
    deviation instead: its gradients reach 1e9 there. ``released=True`` computes that, for released weights.
    A learned scale is then the parameter ``std``, as in their checkpoints, and otherwise ``scale``: a state
    dict loads only into a layer of its own arithmetic.

    Args:
        filters: how many filters share a position: channels C, or heads G.
        kernel_size: of the filters, a number or (kh, kw); T = kh·kw taps.
        affine: ``"filter"`` learns one α and one β a filter (the paper); ``"tap"`` one α a tap and no β (the
            released channel branch); None has the constant α = gain / sqrt(T) (the released spatial branch).
        gain: learned scales start at gain / sqrt(T), per tap as normal numbers of that deviation. A filter's
            root sum of squares is then the gain.
        eps: added to the variance.
        released: the released code's arithmetic; `eps` is not used then.
        device: as in ``torch.nn``.
        dtype: likewise.

    Shape:
        (B, filters·T, ...) to the same, a filter's taps side by side. Computed in float32 at least: right for
        filters of norms up to 1e18, whose squares it can hold; much larger ones become zero with a gradient
        of zero.

    Raises:
        ValueError: an argument is out of range, or the input does not fit; shift and released arithmetic do
            not go together.
        TypeError: the input is not floating point.

    Source: J. Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, section 3.2, Eq. 3.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> norm = dn.FilterNorm(8, kernel_size=3)
        >>> filters = norm(5 + torch.rand(2, 8 * 9, 1, 1)).unflatten(1, (8, 9))
        >>> filters.square().sum(2).mean().round(decimals=2)
        tensor(1., grad_fn=<...>)
    """

    scale: nn.Parameter | None
    std: nn.Parameter | None
    shift: nn.Parameter | None

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int] = 3,
        *,
        affine: Affine | None = "filter",
        gain: float = 1.0,
        eps: float = 1e-5,
        released: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = window(kernel_size)
        filters = plain_ints(filters)
        self.filters, self.taps = filters, math.prod(self.kernel_size)
        self.affine, self.gain, self.eps, self.released = affine, gain, eps, False
        if filters < 1:
            raise ValueError(f"filters = {filters} received; needed: at least 1")
        if affine is not None and affine not in get_args(Affine):
            raise ValueError(f"affine = {affine!r} received; needed: None or one of {get_args(Affine)}")
        if not eps > 0:
            raise ValueError(
                f"eps = {eps} received; needed: a positive number, because filters may be constant"
            )
        if self.taps == 1 and affine != "filter":
            raise ValueError(
                "filters of one tap received; needed: at least two; standardised, a single tap is 0"
            )
        count = {"filter": filters, "tap": filters * self.taps, None: 0}[affine]
        made = {"device": device, "dtype": dtype}
        self.register_parameter("scale", nn.Parameter(torch.empty(count, **made)) if count else None)
        shifted = affine == "filter"
        self.register_parameter("shift", nn.Parameter(torch.empty(count, **made)) if shifted else None)
        self.reset_parameters()
        if released:
            self.use_released_arithmetic()

    @property
    def factor(self) -> Tensor | None:
        """The learned α, by whichever name; None when it is the constant gain / sqrt(T)."""
        return self.std if self.released else self.scale

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set α and β to their starts."""
        start, factor = self.gain / math.sqrt(self.taps), self.factor
        if factor is not None and self.affine == "tap":
            nn.init.normal_(factor, std=start)
        elif factor is not None:
            nn.init.constant_(factor, start)
        if self.shift is not None:
            nn.init.zeros_(self.shift)

    def use_released_arithmetic(self) -> None:
        """Compute as the released code from now on; the parameter ``scale`` becomes ``std``.

        Raises:
            ValueError: the layer has a shift, which the released code has not.
        """
        if self.released:
            return
        if self.shift is not None:
            raise ValueError(
                "affine = 'filter' received; needed: 'tap' or None; the released code has no shift"
            )
        scale = self._parameters.pop("scale")
        self.register_parameter("std", scale)
        self.released = True

    def forward(self, filters: Tensor) -> Tensor:
        """(B, filters·T, ...) to the same shape and type."""
        if not filters.is_floating_point():
            raise TypeError(f"filters of type {filters.dtype} received; needed: a floating point type")
        if filters.dim() < 2 or filters.shape[1] != self.filters * self.taps:
            raise ValueError(
                f"filters of shape {tuple(filters.shape)} received; needed: (B, {self.filters * self.taps}, "
                f"...) for {self.filters} filters of {self.taps} taps"
            )
        wide = filters.to(accumulation_dtype(filters.dtype)).unflatten(1, (self.filters, self.taps))
        centred = wide - wide.mean(2, keepdim=True)
        if self.released:
            unit = centred / (centred.std(2, keepdim=True) + RELEASED_EPS)
        else:
            # Not rsqrt: its gradient has the cube of 1 / std, which is zero in float32 from 1e13 on.
            deviation = (centred.square().mean(2, keepdim=True) + self.eps).sqrt()
            unit = centred * deviation.reciprocal()
        factor = self.factor
        if factor is None:
            out = unit * (self.gain / math.sqrt(self.taps))
        else:
            taps = self.taps if self.affine == "tap" else 1
            shape = (self.filters, taps, *[1] * (filters.dim() - 2))
            out = unit * factor.view(shape)
            if self.shift is not None:
                out = out + self.shift.view(shape)
        return out.flatten(1, 2).to(filters.dtype)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        text = f"{self.filters}, kernel_size={self.kernel_size}, affine={self.affine!r}, gain={self.gain:.4g}"
        return f"{text}, released=True" if self.released else f"{text}, eps={self.eps}"


class _FilterBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose scale starts at `start`, also when it is reset."""

    start = 1.0

    def __init__(self, maps: int, start: float, **made: Any) -> None:
        super().__init__(maps, **made)
        self.start = start
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.constant_(self.weight, self.start)


def filter_norm(
    norm: Norm, filters: int, kernel: tuple[int, int], *, per_tap: bool, gain: float, **made: Any
) -> nn.Module:
    """What stands behind a branch that generates filters.

    Args:
        norm: ``"filter"``, ``"paper"``, ``"released"``, ``"batch"`` or ``"sigmoid"``, as in
            :class:`decoupled_nets.DDF2d`.
        filters: C or G.
        kernel: (kh, kw).
        per_tap: the branch has a learned scale a tap, as the released channel branch.
        gain: of :class:`FilterNorm`; BatchNorm's scale starts alike.
        **made: device and dtype.

    Raises:
        ValueError: there is no such normalisation.
    """
    if norm == "paper":
        return FilterNorm(filters, kernel, affine="filter", gain=gain, **made)
    if norm in ("filter", "released"):
        affine: Affine | None = "tap" if per_tap else None
        return FilterNorm(filters, kernel, affine=affine, gain=gain, released=norm == "released", **made)
    if norm == "batch":
        taps = math.prod(kernel)
        return _FilterBatchNorm(filters * taps, gain / math.sqrt(taps), **made)
    if norm == "sigmoid":
        return nn.Sigmoid()
    raise ValueError(f"norm = {norm!r} received; needed: one of {NORMS}")


def window(kernel_size: int | Sequence[int]) -> tuple[int, int]:
    """(kh, kw) from a number or a pair.

    Raises:
        ValueError: not one or two whole numbers, or one of them below 1 or even: the window has a centre.
    """
    given = plain_ints(kernel_size)
    sizes = given if isinstance(given, tuple) else (given,) * 2
    if len(sizes) != 2 or any(not isinstance(size, int) or size < 1 or size % 2 == 0 for size in sizes):
        raise ValueError(
            f"kernel_size = {kernel_size!r} received; needed: an odd number or a pair of odd numbers"
        )
    return sizes[0], sizes[1]
