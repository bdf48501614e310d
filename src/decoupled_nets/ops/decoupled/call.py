"""One call of a decoupled convolution or linear layer: what it does, its tensors, and what is asked of both.

Shapes: B batch, G groups, C input channels, O output channels, K kernel sizes, S spatial output sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..geometry import Geometry, IntOrInts
from ..norms import accumulation_dtype
from ..tensors import check_devices
from .learned import falls_into
from .operator import WEIGHTINGS, Operator, Value, Weighting, resolve_operator


class Operands(NamedTuple):
    """What a call computes with, as it is given; kernels take it in the form of :func:`.kernels.reduced`.

    Attributes:
        x: the input, (B, C, *spatial) or (..., C).
        weight: (O, C/G, *K) or (O, C).
        norm: ‖x‖ of every patch, (B, G, *S) or (..., 1), once it has been measured.
        kernel_norm: ‖w‖ (O,), if it is known.
        scale: (O,), by which the response is multiplied before the bias is added.
        radius: ρ, a number or a tensor with one or O entries; so are alpha, beta and k.
        bias: (O,).
        alpha: α; None takes the operator's own.
        beta: β, likewise.
        k: sharpness, likewise.
        h_parameters: parameters (N, P) of a learned magnitude, N a divisor of O; None takes the start's.
        g_parameters: those of a learned angle.
    """

    x: Tensor
    weight: Tensor
    norm: Tensor | None = None
    kernel_norm: Tensor | None = None
    scale: Tensor | None = None
    radius: Value | None = 1.0
    bias: Tensor | None = None
    alpha: Value | None = None
    beta: Value | None = None
    k: Value | None = None
    h_parameters: Tensor | None = None
    g_parameters: Tensor | None = None

    def constants(self) -> dict[str, Any]:
        """ρ, α, β and k as numbers or tensors of shape () or (O,), in the type of the norms.

        Raises:
            TypeError: one is neither.
            ValueError: one has another shape, is on another device, or not positive where it has to be.
        """
        assert self.norm is not None
        if isinstance(self.radius, Tensor):
            check_devices(input=self.norm, radius=self.radius)
        given = {"radius": self.radius, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        channels, dtype = self.weight.shape[0], self.norm.dtype
        return {name: _constant(name, value, channels, dtype) for name, value in given.items()}


@dataclass(frozen=True)
class ConvCall:
    """Everything about a call but its tensors; the checked arguments.

    Attributes:
        geometry: where the patches lie; None for a linear layer, whose whole input vector is the patch. In
            kernels its vectors are the positions of one image, (1, C, N) in channels_last order.
        groups: each has its own patch norm.
        operator: which ``h`` and ``g``.
        weighting: how ``‖w‖`` counts.
        eps: added to the squared norms under the root.
        batched: whether the input came with a batch dimension.
        rows: whether it is a linear layer in that form: its convolution is a product of matrices.
        backend: what it runs on.
        compiled: whether a compiler is to see it.
    """

    geometry: Geometry | None
    groups: int
    operator: Operator
    weighting: Weighting | None
    eps: float
    batched: bool = True
    rows: bool = False
    backend: str = "composed"
    compiled: bool = False

    @property
    def windows(self) -> tuple[list[int], ...]:
        """Kernel, stride, padding (before, after, before, ...) and dilation, as our ops take them."""
        assert self.geometry is not None
        return self.geometry.windows

    @property
    def conv(self) -> tuple[Any, ...]:
        """Stride, padding, dilation, transposed, output padding and groups, as ATen takes them."""
        g = self.geometry
        assert g is not None
        padding = [before for before, _ in g.padding]
        return list(g.stride), padding, list(g.dilation), False, [0] * len(padding), self.groups


def conv_call(
    operands: Operands,
    stride: IntOrInts,
    padding: IntOrInts | str,
    dilation: IntOrInts,
    groups: int,
    operator: Operator | str,
    weighting: Weighting | None,
    eps: float,
) -> tuple[ConvCall, Operands]:
    """The call of a convolution, and its operands with a batch dimension.

    Raises:
        ValueError: shapes or options do not fit, or a tensor is on another device than the input.
        TypeError: the input is not floating point.
    """
    operator = resolve_operator(operator)
    _check_common(operands, weighting, eps)
    _check_conv(operands.x, operands.weight, groups)
    operands = _with_parameters(operands, operator, groups)
    batched = operands.x.dim() == operands.weight.dim()
    if not batched:
        operands = operands._replace(x=operands.x.unsqueeze(0))
    geometry = Geometry.of(operands.weight.shape[2:], stride, padding, dilation)
    return ConvCall(geometry, groups, operator, weighting, eps, batched), operands


def linear_call(
    operands: Operands, operator: Operator | str, weighting: Weighting | None, eps: float
) -> tuple[ConvCall, Operands]:
    """The call of a linear layer, and its operands; raises as :func:`conv_call` does."""
    operator = resolve_operator(operator)
    _check_common(operands, weighting, eps)
    _check_linear(operands.x, operands.weight)
    operands = _with_parameters(operands, operator, 1)
    return ConvCall(None, 1, operator, weighting, eps), operands


def _check_common(operands: Operands, weighting: str | None, eps: float) -> None:
    """What convolutions and the linear layer ask alike."""
    x, weight, _, kernel_norm, scale, _, bias, *constants, h_parameters, g_parameters = operands
    if not x.is_floating_point():
        raise TypeError(f"input of type {x.dtype} received; needed: a floating point type")
    if weighting is not None and weighting not in WEIGHTINGS:
        raise ValueError(f"weighting {weighting!r} received; needed: None or one of {WEIGHTINGS}")
    if not eps > 0:
        raise ValueError(f"eps = {eps} received; needed: a positive number, which keeps norms away from zero")
    _check_per_kernel(weight, bias=bias)
    given = zip(("alpha", "beta", "k"), constants, strict=True)
    tensors = {name: value for name, value in given if isinstance(value, Tensor)}
    others = {"scale": scale, "kernel_norm": kernel_norm}
    tensors |= {name: value for name, value in others.items() if isinstance(value, Tensor)}
    check_devices(
        input=x, weight=weight, bias=bias, h_parameters=h_parameters, g_parameters=g_parameters, **tensors
    )
    _check_per_kernel(weight, scale=scale, kernel_norm=kernel_norm)


def _with_parameters(operands: Operands, operator: Operator, groups: int) -> Operands:
    """The operands with the parameters of learned halves: those of the start where none are given."""
    halves, given = operator.learned, (operands.h_parameters, operands.g_parameters)
    if halves == (None, None) and given == (None, None):
        return operands
    own: list[Any] = []
    for name, half, value in zip(("h_parameters", "g_parameters"), halves, given, strict=True):
        if half is None and value is not None:
            raise ValueError(f"{name} received; needed: None, because this half of {operator} is not learned")
        if half is not None and value is not None:
            _check_parameters(name, value, half.count, len(operands.weight), groups)
        own.append(value)
    if any(half is not None and value is None for half, value in zip(halves, own, strict=True)):
        like, start = operands.weight, operator.start_parameters()
        for place, value in enumerate(start):
            if own[place] is None and value is not None:
                own[place] = value.to(like.device, accumulation_dtype(like.dtype))[None]
    return operands._replace(h_parameters=own[0], g_parameters=own[1])


def _check_parameters(name: str, value: Any, count: int, channels: int, groups: int) -> None:
    rows = value.shape[0] if isinstance(value, Tensor) and value.dim() == 2 else 0
    if not falls_into(rows, channels, groups) or value.shape[1] != count:
        raise ValueError(
            f"{name} of shape {tuple(getattr(value, 'shape', ()))} received; needed: (N, {count}), where N "
            f"divides the {channels} kernels and N and the {groups} groups divide one another"
        )


def _check_per_kernel(weight: Tensor, **given: Tensor | None) -> None:
    """Tensors with one entry a kernel."""
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name} = {value!r} received; needed: a tensor of shape ({weight.shape[0]},)")
        if value is not None and value.shape != weight.shape[:1]:
            raise ValueError(f"{name} of shape {tuple(value.shape)} received; needed: ({weight.shape[0]},)")


def _check_conv(input: Tensor, weight: Tensor, groups: int) -> None:
    """The shapes of a convolution."""
    dims = weight.dim() - 2
    if dims not in (1, 2, 3):
        raise ValueError(f"weight of shape {tuple(weight.shape)} received; needed: 3 to 5 dimensions")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups = {groups} received; needed: a divisor of the {weight.shape[0]} kernels")
    if input.dim() not in (dims + 1, dims + 2):
        raise ValueError(
            f"input of shape {tuple(input.shape)} received; needed: {dims + 1} or {dims + 2} dimensions"
        )
    channels = weight.shape[1] * groups
    if input.shape[-dims - 1] != channels:
        raise ValueError(
            f"input of shape {tuple(input.shape)} received; needed: {channels} channels "
            f"for a weight of shape {tuple(weight.shape)} and {groups} groups"
        )


def _check_linear(input: Tensor, weight: Tensor) -> None:
    """The shapes of a linear layer."""
    if weight.dim() != 2 or input.dim() == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"input of shape {tuple(input.shape)} and weight of shape {tuple(weight.shape)} received; "
            "needed: (..., C) and (O, C)"
        )


def _constant(name: str, value: Value | None, channels: int, dtype: torch.dtype) -> Value | None:
    if value is None:
        return value
    if not isinstance(value, Tensor):
        number: Any = value
        if not isinstance(number, Real | torch.SymFloat | torch.SymInt):
            raise TypeError(f"{name} = {value!r} received; needed: a number or a tensor")
        if name in ("radius", "k") and not value > 0:
            raise ValueError(f"{name} = {value} received; needed: a positive number")
        return value
    if value.numel() == 1:
        return value.to(dtype).reshape(())
    if value.shape != (channels,):
        raise ValueError(f"{name} of shape {tuple(value.shape)} received; needed: () or ({channels},)")
    return value.to(dtype)
