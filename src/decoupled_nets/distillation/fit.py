"""The named function that is nearest to a learned one, where the data lies.

Every candidate is a sum of one or two functions with factors of their own, for a radius that is tried on a
grid: least squares weighted with the data, without a search that could stop early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.decoupled.operator import DEFAULT_K, Operator

#: Radii tried, in units of ρ.
_RADII = torch.logspace(-2, 1.5, 351, dtype=torch.float64, base=10.0)
#: Then, of the best of these, its multiples.
_NEARER = torch.logspace(-0.01, 0.01, 201, dtype=torch.float64, base=10.0)
#: A candidate with fewer constants is taken if it explains as much but for this share.
_SLACK = 1e-3


@dataclass(frozen=True)
class Fitted:
    """A named half with its constants.

    Attributes:
        name: of the magnitude or the angle.
        explained: R², the share of the learned function's variance over the data that it explains: about the
            mean for h, which a constant would explain in part; for g, which is odd, about 0.
        alpha: its factor.
        beta: β, where it has one.
        radius: ρ in units of the learned function's own, where it has one.
    """

    name: str
    explained: float
    alpha: float
    beta: float | None = None
    radius: float | None = None

    def __str__(self) -> str:
        """Its name and constants."""
        parts = [] if self.radius is None else [f"ρ = {self.radius:.2f} m"]
        parts += [] if self.beta is None else [f"β/α = {self.beta / self.alpha:.2f}"]
        return ", ".join([self.name, *parts])


#: Functions of u by radius (R, 1) whose weighted sum the magnitude is; with the number of its constants.
_MAGNITUDES: dict[str, tuple[int, Callable[[Tensor, Tensor, float], list[Tensor]]]] = {
    "sphere": (1, lambda u, r, unit: [torch.ones_like(u)]),
    "linear": (1, lambda u, r, unit: [u]),
    "log": (1, lambda u, r, unit: [torch.log1p(unit * u)]),
    "ball": (2, lambda u, r, unit: [torch.minimum(u, r) / r]),
    "tanh": (2, lambda u, r, unit: [torch.tanh(u / r)]),
    "mix": (2, lambda u, r, unit: [unit * u, torch.log1p(unit * u)]),
    "seg": (3, lambda u, r, unit: [torch.minimum(u, r), (u - r).clamp(min=0)]),
}
_WITH_RADIUS = ("ball", "tanh", "seg")
_ANGLES = {
    "cos": 1,
    "sqcos": 1,
    "linear": 2,
    "sigmoid": 2,
}  # the last two only where they differ from the first


def nearest_magnitude(
    u: Tensor, h: Tensor, weights: Tensor, unit: float, candidates: Sequence[str] = tuple(_MAGNITUDES)
) -> list[Fitted]:
    """Named magnitudes for values h at u, the nearest first.

    Args:
        u: norms in units of `unit`.
        h: the learned function there.
        weights: how many patches lie there.
        unit: ρ of the learned function.
        candidates: names.
    """
    centred = _variance(h, weights)
    found = []
    for name in candidates:
        constants, basis = _MAGNITUDES[name]
        radii = _RADII if name in _WITH_RADIUS else torch.ones(1, dtype=torch.float64)
        for nearer in (_NEARER, None):
            columns = basis(u[None], radii[:, None], unit)
            parts = torch.stack([column.expand(len(radii), len(u)) for column in columns], -1)
            factors, error = _least_squares(parts, h, weights)
            best = int(error.argmin())
            if nearer is not None and len(radii) > 1:
                radii = radii[best] * nearer
        alpha = float(factors[best, 0])
        if not alpha > 0:
            continue
        beta = float(factors[best, 1]) if parts.shape[-1] == 2 else None
        radius = float(radii[best]) if name in _WITH_RADIUS else None
        explained = 1 - float(error[best]) / centred
        found.append((constants, _in_own_units(name, explained, alpha, beta, radius, unit)))
    return _ordered(found)


def _in_own_units(
    name: str, explained: float, alpha: float, beta: float | None, radius: float | None, unit: float
) -> Fitted:
    """With slopes over ‖x‖ itself for linear and seg."""
    if name in ("linear", "seg"):
        alpha, beta = alpha / unit, None if beta is None else beta / unit
    return Fitted(name, explained, alpha, beta, radius)


def nearest_angle(
    turn: Tensor, g: Tensor, weights: Tensor, fan_in: int, candidates: Sequence[str] = tuple(_ANGLES)
) -> list[Fitted]:
    """Named angles for values g at t = √d cos θ, the nearest first; `g` is the function of the cosine."""
    cosine = (turn / fan_in**0.5).clamp(max=1.0)
    found = []
    for name in candidates:
        part = Operator("tanh", name).g(cosine, DEFAULT_K if name == "sigmoid" else None)
        factors, error = _least_squares(part[None, :, None], g, weights)
        explained = 1 - float(error[0]) / float((weights * g.square()).sum())
        found.append((_ANGLES[name], Fitted(name, explained, float(factors[0, 0]))))
    return _ordered(found)


def _ordered(found: list[tuple[int, Fitted]]) -> list[Fitted]:
    """By what they explain; of those that explain alike, the one with the fewest constants first."""
    if not found:
        return []
    best = max(one.explained for _, one in found)
    alike = [pair for pair in found if pair[1].explained >= best - _SLACK]
    others = [pair for pair in found if pair[1].explained < best - _SLACK]
    alike.sort(key=lambda pair: (pair[0], -pair[1].explained))
    others.sort(key=lambda pair: -pair[1].explained)
    return [one for _, one in (*alike, *others)]


def _variance(values: Tensor, weights: Tensor) -> float:
    """About the mean; no less than a billionth of the square, where all the data lies in one place."""
    mean = (weights * values).sum() / weights.sum()
    least = 1e-9 * float((weights * values.square()).sum())
    return max(float((weights * (values - mean).square()).sum()), least, 1e-300)


def _least_squares(parts: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (R, K) of functions (R, N, K) for values (N,), and the weighted squared error (R,)."""
    weighted = parts * weights[None, :, None]
    gram = weighted.mT @ parts
    ridge = (
        1e-12 * gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] * torch.eye(gram.shape[-1]).to(gram)
    )
    factors = torch.linalg.solve(gram + ridge + 1e-300, weighted.mT @ values[None, :, None])
    error = (weights * (values - (parts @ factors)[..., 0]).square()).sum(-1)
    return factors[..., 0], error
