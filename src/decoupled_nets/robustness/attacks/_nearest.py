"""What attacks find that look for the smallest change instead of one within a radius."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..threat import Threat


@dataclass
class Nearest:
    """For every image the nearest one found that the network takes for another class.

    Attributes:
        images: (B, C, H, W), within [0, 1]; the image itself where nothing was found.
        distance: (B,) float64, 0 where the image itself is taken for another class, infinite where nothing
            was found. An upper bound: a nearer one may exist.
    """

    images: Tensor
    distance: Tensor

    @classmethod
    def of(cls, images: Tensor, wrong: Tensor) -> Nearest:
        """As it is at the start; `wrong`: (B,) bool."""
        return cls(images.clone(), torch.where(wrong, 0, torch.inf).double())

    def note(self, threat: Threat, place: Tensor, now: Tensor, origin: Tensor, wrong: Tensor) -> Tensor:
        """Keep what is nearer, and tell the distances.

        Args:
            threat: its norm counts.
            place: (A,), of the others among all images.
            now: (A, C, H, W).
            origin: (A, C, H, W).
            wrong: (A,) bool: taken for another class.

        Returns:
            (A,) float64, infinite where an image is still right.
        """
        distance = threat.distance(now, origin).masked_fill(~wrong, torch.inf)
        up = distance < self.distance[place]
        self.images[place[up]], self.distance[place[up]] = now[up], distance[up]
        return distance
