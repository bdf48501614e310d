"""Whether an attack that may do anything reaches every image."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

from ..threat import Threat
from . import Check, Context, check


@check("unbounded")
def unbounded(context: Context) -> Check:
    """PGD at half the range of pixels, where grey reaches every image, and at two radii on the way."""
    images, _ = context.some
    threat = context.found.threat
    if threat.norm == "linf":
        most = Threat("linf", "1/2")
    else:
        most = Threat("l2", str(round(images[0].numel() ** 0.5 / 2, 3)))
    radii = [threat, dataclasses.replace(threat, size=_twice(threat, most)), most]
    left = [context.left, *(context.left_by_pgd(one) for one in radii[1:])]
    total = len(images)
    rises = any(b > a + max(0.02 * total, 1) for a, b in pairwise(left))
    text = f"of {total} images {left[-1]} stand at {most}"
    if rises:
        text += f", and more at a larger radius than at a smaller one ({', '.join(map(str, left))})"
    flag = left[-1] > 0.01 * total or rises
    return Check("unbounded", flag, text, {"left": left, "radii": [str(one) for one in radii]})


def _twice(threat: Threat, most: Threat) -> str:
    return repr(min(2 * threat.radius, most.radius))
