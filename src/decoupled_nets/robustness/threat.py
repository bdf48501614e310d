"""Threat models: which changes of an image an attack may make."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .._registry import unknown
from ._rows import largest, length, spread
from .draws import Draws

NORMS = ("linf", "l2")
_WRITTEN = {"linf": "L∞", "l2": "L2"}


@dataclass(frozen=True)
class Threat:
    """All images within a radius of the given one, with pixels in [0, 1].

    >>> threat = Threat.parse("linf:8/255")
    >>> threat.radius == 8 / 255, str(threat)
    (True, 'L∞ 8/255')

    Args:
        norm: ``linf`` (the largest change of a pixel) or ``l2`` (root of the sum of squared changes).
        size: The radius as text, a fraction or a decimal: ``8/255`` is not 0.031.

    Raises:
        ValueError: there is no such norm, or the radius is no positive number.
    """

    norm: str
    size: str

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(unknown("norm", self.norm, list(NORMS)))
        try:
            radius = float(Fraction(self.size))
        except (ValueError, ZeroDivisionError):
            radius = math.nan
        if not 0 <= radius < math.inf:
            raise ValueError(
                f"radius {self.size!r} received; needed: a number as text, at least 0, such as '8/255' or"
                " '0.5'"
            )
        if self.norm == "linf" and radius > 1:
            raise ValueError(
                f"radius {self.size} received for L∞; needed: at most 1, as pixels are in [0, 1]; 8 of 255"
                " grey levels are 8/255"
            )

    @classmethod
    def parse(cls, text: str | Threat) -> Threat:
        """From text such as ``linf:8/255`` or ``l2:0.5``.

        Raises:
            ValueError: it is none.
        """
        if isinstance(text, Threat):
            return text
        norm, colon, size = str(text).partition(":")
        if not colon:
            raise ValueError(f"threat {text!r} received; needed: NORM:RADIUS, such as linf:8/255 or l2:0.5")
        return cls(norm.strip().lower(), size.strip())

    @property
    def radius(self) -> float:
        """The radius, in units of pixels in [0, 1]."""
        return float(Fraction(self.size))

    @property
    def spelled(self) -> str:
        """As :meth:`parse` takes it."""
        return f"{self.norm}:{self.size}"

    def __str__(self) -> str:
        return f"{_WRITTEN[self.norm]} {self.size}"

    def distance(self, images: Tensor, origin: Tensor) -> Tensor:
        """How far images are from their origin: (B, C, H, W) twice to (B,), in float64."""
        return self.length(images.double() - origin.double())

    def length(self, change: Tensor) -> Tensor:
        """How long changes are, in the norm: (B, C, H, W) to (B,)."""
        return largest(change) if self.norm == "linf" else length(change)

    def project(self, images: Tensor, origin: Tensor) -> Tensor:
        """The nearest image in the ball, then with pixels in [0, 1].

        Args:
            images: (B, C, H, W).
            origin: (B, C, H, W), pixels in [0, 1]; the second step only brings the image nearer to it.
        """
        if self.norm == "linf":
            low, high = (origin - self.radius).clamp(min=0), (origin + self.radius).clamp(max=1)
            return torch.minimum(torch.maximum(images, low), high)
        change = images - origin
        share = (self.radius / length(change.double()).clamp(min=1e-12)).clamp(max=1).to(change.dtype)
        return (origin + change * spread(share, change)).clamp(0, 1)

    def ascent(self, gradient: Tensor) -> Tensor:
        """The change of length 1, in the norm, along which a function with this gradient rises fastest.

        Args:
            gradient: (B, C, H, W).
        """
        if self.norm == "linf":
            return gradient.sign()
        # Tiny gradients keep their direction: a square of 1e-30 would be 0.
        most = largest(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
        scaled = gradient / spread(most, gradient)
        return scaled / spread(length(scaled).clamp(min=1e-12), gradient)

    def start(self, images: Tensor, draws: Draws) -> Tensor:
        """A random image of the ball, within [0, 1]: uniform for L∞; for L2 of uniform direction and length.

        Args:
            images: (B, C, H, W).
            draws: one stream an image.
        """
        if self.norm == "linf":
            noise = 2 * draws.uniform(images.shape[1:], images) - 1
            return self.project(images + self.radius * noise, images)
        noise = draws.normal(images.shape[1:], images)
        share = draws.uniform((1, 1, 1), images)
        return self.project(images + self.radius * share * self.ascent(noise), images)
