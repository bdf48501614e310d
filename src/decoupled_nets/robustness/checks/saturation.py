"""How many patches lie where h is flat, and whether that protects them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...nn.filter_norm import FilterNorm
from ...nn.operator import DecoupledMixin
from ...nn.watch import watched
from ...ops.decoupled.call import ConvCall, Operands
from ..attacks import attack_named
from ..surrogate import DECOUPLED, surrogate_backward
from . import Check, Context, check

_FLAT = 1e-3
_STEPS = 20


@check("saturation")
def saturation(context: Context) -> Check | None:
    """Share of patches with a flat h by layer; what a surrogate gradient breaks beyond the network's own.

    A flat h does not count by itself: where a patch has several entries its direction still matters, and so
    has a gradient. What counts is what the surrogate breaks: more than the network's own gradient in as many
    steps, or what all attacks left.
    """
    model = context.victim.model
    if not any(isinstance(m, (*DECOUPLED, FilterNorm)) for m in model.modules()):
        return None
    images, _ = context.some
    with _shares(model) as shares:
        context.victim.logits(images)
    flat = {name: sum(parts) / len(parts) for name, parts in shares.items() if parts}
    places = context.standing
    broken = 0
    with surrogate_backward(model):
        left = context.left_by_pgd()
        if len(places):
            tried = attack_named("pgd")(
                context.victim, context.images[places], context.labels[places], context.found.threat,
                loss="margin", steps=_STEPS, step=0.2, seed=context.seed,
            )  # fmt: skip
            broken = int((tried.step >= 0).sum())
    text = (
        f"a surrogate gradient breaks {broken} of {len(places)} images that stood; in {_STEPS} steps it"
        f" leaves {left} of {len(images)}, the network's own {context.left}"
    )
    if flat:
        most = max(flat, key=lambda name: flat[name])
        text = (
            f"{100 * flat[most]:.3g} % of patches where h is flat in {most or 'the layer'}, the most; {text}"
        )
    more = context.left - left
    flag = broken > max(0.005 * len(context.found.clean), 1) or (more > 0.05 * len(images) and more > 3)
    values = {"flat": flat, "broken": broken, "left": [context.left, left]}
    return Check("saturation", flag, text, values)


@contextmanager
def _shares(model: nn.Module) -> Iterator[dict[str, list[float]]]:
    """The share of patches in the flat part of h, by layer and pass, while it lasts."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, DecoupledMixin)}
    found: dict[str, list[float]] = {name: [] for name in layers}

    def note(name: str, layer: DecoupledMixin, call: ConvCall, operands: Operands) -> None:
        assert operands.norm is not None
        found[name].append(_flat(layer, operands.norm))

    with watched(layers, note):
        yield found


def _flat(layer: DecoupledMixin, norm: Tensor) -> float:
    """The share of patches and channels where h rises by less than a thousandth of its radius's worth."""
    radius = layer.effective_radius(norm)
    sizes = norm.detach().flatten()[:: max(norm.numel() // 4096, 1)].double()
    radii = torch.as_tensor(radius, dtype=torch.float64, device=norm.device).reshape(1, -1)
    with torch.enable_grad():
        at = (sizes[:, None] * torch.ones_like(radii)).requires_grad_()
        h = layer.h(at, radii)
        if not h.requires_grad:
            return 1.0  # h does not depend on the norm at all
        slope = torch.autograd.grad(h.sum(), at, allow_unused=True)[0]
    return 1.0 if slope is None else float(((slope * radii).abs() < _FLAT).double().mean())
