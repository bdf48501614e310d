"""One layer read: its learned halves beside the named ones, on the patches that it sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops.decoupled.angle import angles
from ..ops.decoupled.magnitude import magnitudes
from ..ops.decoupled.operator import Operator, resolve_operator
from .density import Density
from .fits import Fit, Wanted, fit_angle, fit_magnitude, magnitude_at
from .matches import Match, simplest
from .report import Curve, DistilledLayer

#: Angles whose nearest functions are so far apart on the data, in units of the learned one's size, are one.
ALIKE = 0.01
#: The data reach from one of these shares of the patches to the other.
ENDS = (0.001, 0.999)
_POINTS, _BINS = 241, 60


class Pair(NamedTuple):
    """An operator by its halves."""

    magnitude: str
    angle: str

    def __str__(self) -> str:
        return f"{self.magnitude}-{self.angle}"


def pairs_of(candidates: Iterable[Operator | str] | None) -> list[Pair]:
    """The operators to choose from; None: all that learn nothing.

    Raises:
        ValueError: there is none, one is unknown, or learned itself.
    """
    if candidates is None:
        return [
            Pair(magnitude, angle)
            for magnitude in magnitudes
            for angle in angles
            if magnitudes[magnitude].learned is None and angles[angle].learned is None
        ]
    if isinstance(candidates, str):
        raise ValueError(f"candidates = {candidates!r} received; needed: a list of operators")
    found = []
    for one in candidates:
        operator = resolve_operator(one)
        if operator.learned != (None, None):
            raise ValueError(f"candidate {str(operator)!r} received; needed: one that learns nothing")
        found.append(Pair(operator.magnitude, operator.angle))
    if not found:
        raise ValueError("candidates = [] received; needed: at least one operator, or None for all")
    return list(dict.fromkeys(found))


class Halves(NamedTuple):
    """The halves of a layer's row on the bins of its data, and what else they go by."""

    layer: Any
    row: int
    unit: float

    def h(self, sizes: Tensor) -> Tensor:
        """The layer's magnitude; of one with a radius a channel, at their mean."""
        layer: Any = self.layer
        radius = torch.as_tensor(layer.effective_radius(sizes.to(layer.weight.device))).double().mean().cpu()
        parameters = layer.h_parameters
        own = None if parameters is None else parameters[self.row % len(parameters)].double().cpu()
        return layer.operator.h(sizes, radius, parameters=own)

    def g(self, cosines: Tensor) -> Tensor:
        """The layer's angle; of one with a sharpness a channel, at their mean."""
        layer: Any = self.layer
        k = layer.effective_k()
        k = None if k is None else k.double().mean().cpu()
        parameters = layer.g_parameters
        own = None if parameters is None else parameters[self.row % len(parameters)].double().cpu()
        return layer.operator.g(cosines, k, own, layer.weight[0].numel())


@torch.no_grad()
def read_layer(name: str, layer: Any, density: Density, candidates: Sequence[Pair]) -> list[DistilledLayer]:
    """A layer's rows, one for each group of channels.

    Raises:
        ValueError: no candidate has the half that the layer does not learn.
    """
    own, learned = layer.operator, layer.operator.learned
    fitting = [
        pair
        for pair in candidates
        if (learned[0] is not None or pair.magnitude == own.magnitude)
        and (learned[1] is not None or pair.angle == own.angle)
    ]
    if not fitting:
        kept = own.magnitude if learned[0] is None else own.angle
        raise ValueError(
            f"candidates without {kept!r} received; needed: one with it, as the layer {name!r} ({own}) keeps "
            "that half"
        )
    unit = float(layer.mean_norm) if layer.relative is not None else density.mean_norm
    return [_row(name, Halves(layer, row, unit), density, fitting) for row in range(density.rows)]


def _row(name: str, halves: Halves, density: Density, candidates: Sequence[Pair]) -> DistilledLayer:
    joint, unit = density.joint(halves.row), halves.unit
    root = density.fan_in**0.5
    cosines = (density.turns / root).clamp(-1.0, 1.0)
    of_h = Wanted(halves.h(density.sizes), joint.sum(1))
    of_g = Wanted(halves.g(cosines), joint.sum(0))
    learned = halves.layer.operator.learned
    hs: dict[str, Fit] = {}
    for magnitude in dict.fromkeys(pair.magnitude for pair in candidates):
        kept = Fit(magnitude, 1.0, 0.0, values=of_h.values)
        found = kept if learned[0] is None else fit_magnitude(magnitude, density.sizes, unit, of_h)
        hs |= {} if found is None else {magnitude: found}
    gs = {
        angle: Fit(angle, 1.0, 0.0, values=of_g.values)
        if learned[1] is None
        else fit_angle(angle, cosines, of_g)
        for angle in dict.fromkeys(pair.angle for pair in candidates)
    }
    alike = _alike(of_g, gs)
    matches = _ranked([p for p in candidates if p.magnitude in hs and p.angle in alike], hs, gs)
    h, g = hs[matches[0].pair[0]], gs[matches[0].pair[1]]
    curves = _curve_of_h(halves, density, joint, hs, h), _curve_of_g(halves, density, joint, gs, g)
    return DistilledLayer(
        name=name,
        group=halves.row if density.rows > 1 else None,
        was=str(halves.layer.operator),
        mean_norm=unit,
        seen_norm=density.mean_norm,
        patches=density.count,
        h=None if learned[0] is None else h,
        g=None if learned[1] is None else g,
        explained=_product(joint, of_h, of_g, h, g),
        alike=alike[g.name],
        matches=tuple(matches),
        h_curve=curves[0],
        g_curve=curves[1],
    )


