"""The shortest way to a hyperplane that stays in the box of images."""

from __future__ import annotations

import torch
from torch import Tensor

from ._rows import spread, total


def onto_hyperplane(points: Tensor, normal: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The smallest change of points that closes their gap to a hyperplane, with pixels in [0, 1].

    Along the way to the solution each pixel moves at its own pace until it meets the box: for L∞ all equally
    fast, for L2 in proportion to the normal. How far it is follows from the sorted meetings. Where the box
    does not reach the hyperplane it is the corner nearest to it.

    Args:
        points: (B, ...), pixels in [0, 1].
        normal: (B, ...).
        gap: (B,), what normal · (points + change) must fall by to be zero: the value of a linear function
            at the points.
        norm: ``linf`` or ``l2``.

    Returns:
        The change, (B, ...), of the type of `points`.
    """
    start, slope = points.flatten(1).double(), -normal.flatten(1).double()
    slope = slope * gap.double().sign()[:, None]
    scale = slope.abs().amax(1).clamp(min=torch.finfo(torch.float64).tiny)
    toward, need = slope / scale[:, None], gap.double().abs() / scale
    weight, way = toward.abs(), toward.sign()
    room = torch.where(way > 0, 1 - start, start).clamp(min=0)
    pace = way.abs() if norm == "linf" else weight
    # A pixel that does not count never meets the box, and fills nothing.
    meeting, order = torch.where(pace > 0, room / pace, torch.inf).sort(dim=1, stable=True)
    filled = (weight * room).gather(1, order).cumsum(1)
    speed = weight * pace
    left = total(speed)[:, None] - speed.gather(1, order).cumsum(1)
    closed = filled + torch.where(meeting.isinf(), 0, meeting) * left
    passed = ((closed < need[:, None]) & meeting.isfinite()).sum(1, keepdim=True)
    before = (passed - 1).clamp(min=0)
    some = passed > 0
    speed_now = torch.where(some, left.gather(1, before), total(speed)[:, None])
    filled_now = torch.where(some, filled.gather(1, before), 0)
    time = (need[:, None] - filled_now) / speed_now.clamp(min=1e-300)
    reached = passed < meeting.isfinite().sum(1, keepdim=True)
    time = torch.where(reached, time.clamp(min=0), torch.finfo(torch.float64).max)
    return (way * torch.minimum(time * pace, room)).reshape_as(points).to(points.dtype)


def value_at(points: Tensor, origin: Tensor, slope: Tensor, value: Tensor) -> Tensor:
    """A linear function's value (B,) at `origin`, from its value and slope at `points`."""
    return value.double() + total(slope.double() * (origin.double() - points.double()))


def between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Images on the line between two: (B, C, H, W) twice, and (B,) from 0 to 1."""
    wide = spread(share.to(first.dtype), first)
    return first * (1 - wide) + second * wide
