"""Whether one step, or chance, breaks what many steps do not."""

from __future__ import annotations

import torch

from ..attacks import attack_named
from . import Check, Context, check

_WEAK = ("fgsm", "corners")


def _found_after_all(context: Context, places: list[int]) -> set[int]:
    """Those that a better attack than PGD-10 breaks: what ten steps missed is no sign of masking."""
    if not places:
        return set()
    some = torch.tensor(places, device=context.images.device)
    tried = attack_named("apgd-margin-50")(
        context.victim, context.images[some], context.labels[some], context.found.threat, seed=context.seed
    )
    return set(some[tried.step >= 0].tolist())


@check("one step")
def one_step(context: Context) -> Check:
    """FGSM and random corners on what all the attacks left: iterating should have found those first."""
    found, places = context.found, context.standing
    broken: set[int] = set()
    iterative = torch.zeros(len(found.clean), dtype=torch.bool)
    for stage in found.stages:
        if stage.threat == str(found.threat) and stage.budget >= 4 and stage.white and stage.every:
            iterative |= stage.broken
    for stage in found.stages:
        if stage.name in _WEAK and stage.every and bool(iterative.any()):
            broken |= set((stage.broken & ~iterative).nonzero()[:, 0].tolist())
    broken -= _found_after_all(context, sorted(broken))
    for name in _WEAK:
        known = attack_named(name)
        if found.threat.norm in known.norms and len(places):
            tried = known(
                context.victim, context.images[places], context.labels[places], found.threat,
                seed=context.seed + 1,
            )  # fmt: skip
            broken |= set(places[(tried.step >= 0).to(places.device)].tolist())
    total = len(found.clean)
    flag = len(broken) > max(0.005 * total, 1)
    text = f"{len(broken)} of {total} images are broken by one step or by chance and not by many steps"
    return Check("one step", flag, text, {"broken": len(broken)})
