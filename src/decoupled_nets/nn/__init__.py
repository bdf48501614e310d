"""Modules with parameters."""

from .conv import DecoupledConv1d, DecoupledConv2d, DecoupledConv3d, DecoupledLinear
from .operator import DecoupledMixin, RelativeRadius
from .same_conv import DecoupledConv2dSame
from .same_pad import SamePad2d

__all__ = [
    "DecoupledConv1d",
    "DecoupledConv2d",
    "DecoupledConv2dSame",
    "DecoupledConv3d",
    "DecoupledLinear",
    "DecoupledMixin",
    "RelativeRadius",
    "SamePad2d",
]
