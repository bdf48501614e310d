"""Whether attacks were still breaking images when their budget ended."""

from __future__ import annotations

import torch

from . import Check, Context, check


@check("convergence")
def convergence(context: Context) -> Check | None:
    """Images that only the last quarter of the steps broke, and nothing before."""
    found = context.found
    total = len(found.clean)
    late = torch.zeros(total, dtype=torch.bool)
    early = torch.zeros(total, dtype=torch.bool)
    any_steps = False
    for stage in found.stages:
        if stage.budget < 4 or stage.threat != str(found.threat):
            early |= stage.broken
            continue
        any_steps = True
        within = torch.where(stage.steps >= 0, stage.steps % (stage.budget + 1), 0)
        at_end = stage.broken & (within > 0.75 * stage.budget)
        late |= at_end
        early |= stage.broken & ~at_end
    if not any_steps:
        return None
    only = int((late & ~early).sum())
    flag = only > max(0.005 * total, 1)
    text = f"{only} of {total} images were broken by the last quarter of the steps only"
    return Check("convergence", flag, text, {"late": only})
