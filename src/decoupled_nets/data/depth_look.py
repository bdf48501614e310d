"""A look at depth maps before anything is made of them: their range, their gaps, and which say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .depth_pairs import DepthSplit
from .depth_transform import known_of
from .depth_values import Values
from .found import LeftOut
from .roles import ROLES, WORDS, Role
from .split import Split
from .unreadable import Unreadable

BORDER = 6  # pixels at each side that do not count, as in PAC-Net
MISSING = 0.001  # a larger share of zeros says that 0 is no depth
_MOST_MISSING = 0.9


@dataclass(frozen=True)
class DepthSeen:
    """What the maps of a split are.

    Attributes:
        low: Smallest value of all.
        high: Largest.
        missing: Share of the values that are none.
        zeros: Whether 0 is none.
        sizes: Height and width of each.
        constant: Those of one value.
        empty: Those with hardly a value.
        outside: Others without a value inside the border, where errors are counted.
    """

    low: float
    high: float
    missing: float
    zeros: bool
    sizes: list[tuple[int, int]]
    constant: list[int]
    empty: list[int]
    outside: list[int]

    @property
    def usable(self) -> list[int]:
        """Numbers of the others."""
        return [k for k in range(len(self.sizes)) if k not in {*self.constant, *self.empty, *self.outside}]


def look_at_depth(pairs: dict[Role, DepthSplit], scale: int) -> dict[Role, DepthSeen]:
    """Read every map, to be cut to multiples of the scale; training maps say whether 0 is a depth.

    Raises:
        ValueError: maps cannot be read, or are of other sizes than their images.
    """
    zeros: bool | None = None
    found: dict[Role, DepthSeen] = {}
    for role in ROLES:
        rows, unreadable = [], Unreadable()
        for index in range(len(pairs[role])):
            with unreadable.kept():
                values = pairs[role].values(index)
                pairs[role].check(index, values.shape)
                rows.append(_statement(values, scale))
        unreadable.tell()
        total = sum(row["size"] for row in rows)
        if zeros is None:
            zeros = sum(row["zeros"] for row in rows) > MISSING * total
        found[role] = _summed(rows, zeros, total)
    return found


def _statement(depth: Values, scale: int) -> dict[str, Any]:
    """What a map holds: with 0 as a value, and without."""
    ends, inside = [], []
    high, wide = (n // scale * scale - BORDER for n in depth.shape)
    for zeros in (False, True):
        known = known_of(depth, zeros)
        middle = known[BORDER : max(high, 0), BORDER : max(wide, 0)]
        inside.append(not middle.size or not np.isnan(middle).all())  # a size too small is refused later
        known = known[~np.isnan(known)]
        ends.append((float(known.min()), float(known.max())) if known.size else (np.nan, np.nan))
    gaps, none = int(np.isnan(depth).sum()), int((depth == 0).sum())
    return {
        "shape": depth.shape, "size": depth.size, "zeros": none, "gaps": gaps, "ends": ends, "inside": inside,
    }  # fmt: skip


def _summed(rows: list[dict[str, Any]], zeros: bool, total: int) -> DepthSeen:
    ends = [row["ends"][zeros] for row in rows]
    gaps = [row["gaps"] + zeros * row["zeros"] for row in rows]
    empty = [k for k, row in enumerate(rows) if gaps[k] > _MOST_MISSING * row["size"]]
    constant = [k for k, (low, high) in enumerate(ends) if low == high and k not in empty]
    useless = {*empty, *constant}
    outside = [k for k, row in enumerate(rows) if not row["inside"][zeros] and k not in useless]
    known = [pair for k, pair in enumerate(ends) if k not in empty] or [(np.nan, np.nan)]
    return DepthSeen(
        min(low for low, _ in known), max(high for _, high in known), sum(gaps) / total, zeros,
        [row["shape"] for row in rows], constant, empty, outside,
    )  # fmt: skip


def usable_pairs(
    pairs: dict[Role, DepthSplit], seen: dict[Role, DepthSeen]
) -> tuple[dict[Role, Split], list[LeftOut]]:
    """The pairs whose maps say something, and what is left out."""
    kept: dict[Role, Split] = {}
    left: list[LeftOut] = []
    for role, split in pairs.items():
        for why, some in (
            ("depth maps of one value", seen[role].constant),
            ("depth maps with values at less than a tenth of their pixels", seen[role].empty),
            (f"depth maps without a value inside a border of {BORDER} pixels", seen[role].outside),
        ):
            if some:
                assert split.masks is not None
                left.append(LeftOut(why, len(some), split.masks.where(int(split.rows[some[0]]))))
        kept[role] = split.select(torch.tensor(seen[role].usable, dtype=torch.int64))
        if not len(kept[role]):
            raise ValueError(
                f"no {WORDS[role]} pair is of use: {left[-1].reason}, such as {left[-1].example}; needed: one"
                " or more with depth that varies"
            )
    return kept, left
