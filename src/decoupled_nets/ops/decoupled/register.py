"""What torch has to know of the kernels' ops beyond their CPU code.

That is shapes, derivatives, code for other devices, decompositions, autocast and flops.

The schemas are in ``csrc/``. Geometry comes as lists: sizes, strides, paddings (before, after, before, ...),
dilations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._decomp import register_decomposition
from torch.library import impl, register_autograd, register_fake, register_kernel
from torch.utils.flop_counter import register_flop_formula

from ..norms import accumulation_dtype
from ..tensors import MaybeTensor, check_devices, gradients, readable
from . import composed as twins
from . import composed_ops
from .composed import Response
from .composed_ops import geometry_of

_NAME = "decoupled_nets::"
ops = torch.ops.decoupled_nets


# A tensor on the meta device beside others on the CPU comes here, too: what is made then is not to be used.
@register_fake(_NAME + "patch_norm")
def _fake_patch_norm(
    input: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, eps: float
) -> Tensor:
    size = geometry_of(kernel, stride, padding, dilation).output_size(input.shape[2:])
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
    *operator: Any,
) -> None:
    check_devices(z=z, norm=norm, kernel_norm=kernel_norm, gain=gain, radius=radius, bias=bias)


@register_fake(_NAME + "epilogue_backward")
def _fake_epilogue_backward(
    grad: Tensor,
    value: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    *operator: Any,
) -> tuple[Tensor, ...]:
    check_devices(value=value, grad=grad, norm=norm, kernel_norm=kernel_norm, gain=gain, radius=radius)
    channels = [norm.new_empty((value.shape[1],)) for _ in range(4)]
    return torch.empty_like(readable(value)), norm.new_empty(norm.shape), *channels


def _save_patch_norm(ctx: Any, inputs: Any, output: Tensor) -> None:
    input, *ctx.geometry, _groups, _eps = inputs
    ctx.save_for_backward(input, output)


def _patch_norm_backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
    input, norm = ctx.saved_tensors
    return ops.patch_norm_backward(grad, input, norm, *ctx.geometry), *[None] * 6


def _save_patch_norm_backward(ctx: Any, inputs: Any, output: Tensor) -> None:
    *tensors, ctx.kernel, ctx.stride, ctx.padding, ctx.dilation = inputs
    ctx.save_for_backward(*tensors)


def _patch_norm_backward_backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
    geometry = geometry_of(ctx.kernel, ctx.stride, ctx.padding, ctx.dilation)
    found = gradients(
        lambda grad, input, norm: twins.patch_norm_backward(grad, input, norm, geometry),
        ctx.saved_tensors,
        grad,
    )
    return *found, *[None] * 4


def _save_epilogue(ctx: Any, inputs: Any, output: Tensor) -> None:
    *tensors, ctx.magnitude, ctx.angle, ctx.alpha, ctx.beta = inputs
    ctx.save_for_backward(*tensors)


def _epilogue_backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
    response = Response(ctx.magnitude, ctx.angle, ctx.alpha, ctx.beta)
    if torch.is_grad_enabled():
        found = gradients(partial(twins.epilogue, response), ctx.saved_tensors, grad)
        return *found, *[None] * 4
    z, norm, kernel_norm, gain, radius, bias = ctx.saved_tensors
    every = ops.epilogue_backward(grad, z, norm, kernel_norm, gain, radius, *response.arguments, False)
    by_z, by_norm, by_kernel_norm, by_gain, by_radius, by_bias = every
    return (
        by_z, by_norm, by_kernel_norm, by_gain if gain is not None else None,
        by_radius if radius is not None else None, by_bias if bias is not None else None, *[None] * 4,
    )  # fmt: skip


register_autograd(_NAME + "patch_norm", _patch_norm_backward, setup_context=_save_patch_norm)
register_autograd(
    _NAME + "patch_norm_backward", _patch_norm_backward_backward, setup_context=_save_patch_norm_backward
)
register_autograd(_NAME + "epilogue", _epilogue_backward, setup_context=_save_epilogue)


# Every device but the CPU takes the ops made of ATen's. So does an exported program that is decomposed with
#     table = torch.export.default_decompositions()
#     table.update(torch._decomp.get_decompositions([torch.ops.decoupled_nets.epilogue, ...]))
# torch.onnx.export looks them up by itself.
_COMPOSED: dict[Any, Callable[..., Any]] = {
    ops.patch_norm: composed_ops.patch_norm,
    ops.patch_norm_backward: composed_ops.patch_norm_backward,
    ops.patch_norm_backward_: composed_ops.patch_norm_backward_,
    ops.epilogue: composed_ops.epilogue,
    ops.epilogue_: composed_ops.epilogue_,
    ops.epilogue_backward: composed_ops.epilogue_backward,
}
for _op, _composed in _COMPOSED.items():
    register_kernel(_op.default, None, _composed)
    register_decomposition(_op.default)(_composed)


# A compiler or exporter that has no use for writing in place gets an op that does not.
@ops.epilogue_.default.py_impl(torch._C.DispatchKey.CompositeImplicitAutograd)
def _functional_epilogue(z: Tensor, *others: Any) -> None:
    z.copy_(ops.epilogue(z, *others))


@ops.patch_norm_backward_.default.py_impl(torch._C.DispatchKey.CompositeImplicitAutograd)
def _functional_patch_norm_backward(grad_input: Tensor, *others: Any) -> None:
    grad_input.add_(ops.patch_norm_backward(*others))


# Under autocast z keeps its type, which a convolution made low; what goes with it is cast to the type of
# accumulation. The patch norms take any input as it is and need no rule.
def _register_autocast(name: str, device: str) -> None:
    key = f"Autocast{device}"
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def cast(z: Tensor, *others: Any) -> Tensor | None:
        wide = accumulation_dtype(z.dtype)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return getattr(ops, name)(z, *(x.to(wide) if isinstance(x, Tensor) else x for x in others))

    impl(_NAME + name, key, cast)


for _name in ("epilogue", "epilogue_"):
    for _device in ("CPU", "CUDA", "XPU", "MPS"):
        _register_autocast(_name, _device)


# Multiplications and additions an element; h and g themselves count as nothing, as torch counts activations.
_FLOPS = {
    ops.patch_norm: 2,
    ops.patch_norm_backward: 2,
    ops.patch_norm_backward_: 2,
    ops.epilogue: 2,
    ops.epilogue_: 2,
    ops.epilogue_backward: 4,
}


def _count(per_element: int, argument: int) -> Callable[..., int]:
    def flops(*shapes: Any, **kwargs: Any) -> int:
        return per_element * math.prod(shapes[argument])

    return flops


for _op, _per_element in _FLOPS.items():
    # The gradient of the norms is the small one; what the op goes through is its second argument.
    register_flop_formula(_op)(_count(_per_element, 1 if _op is ops.patch_norm_backward else 0))
