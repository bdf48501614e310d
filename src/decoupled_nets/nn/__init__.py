"""Modules with parameters."""

from .conv import DecoupledConv1d, DecoupledConv2d, DecoupledConv3d, DecoupledLinear
from .ddf import DDF2d
from .filter_norm import FilterNorm
from .operator import DecoupledMixin, RelativeRadius
from .same_conv import DecoupledConv2dPadded, DecoupledConv2dSame
from .same_pad import SamePad2d
from .standardized_conv import DecoupledStdConv2d, DecoupledStdConv2dSame
from .upsample import DDFUpsample

__all__ = [
    "DDF2d",
    "DDFUpsample",
    "DecoupledConv1d",
    "DecoupledConv2d",
    "DecoupledConv2dPadded",
    "DecoupledConv2dSame",
    "DecoupledConv3d",
    "DecoupledLinear",
    "DecoupledMixin",
    "DecoupledStdConv2d",
    "DecoupledStdConv2dSame",
    "FilterNorm",
    "RelativeRadius",
    "SamePad2d",
]
