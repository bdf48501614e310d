"""Inputs for the operators' sweeps: small, fixed, on both sides of every kink and never on one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.operator import WEIGHTINGS

#: Every named pair, and some of what is learned, which test_learned.py goes through.
NAMED = ([name for name in registry if registry[name].learned is None] for registry in (magnitudes, angles))
LEARNED = ["power-power", "spline-spline", "spline-cos", "tanh-power"]
OPERATORS = [*(f"{h}-{g}" for h, g in itertools.product(*NAMED)), *LEARNED]
WEIGHTED = [None, *WEIGHTINGS]
CONSTANTS = ("radius", "alpha", "beta", "k")


def make_tensors(
    size: tuple[int, ...] = (5, 4),
    kernel: tuple[int, ...] = (3, 2),
    *,
    batch: int = 2,
    channels: int = 4,
    out: int = 6,
    groups: int = 2,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Input, weight, bias and one ρ, α, β and k per output channel, all requiring a gradient.

    Patch norms are about ``sqrt(C/G · prod(K))`` and kernel norms about 1, so that radii from 0.6 to 6 have
    both of them on either side.
    """
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight = normal(out, channels // groups, *kernel)
    tensors = {
        "input": normal(batch, channels, *size),
        "weight": weight / weight[0].numel() ** 0.5,
        "bias": normal(out),
        "radius": torch.linspace(0.6, 6, out, dtype=torch.float64),
        "alpha": torch.linspace(0.7, 1.3, out, dtype=torch.float64),
        "beta": torch.linspace(0.2, 0.8, out, dtype=torch.float64),
        "k": torch.linspace(0.9, 0.3, out, dtype=torch.float64),
    }
    return {name: value.to(dtype).requires_grad_() for name, value in tensors.items()}


def outcome(fn: Callable[..., Tensor], tensors: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
    """The output of `fn` and the gradient of a fixed random projection of it by every tensor."""
    output = fn(**tensors, **options)
    generator = torch.Generator().manual_seed(2)
    cotangent = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    # The same projection for every type: what rounding did to it is no error of the operator.
    gradients = torch.autograd.grad(
        output, list(tensors.values()), cotangent, allow_unused=True, materialize_grads=True
    )
    return {"output": output.detach(), **dict(zip(tensors, gradients, strict=True))}


def doubled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The very same numbers in float64, as leaves of their own."""
    return {name: value.detach().double().requires_grad_() for name, value in tensors.items()}
