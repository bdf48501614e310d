"""The parts of a decoupled convolution on the compiled kernels, with their derivatives.

The weight enters the convolution raw: ``‖w‖`` belongs to the epilogue, which runs in place on the output of
the convolution. For the backward pass a layer keeps its input and weight, as a plain one does, the norms (one
number a patch) and its output, which the next layer keeps in any case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry import Geometry
from ..norms import patch_norm as composed_patch_norm
from ..tensors import MaybeTensor, gradients
from . import composed as twins
from .composed import Response

ops = torch.ops.decoupled_nets
aten = torch.ops.aten


@dataclass(frozen=True)
class Plan:
    """What a fused convolution does, without its tensors; `recoverable`: z follows from the output."""

    geometry: Geometry
    groups: int
    eps: float
    response: Response
    recoverable: bool

    @property
    def windows(self) -> tuple[list[int], ...]:
        """Kernel, stride, padding (before, after, before, ...) and dilation, as our ops take them."""
        g = self.geometry
        return list(g.kernel), list(g.stride), [side for pair in g.padding for side in pair], list(g.dilation)

    @property
    def conv(self) -> tuple[Any, ...]:
        """Stride, padding, dilation, transposed, output padding and groups, as ATen takes them."""
        g = self.geometry
        padding = [before for before, _ in g.padding]
        return list(g.stride), padding, list(g.dilation), False, [0] * len(padding), self.groups


def patch_norm(x: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Patch norms of x (B, G, *S), and what the convolution is to take in place of x."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _PatchNorm.apply(x, plan)
    return ops.patch_norm(x, *plan.windows, plan.groups, plan.eps), x


def convolution(tensors: tuple[MaybeTensor, ...], plan: Plan) -> Tensor:
    """``gain · h(‖x‖) · g(θ) + bias``: (B, C, *spatial) to (B, O, *S).

    `tensors` are x, the weight, the patch norms (B, G, *S), the kernel norms (O,) and, where there are any,
    gain, radius and bias (O,); the last five have the type of accumulation.
    """
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return _Convolution.apply(*tensors, plan)
    return _in_place(aten.convolution(*tensors[:2], None, *plan.conv), tensors, plan)


def _in_place(z: Tensor, tensors: tuple[MaybeTensor, ...], plan: Plan) -> Tensor:
    if not _dense(z):
        z = z.contiguous()
    ops.epilogue_(z, *tensors[2:], *plan.response.arguments)
    return z


def _dense(x: Tensor) -> bool:
    """Whether the kernels can write to x: contiguous, or so with the channels last."""
    return x.is_contiguous() or x.movedim(1, -1).is_contiguous()


class _PatchNorm(torch.autograd.Function):
    """Patch norms of x, and x itself, through which the convolution's gradient comes back.

    The norms' own gradient is then added in place, which saves a pass over two gradients that autograd would
    have to add up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        norm = ops.patch_norm(x, *plan.windows, plan.groups, plan.eps)
        ctx.plan = plan
        ctx.save_for_backward(x, norm)
        ctx.set_materialize_grads(False)
        return norm, x.detach()

    @staticmethod
    def backward(ctx: Any, grad: MaybeTensor, grad_x: MaybeTensor) -> tuple[MaybeTensor, None]:
        x, norm = ctx.saved_tensors
        plan: Plan = ctx.plan
        if grad is None:
            return grad_x, None
        if torch.is_grad_enabled():
            composed = gradients(
                lambda x: composed_patch_norm(x, plan.geometry, plan.groups, plan.eps), (x,), grad
            )[0]
            assert composed is not None
            return composed if grad_x is None else grad_x + composed, None
        if grad_x is None or not _dense(grad_x):
            by_norm = ops.patch_norm_backward(grad, x, norm, *plan.windows)
            return by_norm if grad_x is None else grad_x + by_norm, None
        # Nobody else holds it: _Convolution made it, for this function alone.
        ops.patch_norm_backward_(grad_x, grad, x, norm, *plan.windows)
        return grad_x, None


