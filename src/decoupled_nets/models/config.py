"""What the user says about the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..ops.decoupled.operator import Weighting


@dataclass(frozen=True)
class NetworkConfig:
    """The network, but for its operator.

    Args:
        model: Name of the network; without it the task's own.
        width: Multiplies the network's channel counts.
        batch_norm: BatchNorm after the convolutions.
        relu: ReLU after the convolutions.
        radius: Radius of decoupled convolutions: `relative` (learned, in units of the mean patch norm),
            `learned` (absolute) or a number.
        weighting: How the norm of a kernel counts: not at all, `linear`, `product` (Eq. 15), `separate` (16).
        plugin: Python file or module that registers operators; imported first.
    """

    model: str = ""
    width: float = 1.0
    batch_norm: bool = True
    relu: bool = True
    radius: float | Literal["relative", "learned"] = "relative"
    weighting: Weighting | None = None
    plugin: str | None = None

    def network_arguments(self) -> dict[str, Any]:
        """The options of the network's builder."""
        names = ("width", "batch_norm", "relu", "radius", "weighting")
        return {name: getattr(self, name) for name in names}
