"""Inputs for the kernels' tests: odd sizes, rows longer and shorter than a vector, both memory formats."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.derivative import Response
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.geometry import Geometry

#: As kernels call them: values of learned magnitudes come as a map, which is given.
MAGNITUDES = [name for name in magnitudes if magnitudes[name].kernel and magnitudes[name].learned is None]
GIVEN = "given"
ANGLES = [name for name in angles if angles[name].kernel]
#: Pairs of them: of the angles that are no powers of the cosine, enough to go through all their code. Sums by
#: learned parameters cancel, the more, the larger h is.
OPERATORS = [
    (magnitude, angle)
    for magnitude, angle in itertools.product([*MAGNITUDES, GIVEN], ANGLES)
    if angle in ("cos", "sqcos")
    or magnitude in (GIVEN, "tanh")
    or (magnitude == "linear" and angles[angle].learned is None)
]
DTYPES = [torch.float64, torch.float32, torch.bfloat16]

#: name: (input shape, kernel, stride, (before, after) paddings, dilation, groups)
GEOMETRIES: dict[str, tuple[Any, ...]] = {
    "plain": ((2, 3, 6, 37), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "strided": ((3, 4, 9, 10), (3, 2), (2, 3), ((1, 0), (0, 2)), (1, 1), 1),
    "dilated groups": ((2, 6, 11, 9), (2, 3), (1, 2), ((2, 2), (3, 3)), (3, 2), 3),
    "wide padding": ((1, 2, 2, 3), (3, 3), (1, 1), ((4, 4), (4, 4)), (1, 1), 2),
    "one by one": ((2, 40, 5, 5), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "one position": ((5, 19, 2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "many images": ((9, 3, 4, 4), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    "line": ((2, 4, 23), (5,), (2,), ((2, 2),), (1,), 2),
    "volume": ((2, 4, 5, 4, 6), (2, 3, 3), (1, 2, 1), ((1, 1), (1, 1), (0, 1)), (2, 1, 1), 2),
    "several blocks": ((1, 2, 40, 40), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "no image": ((0, 3, 5, 5), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
}


def geometry_case(name: str, dtype: torch.dtype, last: bool) -> tuple[Tensor, Geometry, int]:
    """An input, in channels_last order if `last`, where its windows lie, and the number of groups."""
    shape, kernel, stride, padding, dilation, groups = GEOMETRIES[name]
    x = torch.randn(shape, dtype=torch.float64).to(dtype)
    return arrange(x, last), Geometry(kernel, stride, padding, dilation), groups


def arrange(x: Tensor, last: bool) -> Tensor:
    """The same numbers with the channels last in memory, or as they are."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x


def lists(geometry: Geometry) -> tuple[list[int], ...]:
    """The geometry as the ops take it."""
    return geometry.windows


#: (B, O, *S) and the number of groups
OUTPUTS = {
    "rows": ((2, 6, 5, 7), 2),
    "blocks": ((1, 3, 37, 41), 1),
    "positions": ((7, 33, 1, 1), 1),
    "line": ((2, 4, 19), 4),
    "volume": ((2, 3, 3, 2, 5), 1),
    "none": ((0, 4, 3, 3), 2),
}


def epilogue_case(
    name: str, magnitude: str, angle: str, dtype: torch.dtype, last: bool, *, bias: bool
) -> tuple[tuple[Tensor | None, ...], Response]:
    """z, norms, kernel norms, gain, radius, bias, h and parameters of g, on both sides of every kink."""
    shape, groups = OUTPUTS[name]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    channels = shape[1]
    norm = torch.rand(shape[0], groups, *shape[2:], dtype=torch.float64) * 4 + 0.3
    kernel_norm, gain = (torch.rand(channels, dtype=torch.float64) + 0.5 for _ in range(2))
    radius = torch.linspace(0.6, 6, channels, dtype=torch.float64)
    cosine = torch.rand(shape, dtype=torch.float64) * 2 - 1
    learned = angles[angle].learned
    if learned is not None:
        cosine = 4 * cosine
    if angles[angle].steep:  # for the ends see test_steep_angles.py
        cosine = 0.95 * cosine
    z = cosine * norm.repeat_interleave(channels // groups, 1) * kernel_norm.view(-1, *[1] * (len(shape) - 2))
    own = (t.to(wide) for t in (norm, kernel_norm, gain, radius))
    response = Response(magnitude, angle, 1.3, 0.4)
    parameters = None if learned is None else torch.rand(groups, learned.count, dtype=wide) * 2 + 0.3
    if angles[angle].uses_k:
        parameters = torch.linspace(0.05, 0.9, channels, dtype=wide).unsqueeze(1)
    return (
        arrange(z.to(dtype), last), *own, torch.randn(channels, dtype=wide) if bias else None,
        torch.rand(norm.shape, dtype=wide) - 2 if magnitude == GIVEN else None,
        parameters,
    ), response  # fmt: skip


def doubled(tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The very same numbers in float64, as leaves of their own."""
    return tuple(None if t is None else t.detach().double().requires_grad_() for t in tensors)