class _Convolution(torch.autograd.Function):
    """Convolution and epilogue; keeps the output where the value before the epilogue follows from it."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, plan = inputs
        x, weight, *others = tensors
        z = aten.convolution(x, weight, None, *plan.conv)
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        if not plan.recoverable:
            ctx.save_for_backward(*tensors, z)
            return ops.epilogue(z, *others, *plan.response.arguments)
        out = _in_place(z, tuple(tensors), plan)
        # A ReLU in place may follow, as after a plain convolution. Autograd would refuse the changed output;
        # `data` has a version of its own, so that backward can compare and go another way.
        ctx.save_for_backward(*tensors, out.data)
        # Shares the version counter. A view would hold the output itself and, through it, this very node: a
        # circle that no collector sees.
        ctx.counter = out.detach()
        ctx.version = ctx.counter._version
        return out

    @staticmethod
    def backward(ctx: Any, grad: MaybeTensor) -> tuple[MaybeTensor, ...]:
        if grad is None:
            return (None,) * 8
        *tensors, value = ctx.saved_tensors
        plan: Plan = ctx.plan
        if torch.is_grad_enabled():
            return *gradients(lambda *inputs: _composed(inputs, plan), tuple(tensors), grad), None
        from_output = plan.recoverable
        if from_output:
            _, _, _, _, gain, radius, _ = tensors
            # The counter holds memory: it goes with the first backward pass; a second one convolves again.
            counter, ctx.counter = ctx.counter, None
            unchanged = counter is not None and counter._version == ctx.version
            if not unchanged or not _keeps_digits(plan, gain, radius):
                value, from_output = aten.convolution(*tensors[:2], None, *plan.conv), False
        needed = tuple(ctx.needs_input_grad[:7])
        per_image = _gradients if needed[0] or needed[2] else _gradients_by_images
        return *per_image(grad, value, tuple(tensors), plan, from_output, needed), None


def _keeps_digits(plan: Plan, gain: MaybeTensor, radius: MaybeTensor) -> bool:
    """Whether z can be divided out of the output: not if a radius is NaN, or so large that h vanishes."""
    least = plan.response.alpha * min(1.0, math.sqrt(plan.eps))
    # min and max keep their first argument when it is NaN, and NaN is not greater than anything.
    if radius is not None:
        least /= max(radius.max().item(), 1.0)
    if gain is not None:
        least *= min(gain.min().item(), 1.0)
    return least > _LEAST_RESPONSE


def _gradients(
    grad: Tensor,
    value: Tensor,
    tensors: tuple[Any, ...],
    plan: Plan,
    from_output: bool,
    needed: tuple[bool, ...],
) -> list[MaybeTensor]:
    """Gradients of `tensors`, given the output (`from_output`) or the value before the epilogue."""
    x, weight, norm, kernel_norm, gain, radius, _ = tensors
    by_z, *by_others = ops.epilogue_backward(
        grad, value, norm, kernel_norm, gain, radius, *plan.response.arguments, from_output
    )
    by_x, by_weight, _ = aten.convolution_backward(
        by_z, x, weight, None, *plan.conv, [needed[0], needed[1], False]
    )
    every = (by_x, by_weight, *by_others)
    return [gradient if need else None for gradient, need in zip(every, needed, strict=True)]


# Of products of this size float32 and bfloat16 still have digits for a g of 1e-12.
_LEAST_RESPONSE = 1e-25
# Elements of the output in a few images: their gradient stays in cache and its memory is used again.
_FEW_IMAGES = 2**20


def _gradients_by_images(
    grad: Tensor, value: Tensor, tensors: tuple[Any, ...], *others: Any
) -> list[MaybeTensor]:
    """As :func:`_gradients` where neither input nor norms need one: what is left is small, a sum over images.

    A network's first layer is the case: few channels, a large output, and little else to do.
    """
    x, weight, norm, *per_channel = tensors
    step = max(1, _FEW_IMAGES * len(grad) // max(1, grad.numel()))
    if len(grad) <= 2 * step:
        return _gradients(grad, value, tensors, *others)
    total: list[MaybeTensor] = []
    for start in range(0, len(grad), step):
        few = slice(start, start + step)
        share = _gradients(grad[few], value[few], (x[few], weight, norm[few], *per_channel), *others)
        if not total:
            total = [None if own is None else own.to(norm.dtype) for own in share]
            continue
        for own, more in zip(total, share, strict=True):
            if own is not None and more is not None:
                own.add_(more)
    return [None if own is None else own.to(t.dtype) for own, t in zip(total, tensors, strict=True)]


def _composed(tensors: tuple[Any, ...], plan: Plan) -> Tensor:
    z = aten.convolution(*tensors[:2], None, *plan.conv)
    return twins.epilogue(plan.response, z, *tensors[2:])
