"""The parts of a decoupled convolution on kernels, with their derivatives.

The weight enters the convolution raw: ``‖w‖`` belongs to the epilogue, which runs in place on the output of
the convolution. For the backward pass a layer keeps its input and weight, as a plain one does, the norms (one
number a patch) and its output, which the next layer keeps in any case.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import norms
from ..tensors import MaybeTensor, gradients
from . import composed
from .call import ConvCall, Operands

ops = torch.ops.decoupled_nets
aten = torch.ops.aten


class Response(NamedTuple):
    """Which ``h`` and ``g`` an epilogue applies, with α and β; `recoverable`: z follows from the output."""

    magnitude: str
    angle: str
    alpha: float
    beta: float
    recoverable: bool = False

    @property
    def arguments(self) -> tuple[str, str, float, float]:
        """As the ops take them, last of all."""
        return self[:4]


def patch_norm(x: Tensor, call: ConvCall) -> tuple[Tensor, Tensor]:
    """Patch norms of x (B, G, *S), and what the convolution is to take in place of x."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _PatchNorm.apply(x, call)
    return ops.patch_norm(x, *call.windows, call.groups, call.eps), x


def convolution(call: ConvCall, operands: Operands, response: Response) -> Tensor:
    """``scale · h(‖x‖) · g(θ) + bias``: (B, C, *spatial) to (B, O, *S), from reduced operands."""
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in operands):
        return _Convolution.apply(call, response, *operands)
    return _in_place(_plain(call, operands), operands, response)


def _plain(call: ConvCall, operands: Operands) -> Tensor:
    """z, the convolution by the raw weight."""
    if call.rows:
        return _product(operands.x[0].t(), operands.weight)
    z: Tensor = aten.convolution(operands.x, operands.weight, None, *call.conv)
    return z


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C) and (O, C) to (1, O, N) in channels_last order."""
    if torch.is_grad_enabled():
        return (x @ weight.t()).t().unsqueeze(0)
    # No view: what follows may change it in place, which autograd forbids of views made in a Function.
    (positions, _), channels = x.shape, len(weight)
    z = x.new_empty_strided((1, channels, positions), (channels * positions, 1, channels))
    torch.mm(x, weight.t(), out=z[0].t())
    return z


def _plain_gradients(call: ConvCall, by_z: Tensor, o: Operands, needed: Any) -> tuple[Any, Any]:
    """The gradients of :func:`_plain` by x and by the weight, None where none is needed."""
    if call.rows:
        by_rows = by_z[0].t()
        by_x = (by_rows @ o.weight).t().unsqueeze(0) if needed.x else None
        return by_x, by_rows.t() @ o.x[0].t() if needed.weight else None
    found = aten.convolution_backward(by_z, o.x, o.weight, None, *call.conv, [needed.x, needed.weight, False])
    return found[0], found[1]


def _per_kernel(o: Operands) -> tuple[Any, ...]:
    """What the epilogue takes beside z, but its bias and what is learned."""
    return o.norm, o.kernel_norm, o.scale, o.radius


def _learned(o: Operands) -> tuple[Any, Any]:
    """The map of a learned magnitude's values, and the parameters of a learned angle."""
    return o.h_parameters, o.g_parameters


def _in_place(z: Tensor, operands: Operands, response: Response) -> Tensor:
    if not _dense(z):
        z = z.contiguous()
    ops.epilogue_(z, *_per_kernel(operands), operands.bias, *_learned(operands), *response.arguments)
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
    def forward(ctx: Any, x: Tensor, call: ConvCall) -> tuple[Tensor, Tensor]:
        norm = ops.patch_norm(x, *call.windows, call.groups, call.eps)
        ctx.call = call
        ctx.save_for_backward(x, norm)
        ctx.set_materialize_grads(False)
        return norm, x.detach()

    @staticmethod
    def backward(ctx: Any, grad: MaybeTensor, grad_x: MaybeTensor) -> tuple[MaybeTensor, None]:
        x, norm = ctx.saved_tensors
        call: ConvCall = ctx.call
        if grad is None:
            return grad_x, None
        if torch.is_grad_enabled():
            geometry = call.geometry
            assert geometry is not None
            (again,) = gradients(lambda x: norms.patch_norm(x, geometry, call.groups, call.eps), (x,), grad)
            assert again is not None
            return again if grad_x is None else grad_x + again, None
        if grad_x is None or not _dense(grad_x):
            by_norm = ops.patch_norm_backward(grad, x, norm, *call.windows)
            return by_norm if grad_x is None else grad_x + by_norm, None
        # Nobody else holds it: _Convolution made it, for this function alone.
        ops.patch_norm_backward_(grad_x, grad, x, norm, *call.windows)
        return grad_x, None