def _ranked(candidates: Sequence[Pair], hs: Mapping[str, Fit], gs: Mapping[str, Fit]) -> list[Match]:
    known = {
        str(p): Match(
            (p.magnitude, p.angle), hs[p.magnitude].explained, gs[p.angle].explained,
            hs[p.magnitude].constants + gs[p.angle].constants,
        )
        for p in candidates
    }  # fmt: skip
    order = simplest(
        {name: match.h + match.g for name, match in known.items()},
        {name: match.constants for name, match in known.items()},
    )
    return [known[name] for name in order]


def _product(joint: Tensor, of_h: Wanted, of_g: Wanted, h: Fit, g: Fit) -> float:
    """R² of the response, without scale and bias, by the sizes and cosines that come together."""
    wanted = of_h.values[:, None] * of_g.values
    found = h.values[:, None] * g.values
    factor = (joint * wanted * found).sum() / (joint * found.square()).sum().clamp(min=1e-300)
    left = (joint * (wanted - factor * found).square()).sum()
    return 1 - float(left / (joint * (wanted - (joint * wanted).sum()).square()).sum().clamp(min=1e-300))


def _alike(wanted: Wanted, fits: Mapping[str, Fit]) -> dict[str, tuple[str, ...]]:
    """Angles that differ on this data, each with those that are the same function here.

    At small cosines all smooth ones are the cosine but for their scale, which says nothing for any of them.
    The one of the fewest constants stands for the others, the cosine before all.
    """
    size = float(wanted.weights @ wanted.values.square())
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(fits, key=lambda name: (name != "cos", fits[name].constants)):
        apart = {
            other: float(wanted.weights @ (fits[name].values - fits[other].values).square())
            for other in found
        }
        same = next((other for other, distance in apart.items() if distance <= ALIKE**2 * size), None)
        if same is None:
            found[name] = ()
        else:
            found[same] += (name,)
    return found


def _ends(edges: Tensor, shares: Tensor) -> tuple[float, float]:
    below = torch.cat([torch.zeros(1, dtype=torch.float64), shares.cumsum(0)])
    low, high = (int(torch.searchsorted(below, end)) for end in ENDS)
    return float(edges[max(low - 1, 0)]), float(edges[min(high, len(edges) - 1)])


def _rebinned(edges: Tensor, shares: Tensor, new: Tensor) -> Tensor:
    """The density on bins of other edges, as if it were even within each bin."""
    below = torch.cat([torch.zeros(1, dtype=torch.float64), shares.cumsum(0)])
    place = torch.searchsorted(edges, new).clamp(1, len(edges) - 1)
    part = ((new - edges[place - 1]) / (edges[place] - edges[place - 1])).clamp(0, 1)
    at = below[place - 1] + part * (below[place] - below[place - 1])
    return at.diff() / new.diff()


def _curve_of_h(
    halves: Halves, density: Density, joint: Tensor, fits: Mapping[str, Fit], chosen: Fit
) -> Curve:
    edges, shares, unit = density.size_edges / halves.unit, joint.sum(1), halves.unit
    data = _ends(edges, shares)
    top = max(1.2 * data[1], 1.5)
    at = torch.linspace(0.0, top, _POINTS, dtype=torch.float64)
    norms = at * unit

    def values(fit: Fit) -> Tensor:
        if halves.layer.operator.learned[0] is None:
            return halves.h(norms)
        return fit.scale * magnitude_at(fit.name, norms, (fit.radius or 1.0) * unit, beta=fit.beta)

    new = torch.linspace(0.0, top, _BINS + 1, dtype=torch.float64)
    return Curve(
        at, halves.h(norms), {name: values(fit) for name, fit in fits.items()}, chosen.name,
        new, _rebinned(edges, shares, new), data,
    )  # fmt: skip


def _curve_of_g(
    halves: Halves, density: Density, joint: Tensor, fits: Mapping[str, Fit], chosen: Fit
) -> Curve:
    edges, shares, root = density.turn_edges, joint.sum(0), density.fan_in**0.5
    data = _ends(edges, shares)
    top = min(root, max(1.2 * max(-data[0], data[1]), 2.0))
    at = torch.linspace(-top, top, _POINTS, dtype=torch.float64)
    cosines = at / root

    def values(fit: Fit) -> Tensor:
        if halves.layer.operator.learned[1] is None:
            return root * halves.g(cosines)
        given = (fit.k,) if fit.k is not None else ()
        return root * fit.scale * angles[fit.name].fn(cosines, *given)

    new = torch.linspace(-top, top, 2 * (_BINS // 2) + 1, dtype=torch.float64)
    return Curve(
        at, root * halves.g(cosines), {name: values(fit) for name, fit in fits.items()}, chosen.name,
        new, _rebinned(edges, shares, new), data,
    )  # fmt: skip
