"""Decoupled operations as functions: ``decoupled_nets.functional``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, cast

from torch import Tensor

from .ops.decoupled.functional import decoupled_conv, decoupled_linear
from .ops.dynamic.functional import ddf

P = ParamSpec("P")

__all__ = ["ddf", "decoupled_conv1d", "decoupled_conv2d", "decoupled_conv3d", "decoupled_linear"]


def _of_dimension(
    dims: int, conv: Callable[Concatenate[Tensor, Tensor, P], Tensor]
) -> Callable[Concatenate[Tensor, Tensor, P], Tensor]:
    @functools.wraps(conv)
    def convolution(input: Tensor, weight: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if weight.dim() != dims + 2:
            raise ValueError(
                f"decoupled_conv{dims}d: weight of shape {tuple(weight.shape)} received; needed: "
                f"{dims + 2} dimensions"
            )
        return conv(input, weight, *args, **kwargs)

    convolution.__name__ = convolution.__qualname__ = f"decoupled_conv{dims}d"
    return cast(Callable[Concatenate[Tensor, Tensor, P], Tensor], convolution)


decoupled_conv1d = _of_dimension(1, decoupled_conv)
decoupled_conv2d = _of_dimension(2, decoupled_conv)
decoupled_conv3d = _of_dimension(3, decoupled_conv)
