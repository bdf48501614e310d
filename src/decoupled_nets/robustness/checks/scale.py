"""Whether the scale of the logits hides the gradient of the cross-entropy."""

from __future__ import annotations

import torch

from ..attacks import attack_named
from ..losses import ce, margin
from . import Check, Context, check

_SATURATED = 16.0  # the true class's softmax rounds to 1 in float32
_USUAL = 2.0  # median margin of trained networks
_STEPS = 10


@check("loss scale")
def scale(context: Context) -> Check:
    """Margins beyond float32's softmax, or within its rounding; cross-entropy with the logits rescaled."""
    images, labels = context.some
    logits = context.victim.logits(images)
    ahead = -margin(logits, labels)
    saturated = float((ahead > _SATURATED).float().mean())
    rounding = torch.finfo(torch.float32).eps * logits.abs().amax(1)
    lost = float((ahead < 1000 * rounding).float().mean())
    left = []
    factor = _USUAL / ahead.median().clamp(min=1e-30)
    for loss in (ce, lambda z, y: ce(z * factor, y)):
        tried = attack_named("pgd")(
            context.victim, images, labels, context.found.threat, loss=loss, steps=_STEPS, seed=context.seed
        )
        left.append(int((tried.step < 0).sum()))
    apart = (left[0] - left[1]) / len(images)
    flag = saturated > 0.05 or lost > 0.05 or (apart > 0.05 and left[0] - left[1] > 3)
    text = (
        f"median margin {float(ahead.median()):.3g}; {100 * saturated:.3g} % of margins beyond 16; PGD with"
        f" cross-entropy leaves {left[0]} of {len(images)}, with rescaled logits {left[1]}"
    )
    if lost > 0.05:
        text += f"; {100 * lost:.3g} % of margins within a thousand roundings of the logits"
    return Check("loss scale", flag, text, {"saturated": saturated, "lost": lost, "left": left})
