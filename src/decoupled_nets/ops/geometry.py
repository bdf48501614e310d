"""Kernel geometry shared by every convolution: one normal form for sizes, strides and paddings."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

IntOrInts = int | Sequence[int]


@dataclass(frozen=True)
class Geometry:
    """Where the patches of a convolution lie; one entry a spatial dimension, padding as (before, after)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        stride: IntOrInts = 1,
        padding: IntOrInts | str = 0,
        dilation: IntOrInts = 1,
    ) -> Geometry:
        """The normal form of what ``torch.nn`` accepts.

        Raises:
            ValueError: a number of entries, a size or a padding mode does not fit.
        """
        dims = len(kernel)
        stride_ = _entries("stride", stride, dims, least=1)
        dilation_ = _entries("dilation", dilation, dims, least=1)
        if not isinstance(padding, str):
            each = _entries("padding", padding, dims, least=0)
            return cls(tuple(kernel), stride_, tuple((p, p) for p in each), dilation_)
        if padding == "valid":
            return cls(tuple(kernel), stride_, ((0, 0),) * dims, dilation_)
        if padding != "same":
            raise ValueError(f"padding {padding!r} received; needed: a number, 'same' or 'valid'")
        if any(s != 1 for s in stride_):
            raise ValueError(f"padding='same' and stride {stride_} received; needed: stride 1 for it")
        totals = [d * (k - 1) for d, k in zip(dilation_, kernel, strict=True)]
        return cls(tuple(kernel), stride_, tuple((t // 2, t - t // 2) for t in totals), dilation_)

    @property
    def symmetric(self) -> bool:
        """Whether every side is padded as much as its opposite."""
        return all(before == after for before, after in self.padding)

    @property
    def windows(self) -> tuple[list[int], list[int], list[int], list[int]]:
        """Kernel, stride, padding (before, after, before, ...) and dilation, as our ops take them."""
        padding = [side for pair in self.padding for side in pair]
        return list(self.kernel), list(self.stride), padding, list(self.dilation)

    def pad(self, input: Tensor) -> Tensor:
        """`input` (B, C, *spatial) with zeros put around it."""
        if not any(before or after for before, after in self.padding):
            return input
        flat = [side for pair in reversed(self.padding) for side in pair]
        return F.pad(input, flat)

    def window_sum(self, x: Tensor) -> Tensor:
        """Sums over every window, one dimension at a time: (B, G, *spatial) to (B, G, *S)."""
        x = self.pad(x)
        for axis, (k, stride, dilation) in enumerate(
            zip(self.kernel, self.stride, self.dilation, strict=True)
        ):
            x = _window_sum(x, 2 + axis, k, stride, dilation)
        return x

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Spatial output size for a spatial input size.

        Raises:
            ValueError: the padded input is smaller than the kernel.
        """
        padded = [n + b + a for n, (b, a) in zip(size, self.padding, strict=True)]
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        if any(p < s for p, s in zip(padded, spans, strict=True)):
            raise ValueError(
                f"padded input of size {tuple(padded)} received; needed: at least {tuple(spans)}"
            )
        return tuple((p - s) // st + 1 for p, s, st in zip(padded, spans, self.stride, strict=True))


def _window_sum(x: Tensor, dim: int, kernel: int, stride: int, dilation: int) -> Tensor:
    # Ends that are a constant short of the size: an exporter with an open size can tell that they fit.
    reach = x.shape[dim] - dilation * (kernel - 1)
    before = (slice(None),) * dim
    taps = [x[(*before, slice(t * dilation, t * dilation + reach, stride))] for t in range(kernel)]
    total = taps[0]
    for tap in taps[1:]:
        total = total + tap
    return total


def _entries(name: str, value: IntOrInts, dims: int, least: int) -> tuple[int, ...]:
    given = plain_ints(value)
    entries = given if isinstance(given, tuple) else (given,) * dims
    if any(isinstance(e, float | str) for e in entries):
        raise TypeError(f"{name} = {value} received; needed: whole numbers")
    if len(entries) == 1:
        entries *= dims
    if len(entries) != dims:
        raise ValueError(f"{name} with {len(entries)} entries received; needed: {dims}")
    if any(e < least for e in entries):
        raise ValueError(f"{name} {value} received; needed: at least {least}")
    return entries


def plain_ints(value: Any) -> Any:
    """Whole numbers of NumPy's or torch's, alone or in a sequence, as Python's; anything else as it is.

    ``torch.nn`` takes them, but they cannot be written as JSON.
    """
    if type(value) is int or isinstance(value, str | bool):
        return value
    if isinstance(value, Iterable) and getattr(value, "shape", None) != ():
        return tuple(plain_ints(entry) for entry in value)
    try:
        return operator.index(value)
    except TypeError:
        return value
