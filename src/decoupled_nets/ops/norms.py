"""Norms of patches and kernels.

Shapes: B batch, G groups, C input channels, O output channels, K kernel sizes, S spatial output sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import Geometry


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which norms, cosines and magnitudes are computed: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def kernel_norm(weight: Tensor, eps: float = 1e-4) -> Tensor:
    """``sqrt(Σ w² + eps)`` of every kernel: (O, C/G, *K) to (O,), in float32 or float64."""
    wide = weight.to(accumulation_dtype(weight.dtype))
    return (wide.flatten(1).square().sum(1) + eps).sqrt()


def patch_norm(input: Tensor, geometry: Geometry, groups: int = 1, eps: float = 1e-4) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch: (B, C, *spatial) to (B, G, *S), in float32 or float64.

    The squares are summed over channels first and then over the window one dimension at a time, so the cost
    is one pass over the input.
    """
    geometry.output_size(input.shape[2:])
    wide = input.to(accumulation_dtype(input.dtype))
    total = wide.square().unflatten(1, (groups, -1)).sum(2)
    return (geometry.window_sum(total) + eps).sqrt()


def vector_norm(input: Tensor, eps: float = 1e-4) -> Tensor:
    """``sqrt(Σ x² + eps)`` over the last dimension: (..., C) to (..., 1), in float32 or float64."""
    wide = input.to(accumulation_dtype(input.dtype))
    return (wide.square().sum(-1, keepdim=True) + eps).sqrt()
