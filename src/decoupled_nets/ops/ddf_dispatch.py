"""Which code the dynamic filters' ops run on a GPU: the Triton kernels, or ATen's where those do not work."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .arguments import check_devices
from .ddf_arguments import checked_shapes
from .ddf_composed import DynamicForm

_LEAST_CAPABILITY = (8, 0)  # Triton supports no older cards
_cached_form = functools.lru_cache(1024)(checked_shapes)


def form(
    input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, stride: Any, dilation: Any, combine: Any
) -> DynamicForm:
    """The form of a filtering by tensors that fit; the kernels read what they are told to.

    Raises:
        ValueError: shapes, options or devices do not fit.
        TypeError: the tensors are not of one type.
    """
    check_devices(input=input, channel_filter=channel_filter, spatial_filter=spatial_filter)
    if not input.dtype == channel_filter.dtype == spatial_filter.dtype:
        raise TypeError(
            f"input, channel_filter and spatial_filter of types {input.dtype}, {channel_filter.dtype} and "
            f"{spatial_filter.dtype} received, one type needed"
        )
    shapes = tuple(input.shape), tuple(channel_filter.shape), tuple(spatial_filter.shape)
    return _cached_form(*shapes, tuple(stride), tuple(dilation), combine)


def check_grad(grad: Tensor, input: Tensor, spatial_filter: Tensor) -> None:
    """The gradient of an output.

    Raises:
        ValueError: it has another shape or type, or is on another device.
    """
    check_devices(input=input, grad=grad)
    shape = *input.shape[:2], *spatial_filter.shape[2:]
    if grad.shape != shape or grad.dtype != input.dtype:
        raise ValueError(
            f"grad of shape {tuple(grad.shape)} and type {grad.dtype} received, {tuple(shape)} and "
            f"{input.dtype} needed, as the output has"
        )


def kernels(input: Tensor) -> ModuleType | None:
    """The module with the Triton kernels, if they run on the device of `input` and take its type."""
    if input.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        return None
    return _working(input.device)


@functools.cache
def _working(device: torch.device) -> ModuleType | None:
    """The module, tried once on each device; says why where it does not work."""
    try:
        return _tried(device)
    except Exception as error:  # whatever a compiler, a driver or a missing package raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"dynamic filters run without their Triton kernels on {device}, several times slower ({reason})",
            stacklevel=2,
        )
        return None


def _tried(device: torch.device) -> ModuleType:
    capability = torch.cuda.get_device_capability(device)
    if capability < _LEAST_CAPABILITY:
        raise RuntimeError("compute capability {}.{}, 8.0 needed".format(*capability))
    from . import ddf_cuda

    one = torch.ones(1, 1, 1, 1, device=device)
    ddf_cuda.forward(one, one, one, DynamicForm.of((1, 1), 1, 1, "mul"))
    return ddf_cuda
