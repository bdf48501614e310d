"""Whether attacks were still breaking images when their budget ended."""

from __future__ import annotations

import torch

from . import Check, Context, check


@check("convergence")
def convergence(context: Context) -> Check | None:
    """Images that only the last quarter of the steps broke, and nothing before.

    Where attacks see what those before them left, the last one with gradients counts: what an earlier one
    broke late, it might have broken early.
    """
    found = context.found
    stages = [s for s in found.stages if s.budget >= 4 and s.threat == str(found.threat)]
    in_turn = [s for s in stages if not s.every and s.white]
    stages = in_turn[-1:] or stages
    if not stages:
        return None
    total = len(found.clean)
    late, early = torch.zeros(total, dtype=torch.bool), torch.zeros(total, dtype=torch.bool)
    for stage in stages:
        within = torch.where(stage.steps > 0, (stage.steps - 1) % stage.budget + 1, 0)  # of each run
        at_end = stage.broken & (within > 0.75 * stage.budget)
        late |= at_end
        early |= stage.broken & ~at_end
    only = int((late & ~early).sum())
    names = ", ".join(stage.title for stage in stages)
    text = f"{only} of {total} images were broken by the last quarter of the steps only ({names})"
    return Check("convergence", only > max(0.005 * total, 1), text, {"late": only})
