"""The kernels' ops in plain PyTorch: what they compute, for tests and for derivatives of any order.

The twin of ``patch_norm`` is :func:`decoupled_nets.ops.norms.patch_norm`.

Shapes: B batch, G groups, C channels, S spatial sizes. Norms are (B, G, *S), everything per channel (C,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..geometry import Geometry
from ..tensors import MaybeTensor
from .angle import angles
from .magnitude import magnitudes


@dataclass(frozen=True)
class Response:
    """Which ``h`` and ``g`` an epilogue applies, with their constants: the last arguments of the ops."""

    magnitude: str
    angle: str
    alpha: float
    beta: float

    @property
    def arguments(self) -> tuple[str, str, float, float]:
        """As the ops take them."""
        return self.magnitude, self.angle, self.alpha, self.beta


def patch_norm_backward(grad: Tensor, input: Tensor, norm: Tensor, geometry: Geometry) -> Tensor:
    """Gradient of the patch norms with respect to their input, given the norms."""
    groups = norm.shape[1]
    spread = window_adjoint(grad / norm, geometry, input.shape[2:])
    wide = input.to(norm.dtype).unflatten(1, (groups, -1)) * spread.unsqueeze(2)
    return wide.flatten(1, 2).to(input.dtype)


def window_adjoint(share: Tensor, geometry: Geometry, size: Sequence[int]) -> Tensor:
    """Adds every window's share to each of the window's positions: (B, G, *S) to (B, G, *spatial)."""
    for axis in reversed(range(len(size))):
        before, after = geometry.padding[axis]
        total = share.new_zeros(
            [*share.shape[: 2 + axis], before + size[axis] + after, *share.shape[3 + axis :]]
        )
        stride, dilation = geometry.stride[axis], geometry.dilation[axis]
        reach = total.shape[2 + axis] - dilation * (geometry.kernel[axis] - 1)
        for tap in range(geometry.kernel[axis]):
            window = (slice(None),) * (2 + axis)
            total[(*window, slice(tap * dilation, tap * dilation + reach, stride))].add_(share)
        share = total.narrow(2 + axis, before, size[axis])
    return share


def epilogue(
    response: Response,
    z: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    bias: MaybeTensor,
) -> Tensor:
    """``gain · h(‖x‖) · g(z / (‖x‖‖w‖)) + bias`` for z of shape (B, C, *S)."""
    groups, dims = norm.shape[1], z.dim() - 2

    def column(value: Tensor) -> Tensor:
        return value.view(groups, -1, *[1] * dims)

    norm = norm.unsqueeze(2)
    cosine = z.to(norm.dtype).unflatten(1, (groups, -1)) / column(kernel_norm) / norm
    size = magnitudes[response.magnitude].fn(
        norm, 1.0 if radius is None else column(radius), response.alpha, response.beta
    )
    out = angles[response.angle].fn(cosine) * size
    if gain is not None:
        out = out * column(gain)
    if bias is not None:
        out = out + column(bias)
    return out.flatten(1, 2).to(z.dtype)
