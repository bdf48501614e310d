"""A network together with the normalisation of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from .layers import Normalize


class PixelNetwork(nn.Module):
    """A network that takes pixels in [0, 1]: its normalisation goes where it goes.

    Args:
        network: takes normalised images (B, C, H, W).
        mean: of each channel of the pixels.
        std: of each channel of the pixels.

    Raises:
        ValueError: `mean` and `std` differ in length, or a deviation is not positive.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.network = network

    def forward(self, images: Tensor) -> Any:
        """(B, C, H, W), pixels in [0, 1], to what the network gives."""
        return self.network(self.normalize(images))

    def with_targets(self, images: Tensor, targets: Any) -> Any:
        """What a network gives that sees the targets of its images in training."""
        return self.network(self.normalize(images), targets)

    def tiled(self, images: Tensor, tile: int) -> Tensor:
        """As :meth:`forward`, in parts of so many pixels, of a network that can be asked so."""
        return cast(Any, self.network).tiled(self.normalize(images), tile)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W), pixels in [0, 1], to what the classifier of the network sees."""
        network = cast(Any, self.network)
        return network.forward_head(network.forward_features(self.normalize(images)), pre_logits=True)
