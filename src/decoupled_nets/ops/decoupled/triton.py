"""What the Triton kernels of graphics processors take; :mod:`.triton_launch` starts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.library import register_kernel

from .. import gpu
from .call import ConvCall, Operands
from .register import SCHEMAS

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MAGNITUDES = ("sphere", "ball", "tanh", "linear", "seg", "log", "mix", "given")
ANGLES = ("cos", "sqcos", "power", "spline")
SEEN_BY_COMPILERS = False
_FEW = 2**31 - 2**20  # elements of an image that 32 bits count, and what lies around it


def missing(call: ConvCall, operands: Operands) -> str | None:
    """Why there are no kernels here, or none for maps of this size; None if there are."""
    x, weight, geometry = operands.x, operands.weight, call.geometry
    if geometry is None:
        return "linear layers have none"
    out = math.prod(geometry.output_size(x.shape[2:])) * weight.shape[0]
    if not out:
        return "the output is empty"
    if max(out, math.prod(x.shape[1:])) >= _FEW or len(x) >= 2**31:
        return "an image has more numbers than 32 bits count"
    return gpu.missing(x.device.index)


def _starts(name: str) -> Callable[..., Any]:
    def start(*args: Any) -> Any:
        from . import triton_launch, triton_radial

        return getattr(triton_radial if name.startswith("radial") else triton_launch, name)(*args)

    return start


for _name in SCHEMAS:
    register_kernel(f"decoupled_nets::{_name}", "cuda", _starts(_name))
