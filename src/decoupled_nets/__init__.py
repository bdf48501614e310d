"""Decoupled convolutions for PyTorch: the magnitude and the angle of every patch, chosen or learned apart."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from . import functional
from .calibration import Calibration, calibrate
from .conversion import Conversion, Select, convert, convert_upsampling, register_twin, revert
from .distillation import Distillation, distil
from .fusion import fuse
from .hub import from_pretrained, push_to_hub, save_pretrained
from .models import create_model, list_models, load_official, register_timm
from .nn import (
    DDF2d,
    DDFUpsample,
    DecoupledConv1d,
    DecoupledConv2d,
    DecoupledConv3d,
    DecoupledLinear,
    FilterNorm,
    RelativeRadius,
)
from .nn.upsamplers import list_upsamplers, register_upsampler, unregister_upsampler, upsampler
from .ops.backend import last_backend, use_backend
from .ops.decoupled.angle import register_angle, unregister_angle
from .ops.decoupled.magnitude import register_magnitude, unregister_magnitude
from .ops.decoupled.operator import Operator
from .optim import (
    orthogonality,
    parameter_groups,
    project_weights_,
    total_variation,
    weighted_gradients,
)

if TYPE_CHECKING:
    from . import robustness

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "Conversion",
    "DDF2d",
    "DDFUpsample",
    "DecoupledConv1d",
    "DecoupledConv2d",
    "DecoupledConv3d",
    "DecoupledLinear",
    "Distillation",
    "FilterNorm",
    "Operator",
    "RelativeRadius",
    "Select",
    "calibrate",
    "convert",
    "convert_upsampling",
    "create_model",
    "distil",
    "from_pretrained",
    "functional",
    "fuse",
    "last_backend",
    "list_models",
    "list_upsamplers",
    "load_official",
    "orthogonality",
    "parameter_groups",
    "project_weights_",
    "push_to_hub",
    "register_angle",
    "register_magnitude",
    "register_timm",
    "register_twin",
    "register_upsampler",
    "revert",
    "robustness",
    "save_pretrained",
    "total_variation",
    "unregister_angle",
    "unregister_magnitude",
    "unregister_upsampler",
    "upsampler",
    "use_backend",
    "weighted_gradients",
]


def __getattr__(name: str) -> ModuleType:
    """``decoupled_nets.robustness``, which most programs never ask for."""
    if name == "robustness":
        return importlib.import_module(".robustness", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
