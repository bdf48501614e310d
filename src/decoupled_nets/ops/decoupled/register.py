"""The kernels' ops as torch knows them: schemas, shapes and flops.

They are there with and without kernels; a backend registers its code for its device. Only the functions of
:mod:`decoupled_nets.ops.decoupled.derivative` call them, which know their derivatives. Geometry comes as
lists: sizes, strides, paddings (before, after, before, ...), dilations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import define, register_fake
from torch.utils.flop_counter import register_flop_formula

from ..geometry import Geometry
from ..norms import accumulation_dtype
from ..tensors import MaybeTensor, check_devices, readable

_NAME = "decoupled_nets::"
_WINDOWS = "int[] kernel, int[] stride, int[] padding, int[] dilation"
_OPERANDS = "Tensor norm, Tensor kernel_norm, Tensor? gain, Tensor? radius"
_LEARNED = "Tensor? h, Tensor? g_parameters"
_OPERATOR = "str magnitude, str angle, float alpha, float beta"
SCHEMAS = {
    "patch_norm": f"(Tensor input, {_WINDOWS}, int groups, float eps) -> Tensor",
    "patch_norm_backward": f"(Tensor grad, Tensor input, Tensor norm, {_WINDOWS}) -> Tensor",
    "patch_norm_backward_": (
        f"(Tensor(a!) grad_input, Tensor grad, Tensor input, Tensor norm, {_WINDOWS}) -> ()"
    ),
    "epilogue": f"(Tensor z, {_OPERANDS}, Tensor? bias, {_LEARNED}, {_OPERATOR}) -> Tensor",
    "epilogue_": f"(Tensor(a!) z, {_OPERANDS}, Tensor? bias, {_LEARNED}, {_OPERATOR}) -> ()",
    "epilogue_backward": (
        f"(Tensor grad, Tensor value, {_OPERANDS}, {_LEARNED}, {_OPERATOR}, bool from_output)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
    "radial": "(Tensor norm, Tensor parameters, Tensor radius, str magnitude) -> Tensor",
    "radial_backward": (
        "(Tensor grad, Tensor norm, Tensor parameters, Tensor radius, str magnitude)"
        " -> (Tensor, Tensor, Tensor)"
    ),
}
for _name, _schema in SCHEMAS.items():
    define(_NAME + _name, _schema)
ops = torch.ops.decoupled_nets


# A tensor on the meta device beside others on the CPU comes here, too: what is made then is not to be used.
@register_fake(_NAME + "patch_norm")
def _fake_patch_norm(
    input: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, eps: float
) -> Tensor:
    pairs = tuple(zip(padding[::2], padding[1::2], strict=True))
    size = Geometry(tuple(kernel), tuple(stride), pairs, tuple(dilation)).output_size(input.shape[2:])
    return input.new_empty((input.shape[0], groups, *size), dtype=accumulation_dtype(input.dtype))


@register_fake(_NAME + "patch_norm_backward")
def _fake_patch_norm_backward(grad: Tensor, input: Tensor, norm: Tensor, *geometry: Any) -> Tensor:
    check_devices(input=input, grad=grad, norm=norm)
    return torch.empty_like(readable(input))


@register_fake(_NAME + "patch_norm_backward_")
def _fake_patch_norm_backward_in_place(
    grad_input: Tensor, grad: Tensor, input: Tensor, norm: Tensor, *geometry: Any
) -> None:
    check_devices(input=input, grad_input=grad_input, grad=grad, norm=norm)


@register_fake(_NAME + "epilogue")
def _fake_epilogue(z: Tensor, *others: Any) -> Tensor:
    _check_epilogue(z, *others)
    return torch.empty_like(readable(z))


@register_fake(_NAME + "epilogue_")
def _fake_epilogue_in_place(z: Tensor, *others: Any) -> None:
    _check_epilogue(z, *others)


def _check_epilogue(
    z: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    bias: MaybeTensor,
    h: MaybeTensor,
    g_parameters: MaybeTensor,
    *operator: Any,
) -> None:
    check_devices(z=z, norm=norm, kernel_norm=kernel_norm, gain=gain, radius=radius, bias=bias, h=h,
                  g_parameters=g_parameters)  # fmt: skip


@register_fake(_NAME + "epilogue_backward")
def _fake_epilogue_backward(
    grad: Tensor,
    value: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    h: MaybeTensor,
    g_parameters: MaybeTensor,
    *operator: Any,
) -> tuple[Tensor, ...]:
    check_devices(value=value, grad=grad, norm=norm, kernel_norm=kernel_norm, gain=gain, radius=radius, h=h,
                  g_parameters=g_parameters)  # fmt: skip
    channels = [norm.new_empty((value.shape[1],)) for _ in range(4)]
    learned = [norm.new_empty((0,) if given is None else given.shape) for given in (h, g_parameters)]
    return torch.empty_like(readable(value)), norm.new_empty(norm.shape), *channels, *learned


@register_fake(_NAME + "radial")
def _fake_radial(norm: Tensor, parameters: Tensor, radius: Tensor, magnitude: str) -> Tensor:
    check_devices(norm=norm, parameters=parameters, radius=radius)
    return norm.new_empty(norm.shape)


@register_fake(_NAME + "radial_backward")
def _fake_radial_backward(
    grad: Tensor, norm: Tensor, parameters: Tensor, radius: Tensor, magnitude: str
) -> tuple[Tensor, ...]:
    check_devices(norm=norm, grad=grad, parameters=parameters, radius=radius)
    return norm.new_empty(norm.shape), norm.new_empty(parameters.shape), norm.new_empty(radius.shape)


# Multiplications and additions an element; h and g themselves count as nothing, as torch counts activations.
_FLOPS = {
    ops.patch_norm: 2,
    ops.patch_norm_backward: 2,
    ops.patch_norm_backward_: 2,
    ops.epilogue: 2,
    ops.epilogue_: 2,
    ops.epilogue_backward: 4,
    ops.radial: 2,
    ops.radial_backward: 4,
}


def _count(per_element: int, argument: int) -> Callable[..., int]:
    def flops(*shapes: Any, **kwargs: Any) -> int:
        return per_element * math.prod(shapes[argument])

    return flops


for _op, _per_element in _FLOPS.items():
    # The gradient of the norms is the small one; what the op goes through is its second argument.
    register_flop_formula(_op)(_count(_per_element, 1 if _op is ops.patch_norm_backward else 0))
