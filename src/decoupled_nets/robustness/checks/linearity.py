"""How far the loss is from linear within the ball."""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses import margin
from . import Check, Context, check

#: Networks trained as usual keep half or more of what a whole step promises, those that are overfitted to one
#: step a fifth or less.
_CURVED = 0.3
#: A tenth of the way nearly every network follows its gradient: of ordinary ones no image is off by a half,
#: of those that round, or let a few units win, most are.
_SHORT, _OFF, _MANY = 0.1, 0.5, 0.25


@check("linearity")
def linearity(context: Context) -> Check | None:
    """The true rise of the margin along the gradient over the one that the gradient promises.

    After the whole radius it tells curvature, such as that of networks overfitted to one step; after a tenth
    of it jumps and kinks, where a gradient holds for a point and not for its neighbours. It does not tell
    whether many small steps find a way all the same.
    """
    images, labels = context.some
    threat = context.found.threat
    if not threat.radius:
        return None
    _, before, gradient = context.victim.gradient(images, margin, labels)
    ratios = []
    for share in (1.0, _SHORT):
        moved = threat.project(images + share * threat.radius * threat.ascent(gradient), images)
        after = margin(context.victim.logits(moved), labels)
        promised = (gradient * (moved - images)).flatten(1).sum(1)
        ratios.append(torch.where(promised.abs() > 1e-12, (after - before) / promised, 0))
    ratio, off = _median(ratios[0]), float(((ratios[1] - 1).abs() > _OFF).float().mean())
    text = (
        f"one step raises the margin by {ratio:.2f} of what the gradient promises (median; 1: linear); after"
        f" a tenth of it {100 * off:.3g} % of images are off by half"
    )
    return Check("linearity", ratio < _CURVED or off > _MANY, text, {"ratio": ratio, "off": off})


def _median(values: Tensor) -> float:
    return float(values.median())