class _Convolution(torch.autograd.Function):
    """Convolution and epilogue; keeps the output where the value before the epilogue follows from it."""

    @staticmethod
    def forward(ctx: Any, call: ConvCall, response: Response, *inputs: Any) -> Tensor:
        operands = Operands(*inputs)
        z = _plain(call, operands)
        ctx.call, ctx.response = call, response
        ctx.set_materialize_grads(False)
        if not response.recoverable:
            ctx.save_for_backward(*operands, z)
            out: Tensor = ops.epilogue(
                z, *_per_kernel(operands), operands.bias, *_learned(operands), *response.arguments
            )
            return out
        out = _in_place(z, operands, response)
        # A ReLU in place may follow, as after a plain convolution. Autograd would refuse the changed output;
        # `data` has a version of its own, so that backward can compare and go another way.
        ctx.save_for_backward(*operands, out.data)
        # Shares the version counter, but no memory: what is saved may be offloaded or computed again. A view
        # would hold the output itself and, through it, this very node: a circle that no collector sees.
        ctx.counter = out.detach()
        ctx.counter.data = out.new_empty(0)
        ctx.version = ctx.counter._version
        return out

    @staticmethod
    def backward(ctx: Any, grad: MaybeTensor) -> tuple[MaybeTensor, ...]:
        call, response = ctx.call, ctx.response
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        *saved, value = ctx.saved_tensors
        operands, needed = Operands(*saved), Operands(*ctx.needs_input_grad[2:])
        if torch.is_grad_enabled():
            found = gradients(
                lambda *inputs: _composed(call, Operands(*inputs), response), tuple(saved), grad
            )
            return None, None, *found
        # A graphics processor is not waited for: its kernel looks at every number itself.
        from_output = response.recoverable and ctx.counter._version == ctx.version
        from_output = from_output and (value.is_cuda or _keeps_digits(call, operands, response))
        if response.recoverable and not from_output:
            value = _plain(call, operands)
        work = _Backward(call, response, from_output, needed)
        per_image = work.gradients if needed.x or needed.norm else work.by_images
        return None, None, *per_image(grad, value, operands)


def _keeps_digits(call: ConvCall, operands: Operands, response: Response) -> bool:
    """Whether z can be divided out of the output: not where h vanishes, as by a large radius, or is NaN."""
    least = response.alpha * min(1.0, math.sqrt(call.eps))
    if operands.h_parameters is not None:
        least = response.alpha * operands.h_parameters.abs().min().item()
    # min and max keep their first argument when it is NaN, and NaN is not greater than anything.
    if isinstance(operands.radius, Tensor):
        least /= max(operands.radius.max().item(), 1.0)
    if operands.scale is not None:
        least *= min(operands.scale.min().item(), 1.0)
    return least > _LEAST_RESPONSE


# Of products of this size float32 and bfloat16 still have digits for a g of 1e-12.
_LEAST_RESPONSE = 1e-25
# Elements of the output in a few images: their gradient stays in cache and its memory is used again.
_FEW_IMAGES = 2**20


class _Backward(NamedTuple):
    """A backward pass, given the output (`from_output`) or the value before the epilogue."""

    call: ConvCall
    response: Response
    from_output: bool
    needed: Any  # Operands of booleans

    def gradients(self, grad: Tensor, value: Tensor, o: Operands) -> list[MaybeTensor]:
        """The gradients of all operands, None where none is needed."""
        by_z, by_norm, by_kernel_norm, by_gain, by_radius, by_bias, by_h, by_g = ops.epilogue_backward(
            grad, value, *_per_kernel(o), *_learned(o), *self.response.arguments, self.from_output
        )
        by_x, by_weight = _plain_gradients(self.call, by_z, o, self.needed)
        every: Any = Operands(
            by_x, by_weight, by_norm, by_kernel_norm, by_gain, by_radius, by_bias,
            h_parameters=by_h, g_parameters=by_g,
        )  # fmt: skip
        return [gradient if need else None for gradient, need in zip(every, self.needed, strict=True)]

    def by_images(self, grad: Tensor, value: Tensor, o: Operands) -> list[MaybeTensor]:
        """As :meth:`gradients` where neither input nor norms need one: what is left is small, and a sum.

        A network's first layer is the case: few channels, a large output, and little else to do.
        """
        assert o.norm is not None
        if self.needed.h_parameters:  # one number a patch, like the norms
            return self.gradients(grad, value, o)
        step = max(1, _FEW_IMAGES * len(grad) // max(1, grad.numel()))
        if len(grad) <= 2 * step or grad.is_cuda:
            return self.gradients(grad, value, o)
        total: list[MaybeTensor] = []
        for start in range(0, len(grad), step):
            few = slice(start, start + step)
            given = None if o.h_parameters is None else o.h_parameters[few]
            part = o._replace(x=o.x[few], norm=o.norm[few], h_parameters=given)
            share = self.gradients(grad[few], value[few], part)
            if not total:
                total = [None if own is None else own.to(o.norm.dtype) for own in share]
                continue
            for own, more in zip(total, share, strict=True):
                if own is not None and more is not None:
                    own.add_(more)
        # Per kernel all is of the type of the norms but the weight.
        return [
            None if t is None else t.to(o.weight.dtype if i == 1 else o.norm.dtype)
            for i, t in enumerate(total)
        ]


def _composed(call: ConvCall, operands: Operands, response: Response) -> Tensor:
    assert operands.norm is not None
    assert operands.kernel_norm is not None
    radius = operands.radius if isinstance(operands.radius, Tensor) else None
    others = operands.norm, operands.kernel_norm, operands.scale, radius, operands.bias
    h, g_parameters = _learned(operands)
    return composed.epilogue(_plain(call, operands), *others, h, g_parameters, *response.arguments)
