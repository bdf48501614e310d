"""The named function nearest to a learned one, by least squares under the data's own density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..ops.decoupled.angle import angles
from ..ops.decoupled.magnitude import magnitudes

#: Radii that are tried first, in units of the mean norm, and values of k: eight an octave.
RADII = 2 ** (torch.arange(-36, 33, dtype=torch.float64) / 8)
SHARPNESSES = 2 ** (torch.arange(-40, 17, dtype=torch.float64) / 8)
#: How often the neighbourhood of the best is looked at more closely, 8 times as close each time.
ZOOMS = 7
#: What varies by less than this share of its size does not vary.
_STILL = 1e-3


@dataclass(frozen=True)
class Fit:
    """A named half beside a learned one: ``learned ≈ scale · named``.

    Attributes:
        name: of the magnitude or the angle.
        explained: R² about the mean, of the learned function's variance over the data. About the mean, since
            a constant, which says nothing of a shape, has almost all of the sum of squares of an h.
        error: root mean square difference, in units of the learned function's own root mean square.
        scale: the factor.
        radius: ρ in units of the mean norm, or None for a magnitude without one.
        beta: β for α at its default, or None for a magnitude without one.
        k: the sharpness, or None for an angle without one.
        values: of ``scale · named`` where the learned function was given.
    """

    name: str
    explained: float
    error: float
    scale: float = 1.0
    radius: float | None = None
    beta: float | None = None
    k: float | None = None
    values: Tensor = field(default_factory=lambda: torch.empty(0), repr=False, compare=False)

    @property
    def constants(self) -> int:
        """How many were found, beside the scale."""
        return sum(value is not None for value in (self.radius, self.beta, self.k))


@dataclass(frozen=True)
class Wanted:
    """A learned function on the data: its values at so many places, and how much each counts."""

    values: Tensor
    weights: Tensor

    def judged(self, fit: Fit) -> Fit:
        """The fit with what it explains."""
        left = float(self.weights @ (self.values - fit.values).square())
        size = float(self.weights @ self.values.square())
        varies = float(self.weights @ (self.values - self.weights @ self.values).square())
        explained = 1 - left / max(varies, _STILL**2 * size, 1e-300)
        return replace(fit, explained=explained, error=(left / max(size, 1e-300)) ** 0.5)

    def coefficients(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Of the least squares on columns (R, J, U): (R, J), and what is left (R,)."""
        root = self.weights.sqrt()
        scaled = columns * root
        sizes = scaled.square().sum(-1).sqrt().clamp(min=1e-300)  # columns alike in size: no digits are lost
        matrix = (scaled / sizes[..., None]).mT
        target = (self.values * root)[:, None].expand(len(columns), -1, 1)
        found = torch.linalg.lstsq(matrix, target, driver="gelsd").solution
        return found[..., 0] / sizes, (matrix @ found - target).square().sum((1, 2))


def fit_magnitude(name: str, norms: Tensor, unit: float, wanted: Wanted) -> Fit | None:
    """The magnitude `name` with the radius, the β and the factor that bring it nearest.

    β is found where h is linear in it, as it is in ``seg`` and ``mix``, and stays at its default elsewhere.

    Args:
        name: of a magnitude that is not learned.
        norms: (U,).
        unit: the mean norm.
        wanted: the learned magnitude at these norms.

    Returns:
        The fit; None if none is to be had: its factor would have to be negative, and is none that α can be.
    """
    entry = magnitudes[name]
    by_beta = _linear_in_beta(name, norms, unit)

    def columns(radii: Tensor) -> Tensor:
        own = magnitude_at(name, norms, radii[:, None] * unit, beta=0.0 if by_beta else None)
        parts = [own.expand(len(radii), -1)]
        if by_beta:
            one = magnitude_at(name, norms, radii[:, None] * unit, beta=1.0)
            parts.append(one.expand(len(radii), -1) - parts[0])
        return torch.stack(parts, 1)

    radius = None
    if entry.uses_radius:
        radius = nearest(RADII, lambda radii: wanted.coefficients(columns(radii))[1])
    fitted = columns(torch.tensor([radius or 1.0], dtype=torch.float64))
    (found,), _ = wanted.coefficients(fitted)
    scale = float(found[0])
    if (by_beta and abs(scale) < 1e-12) or (scale <= 0 and not takes_factor(name)):
        return None
    beta = float(found[1]) / scale if by_beta else None
    return wanted.judged(Fit(name, 0.0, 0.0, scale, radius, beta, values=found @ fitted[0]))


def fit_angle(name: str, cosines: Tensor, wanted: Wanted) -> Fit:
    """The angle `name` with the k, if it has one, and the factor that bring it nearest."""
    entry = angles[name]

    def columns(sharp: Tensor) -> Tensor:
        values = entry.fn(cosines, sharp[:, None]) if entry.uses_k else entry.fn(cosines)
        return values.expand(len(sharp), -1)[:, None]

    k = nearest(SHARPNESSES, lambda k: wanted.coefficients(columns(k))[1]) if entry.uses_k else None
    fitted = columns(torch.tensor([k or 1.0], dtype=torch.float64))
    (found,), _ = wanted.coefficients(fitted)
    return wanted.judged(Fit(name, 0.0, 0.0, float(found[0]), k=k, values=found @ fitted[0]))


def magnitude_at(name: str, norms: Tensor, radius: Tensor | float, *, beta: float | None = None) -> Tensor:
    """A named magnitude with the default α."""
    entry = magnitudes[name]
    return entry.fn(
        norms, torch.as_tensor(radius, dtype=torch.float64), entry.alpha, entry.beta if beta is None else beta
    )


def _linear_in_beta(name: str, norms: Tensor, unit: float) -> bool:
    if not magnitudes[name].uses_beta:
        return False
    zero, one, two = (magnitude_at(name, norms, unit, beta=beta) for beta in (0.0, 1.0, 2.0))
    return torch.allclose(two - one, one - zero, rtol=1e-9)


def takes_factor(name: str) -> bool:
    """Whether α and β times a number give h times that number."""
    entry = magnitudes[name]
    norms = torch.linspace(0.1, 3, 30, dtype=torch.float64)
    radius = torch.tensor(0.7, dtype=torch.float64)
    once = entry.fn(norms, radius, entry.alpha, entry.beta)
    return torch.allclose(entry.fn(norms, radius, -1.5 * entry.alpha, -1.5 * entry.beta), -1.5 * once)


def nearest(grid: Tensor, left: Callable[[Tensor], Tensor]) -> float:
    """Where `left` is least: on a grid first, then more and more closely around its best place."""
    for _ in range(ZOOMS):
        best = int(left(grid).argmin())
        low, high = grid[max(best - 1, 0)].log(), grid[min(best + 1, len(grid) - 1)].log()
        grid = torch.linspace(float(low), float(high), 17, dtype=torch.float64).exp()
    return float(grid[left(grid).argmin()])
