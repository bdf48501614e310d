"""Whether the scale of the logits hides the gradient of the cross-entropy."""

from __future__ import annotations

import torch

from ..attacks import attack_named
from ..losses import ce, margin
from . import Check, Context, check

_SATURATED = 16.0  # the true class's softmax rounds to 1 in float32
_VANISHED = 80.0  # so do all the others, to 0: nothing is left of the gradient
_UNIFORM = 0.01  # a softmax so even that cross-entropy pulls at all other classes alike
_USUAL = 2.0  # median margin of trained networks
_STEPS = 10


@check("loss scale")
def scale(context: Context) -> Check:
    """Margins beyond float32's softmax, or within its rounding; cross-entropy with the logits rescaled.

    Margins beyond 16 are common where training went on for long, and leave enough of the gradient: they are
    told and do not count. What counts is what they do: rescaled logits that break more, or a gradient that
    has vanished.
    """
    images, labels = context.some
    logits = context.victim.logits(images)
    ahead = -margin(logits, labels)
    middle = float(ahead.median())
    saturated, vanished = (float((ahead > most).float().mean()) for most in (_SATURATED, _VANISHED))
    rounding = torch.finfo(torch.float32).eps * logits.abs().amax(1)
    lost = float((ahead < 1000 * rounding).float().mean())
    left = []
    factor = _USUAL / max(middle, 1e-30)
    for loss in (ce, lambda z, y: ce(z * factor, y)):
        tried = attack_named("pgd")(
            context.victim, images, labels, context.found.threat, loss=loss, steps=_STEPS, seed=context.seed
        )
        left.append(int((tried.step < 0).sum()))
    more = left[0] - left[1]
    flag = vanished > 0.05 or lost > 0.05 or middle < _UNIFORM or (more > 0.05 * len(images) and more > 3)
    text = (
        f"median margin {middle:.3g}; {100 * saturated:.3g} % of margins beyond 16; PGD with cross-entropy"
        f" leaves {left[0]} of {len(images)}, with rescaled logits {left[1]}"
    )
    if vanished > 0.05:
        text += f"; {100 * vanished:.3g} % of margins beyond 80, where its gradient is 0 in float32"
    if lost > 0.05:
        text += f"; {100 * lost:.3g} % of margins within a thousand roundings of the logits"
    values = {"median": middle, "saturated": saturated, "vanished": vanished, "lost": lost, "left": left}
    return Check("loss scale", flag, text, values)
