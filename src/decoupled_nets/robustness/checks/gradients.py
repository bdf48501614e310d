"""Whether gradients are there, exact and of use."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws, keys_of
from ..losses import margin
from ..threat import Threat
from ..victim import Victim
from ..wide import wide_or_none
from . import Check, Context, check

_LEAST = 1e-12
_STEP = 1e-6  # of the finite difference, in pixels


@check("gradients")
def gradients(context: Context) -> Check:
    """Zero, NaN or tiny gradients; float32 against float64; against a finite difference."""
    images, labels = context.some
    # Not at the images themselves: where many pixels are alike, maxima have ties, and gradients jump.
    draws = Draws(keys_of(images), "gradients", context.seed)
    images = Threat("linf", "2/255").start(images, draws).clamp(2 * _STEP, 1 - 2 * _STEP)
    _, _, narrow = context.victim.gradient(images, margin, labels)
    size = narrow.flatten(1).abs().amax(1)
    dead = float(((size < _LEAST) | ~size.isfinite()).float().mean())
    values = {"dead": dead}
    words = [f"{_percent(dead)} of images without a gradient"]
    flags = [dead > 0.005]
    if (wide := wide_or_none(context.victim, images)) is not None:
        _, _, exact = wide.gradient(images.double(), margin, labels)
        big = exact.abs() > exact.flatten(1).abs().amax(1)[:, None, None, None] * 1e-4
        same = float((narrow.sign() == exact.sign())[big].float().mean()) if bool(big.any()) else 1.0
        values["signs"] = same
        words.append(f"{_percent(same)} of signs as in float64")
        flags.append(same < 0.99)
        along = exact.sign() + 0.5 * draws.signs(images.shape[1:], exact)
        off = _off_course(wide, images.double(), labels, along, exact)
        values["misleading"] = off
        words.append(f"{_percent(off)} of images whose margin changes otherwise than the gradient says")
        flags.append(off > 0.1)
    return Check("gradients", any(flags), ", ".join(words), values)


def _off_course(victim: Victim, images: Tensor, labels: Tensor, along: Tensor, gradient: Tensor) -> float:
    """Share of images where a small step does not do what the gradient says, by more than a tenth."""
    rise = (gradient * along).flatten(1).sum(1)
    ends = [margin(victim.logits(images + side * _STEP * along), labels) for side in (1, -1)]
    seen = (ends[0] - ends[1]) / (2 * _STEP)
    scale = torch.maximum(rise.abs(), seen.abs())
    return float(((seen - rise).abs() > 0.1 * scale + 1e-9).float().mean())


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
