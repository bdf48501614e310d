"""Modules with parameters."""

from .conv import DecoupledConv1d, DecoupledConv2d, DecoupledConv3d, DecoupledLinear
from .operator import DecoupledMixin, RelativeRadius

__all__ = [
    "DecoupledConv1d",
    "DecoupledConv2d",
    "DecoupledConv3d",
    "DecoupledLinear",
    "DecoupledMixin",
    "RelativeRadius",
]
