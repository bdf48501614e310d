"""One filtering: everything about it but its tensors, and what is asked of them.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from ..geometry import Geometry, IntOrInts
from ..tensors import check_devices

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


def checked(
    input: Tensor,
    channel_filter: Tensor,
    spatial_filter: Tensor,
    stride: IntOrInts,
    dilation: IntOrInts,
    combine: Combine,
) -> DynamicForm:
    """The form of a filtering by tensors that fit.

    Raises:
        ValueError: a shape, an option or a device does not fit.
    """
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
