"""Dynamic filters in plain PyTorch: what compilers and exporters see, and what derivatives of any order use.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

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

    @classmethod
    def of(
        cls, kernel: Sequence[int], stride: IntOrInts, dilation: IntOrInts, combine: Combine
    ) -> DynamicForm:
        """The form whose window is centred: zeros around the input as wide as half the window reaches.

        Raises:
            ValueError: a number of entries or a size does not fit.
        """
        placed = Geometry.of(kernel, stride, 0, dilation)
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, placed.dilation, strict=True))
        return cls(Geometry.of(kernel, placed.stride, padding, placed.dilation), combine)

    @property
    def arguments(self) -> tuple[list[int], list[int], Combine]:
        """Stride, dilation and combination, as the ops take them."""
        return list(self.geometry.stride), list(self.geometry.dilation), self.combine


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
