"""Whether attacks without gradients break what those with gradients leave."""

from __future__ import annotations

import torch

from ..attacks import attack_named
from . import Check, Context, check

_SAMPLE = 16
_QUERIES = 500


@check("black box")
def black_box(context: Context) -> Check | None:
    """Square and what came from other networks, against the survivors of white-box attacks."""
    found = context.found
    total = len(found.clean)
    white = torch.zeros(total, dtype=torch.bool)
    black = torch.zeros(total, dtype=torch.bool)
    asked = tried_white = False
    for stage in found.stages:
        if stage.threat != str(found.threat) or stage.name == "corners":
            continue
        if stage.white:
            tried_white, white = True, white | stage.broken
        else:
            asked, black = True, black | stage.broken
    if not tried_white:
        return None
    only = int((black & ~white).sum())
    if asked:
        flag = only > max(0.002 * total, 1)
        text = f"{only} of {total} images are broken without gradients and not with them"
        return Check("black box", flag, text, {"broken": only})
    places = context.standing[:_SAMPLE]
    if not len(places):
        return None
    tried = attack_named("square")(
        context.victim, context.images[places], context.labels[places], found.threat, seed=context.seed,
        queries=_QUERIES,
    )  # fmt: skip
    only = int((tried.step >= 0).sum())
    text = f"{_QUERIES} random queries break {only} of {len(places)} images that gradients left"
    return Check(
        "black box", only > 0.1 * len(places) and only > 1, text, {"broken": only, "of": len(places)}
    )
