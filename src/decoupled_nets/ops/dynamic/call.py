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
Shape = Sequence[int]


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
    check_devices(input=input, channel_filter=channel_filter, spatial_filter=spatial_filter)
    return checked_shapes(input.shape, channel_filter.shape, spatial_filter.shape, stride, dilation, combine)


def checked_shapes(
    input: Shape, channel: Shape, spatial: Shape, stride: IntOrInts, dilation: IntOrInts, combine: Combine
) -> DynamicForm:
    """As :func:`checked`, of the shapes alone."""
    if combine not in COMBINES:
        raise ValueError(f"combine = {combine!r} received; needed: one of {COMBINES}")
    if len(input) != 4 or 0 in input[1:]:
        raise ValueError(
            f"input of shape {tuple(input)} received; needed: (B, C, H, W) with at least one channel "
            "and one pixel"
        )
    batch, channels = input[:2]
    fits = len(channel) == 4 and tuple(channel[:2]) == (batch, channels)
    if not fits or channel[2] % 2 == 0 or channel[3] % 2 == 0:
        raise ValueError(
            f"channel_filter of shape {tuple(channel)} received; needed: ({batch}, {channels}, kh, kw) with "
            f"odd kh and kw for an input of shape {tuple(input)}"
        )
    form = DynamicForm.of(channel[2:], stride, dilation, combine)
    _check_spatial(input, spatial, form.geometry)
    return form


def _check_spatial(input: Shape, spatial: Shape, geometry: Geometry) -> None:
    batch, channels = input[:2]
    rows, columns = geometry.output_size(input[2:])
    taps = geometry.kernel[0] * geometry.kernel[1]
    fits = len(spatial) == 4 and spatial[0] == batch and tuple(spatial[2:]) == (rows, columns)
    if not fits or spatial[1] <= 0 or spatial[1] % taps or channels % (spatial[1] // taps):
        raise ValueError(
            f"spatial_filter of shape {tuple(spatial)} received; needed: ({batch}, G·{taps}, {rows}, "
            f"{columns}), where the heads G divide {channels} channels, for an input of shape "
            f"{tuple(input)}, window {geometry.kernel} and stride {geometry.stride}"
        )
