"""The radius with which a layer keeps its response: as small as its patch norms allow."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.decoupled.operator import Operator

PER_OCTAVE = 16  # bins of the histogram: a norm is known to 2 %
STEPS = 8  # radii tried per octave: the one taken is at most 9 % larger than needed
REACH = 12  # octaves beyond the largest norm to which radii are tried
MARGIN = 5.0  # standard errors, for the patches of one image are alike
_USUAL_FAN_IN = 576  # of a patch: a learned angle starts as another function of its cosine than of its own
MOST = 2**22  # norms of a batch that are counted: more are thinned out


class Magnitude(Protocol):
    """What has an ``h``, such as an :class:`Operator`."""

    def h(self, norm: Tensor, radius: Tensor, /) -> Tensor:
        """The function of norms and radii, which broadcast."""
        ...


class Norms:
    """Patch norms of every group so far: their means, and a histogram on a logarithmic scale.

    A histogram takes little memory, does not depend on how the patches came in batches, and unlike a random
    sample it is the same every time.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor = torch.zeros((), dtype=torch.float64)
        self.first = 0
        self.counts: Tensor | None = None

    def add(self, norms: Tensor) -> None:
        """Take in norms (G, N).

        Raises:
            ValueError: one of them is not finite.
        """
        if not norms.numel():
            return
        self.sum = self.sum.to(norms.device) + norms.sum(1, dtype=torch.float64)
        self.count += norms.shape[1]
        if not bool(self.sum.isfinite().all()):
            raise ValueError("patches with infinities or NaN received; needed: finite ones")
        step = math.ceil(norms.numel() / MOST) | 1  # odd: a power of two would see few columns of a map
        bins = (norms[:, ::step].log2() * PER_OCTAVE).floor().long()
        counts = self._with_room(len(bins), int(bins.min()), int(bins.max()))
        width = counts.shape[1]
        rows = torch.arange(len(bins), device=bins.device)[:, None] * width
        found = torch.bincount((bins - self.first + rows).flatten(), minlength=counts.numel())
        self.counts = counts + found.view_as(counts)

    def _with_room(self, groups: int, low: int, high: int) -> Tensor:
        if self.counts is None:
            self.first = low
            return torch.zeros(groups, high - low + 1, dtype=torch.long, device=self.sum.device)
        left = max(self.first - low, 0)
        right = max(high + 1 - self.first - self.counts.shape[1], 0)
        self.first -= left
        return F.pad(self.counts, (left, right))

    @property
    def reached(self) -> bool:
        """Whether there are any."""
        return self.count > 0

    @property
    def means(self) -> Tensor:
        """(G,), in float64."""
        return self.sum / max(self.count, 1)

    @property
    def mean(self) -> float:
        """Over all groups."""
        return float(self.means.mean())

    def keeping(self, operator: Magnitude, tolerance: float, floor: float) -> tuple[Tensor | None, float]:
        """For every group the least radius with which the response keeps within the tolerance.

        Groups without a norm above `floor`, which say nothing, get that of all patches.

        Returns:
            The radii (G,), or None if none helps; and the largest error of the groups with them.
        """
        assert self.counts is not None
        low, high = self.first / PER_OCTAVE, (self.first + self.counts.shape[1]) / PER_OCTAVE + REACH
        steps = torch.arange(math.floor(low * STEPS), math.ceil(high * STEPS) + 1, dtype=torch.float64)
        radii = (2 ** (steps / STEPS)).to(self.counts.device)
        counts = self.telling(floor)
        errors = self.errors(operator, radii, counts)
        least = errors.amin(1)
        if bool(((errors.amax(1) <= 1.01 * least) & (least > tolerance)).all()):
            return None, float(least.max())
        # The first behind all that are not within the tolerance: seg is proportional at a radius of 0, too.
        outside = (errors > tolerance).long() * torch.arange(1, len(radii) + 1, device=radii.device)
        chosen = outside.amax(1)
        chosen = torch.where(chosen < len(radii), chosen, errors.argmin(1))
        found = float(errors.gather(1, chosen[:, None]).max())
        return self._with_margin(radii[chosen], counts), found

    def _with_margin(self, radii: Tensor, counts: Tensor) -> Tensor:
        """Radii for patches that are not among those, too: (G,).

        Where few patches make up most of the response, others like them will be larger. Their number is the
        participation ratio ``(Σ n²)² / Σ n⁴``. And where all are alike, the radius is not below them.
        """
        squares = self.bins.square()
        size = counts @ squares
        number = size.square() / (counts @ squares.square())
        return torch.maximum(radii, (size / counts.sum(1)).sqrt()) * (1 + MARGIN / number.sqrt())

    def telling(self, floor: float) -> Tensor:
        """The histogram (G, bins); for groups without a norm above `floor` that of all."""
        assert self.counts is not None
        silent = self.counts[:, self.bins > floor].sum(1) == 0
        return torch.where(silent[:, None], self.counts.sum(0), self.counts).double()

    def errors(self, operator: Magnitude, radii: Tensor, counts: Tensor | None = None) -> Tensor:
        """How far ``c h(‖x‖)`` is from ``‖x‖`` at best, of every group for every radius: (G, R).

        Root mean square over the patches, in units of the norms' own; c is the best factor, which the scale
        of a layer stands for. A plain layer's response is ``‖w‖ ‖x‖ cos θ``, so this is the error of the
        response, too, as far as angles do not go with norms.
        """
        norms = self.bins
        h = operator.h(norms[:, None], radii[None]).broadcast_to(len(norms), len(radii))
        return self.errors_of(h, counts)

    def errors_of(self, h: Tensor, counts: Tensor | None = None) -> Tensor:
        """As :meth:`errors`, of functions whose values at the bins are given (bins, R)."""
        counts = self.counts if counts is None else counts
        assert counts is not None
        norms, counts = self.bins, counts.double()
        size, like = counts @ norms.square(), counts @ (h * norms[:, None])
        square = like.square() / (size[:, None] * (counts @ h.square())).clamp(min=1e-300)
        return (1 - square).clamp(min=0).sqrt()

    @property
    def bins(self) -> Tensor:
        """The norms that the bins stand for."""
        assert self.counts is not None
        bins = torch.arange(self.counts.shape[1], dtype=torch.float64, device=self.counts.device)
        return 2 ** ((self.first + bins + 0.5) / PER_OCTAVE)


def bends_angles(operator: Operator) -> bool:
    """Whether ``g`` is another function than the cosine, whatever its factor."""
    cosine = torch.linspace(-1, 1, 201, dtype=torch.float64)
    g = operator.g(cosine, 1.0 if operator.learns_k else None, fan_in=_USUAL_FAN_IN)
    factor = (g @ cosine) / (cosine @ cosine)
    return bool((g - factor * cosine).abs().max() > 1e-6 * g.abs().max())
