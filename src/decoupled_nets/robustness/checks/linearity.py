"""How far the loss is from linear within the ball."""

from __future__ import annotations

from ..losses import margin
from . import Check, Context, check

_CURVED = 0.1


@check("linearity")
def linearity(context: Context) -> Check:
    """The true rise of the margin along the gradient over the one that the gradient promises."""
    images, labels = context.some
    threat, victim = context.found.threat, context.victim
    _, before, gradient = victim.gradient(images, margin, labels)
    moved = threat.project(images + threat.radius * threat.ascent(gradient), images)
    after = margin(victim.logits(moved), labels)
    promised = (gradient * (moved - images)).flatten(1).sum(1)
    alive = promised.abs() > 1e-12
    ratio = float(((after - before)[alive] / promised[alive]).median()) if bool(alive.any()) else 0.0
    text = f"one step raises the margin by {ratio:.2f} of what the gradient promises (median; 1: linear)"
    return Check("linearity", ratio < _CURVED, text, {"ratio": ratio})
