"""Decoupled convolution as functions on tensors.

A layer whose radius depends on the patches' norms takes the two halves one by one: :func:`measure_conv` or
:func:`measure_linear`, then :func:`respond` with the radius it has computed.

Shapes: B batch, G groups, C input channels, O output channels, K kernel sizes, S spatial output sizes.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .. import backend
from ..geometry import IntOrInts
from . import composed, kernels
from .call import ConvCall, Operands, conv_call, linear_call
from .operator import Operator, Value, Weighting

_WORTH_IT = 2**16  # elements of a linear layer's weight: 256 to 256 features


def measure_conv(
    operands: Operands,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    operator: Operator | str = "tanh-cos",
    weighting: Weighting | None = None,
    eps: float = 1e-4,
) -> tuple[ConvCall, Operands]:
    """A checked call of a convolution, and its operands with the norms (B, G, *S) of their patches.

    Only the radius may still be changed; :func:`decoupled_conv` says what the arguments are and what raises.
    """
    call, operands = conv_call(operands, stride, padding, dilation, groups, operator, weighting, eps)
    name = backend.choose(
        "decoupled_conv",
        (operands.x, operands.weight),
        lambda name: kernels.reason_against(name, call, operands),
    )
    call = dataclasses.replace(call, backend=name, compiled=torch.compiler.is_compiling())
    return (composed if name == "composed" else kernels).measure(call, operands)


def measure_linear(
    operands: Operands,
    *,
    operator: Operator | str = "tanh-cos",
    weighting: Weighting | None = None,
    eps: float = 1e-4,
) -> tuple[ConvCall, Operands]:
    """As :func:`measure_conv`, for a linear layer: norms (..., 1). Only the processor has kernels.

    A small weight takes them if they are asked for, or if its angle is learned: their own start takes longer
    than what they save, but not than the many operations of such an angle on more than a few vectors.
    """
    call, operands = linear_call(operands, operator, weighting, eps)
    if operands.x.device.type != "cpu":
        return composed.measure(call, operands)

    def against(name: str) -> str | None:
        reason = kernels.reason_against(name, call, operands)
        # By the weight alone: a row's result must not depend on how many others there are.
        small = operands.weight.numel() < _WORTH_IT and call.operator.learned[1] is None
        small = small and not backend.asked()
        return reason or ("the weight is too small for them to save time" if small else None)

    name = backend.choose("decoupled_linear", (operands.x, operands.weight), against)
    call = dataclasses.replace(call, backend=name, compiled=torch.compiler.is_compiling())
    return (composed if name == "composed" else kernels).measure(call, operands)


def respond(call: ConvCall, operands: Operands) -> Tensor:
    """``h(‖x‖) · g(θ)`` of a measured call: (B, O, *S), (O, *S) or (..., O).

    One function to those who watch functions (``torch.overrides``), as a plain convolution is: what it
    computes with inside has no gradient.
    """
    if has_torch_function_unary(operands.x):
        seen: Tensor = handle_torch_function(respond, (operands.x,), call, operands)
        return seen
    out = (composed if call.backend == "composed" else kernels).respond(call, operands)
    return out if call.batched else out.squeeze(0)


def decoupled_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    operator: Operator | str = "tanh-cos",
    radius: Value = 1.0,
    weighting: Weighting | None = None,
    alpha: Value | None = None,
    beta: Value | None = None,
    k: Value | None = None,
    eps: float = 1e-4,
    scale: Tensor | None = None,
    kernel_norm: Tensor | None = None,
    h_parameters: Tensor | None = None,
    g_parameters: Tensor | None = None,
) -> Tensor:
    """Decoupled convolution in one, two or three dimensions, by the dimension of `weight`.

    Every patch x and kernel w give ``h(‖x‖) · g(θ)`` instead of ``‖w‖ ‖x‖ cos θ``.

    Args:
        input: (B, C, *spatial) or (C, *spatial), floating point.
        weight: (O, C/G, *K).
        bias: (O,), added after the operator.
        stride: as in ``torch.nn.functional.conv2d``.
        padding: zeros around the input: a number, one a dimension, ``"same"`` or ``"valid"``.
        dilation: as in ``torch.nn.functional.conv2d``.
        groups: as in ``torch.nn.functional.conv2d``; each group has its own patch norm.
        operator: an :class:`Operator` or its shorthand.
        radius: ρ > 0: a number, or a tensor with one or O entries.
        weighting: None, ``"linear"``, ``"product"`` (Eq. 15) or ``"separate"`` (Eq. 16).
        alpha: α in place of the operator's own: a number, or a tensor with one or O entries.
        beta: β, likewise.
        k: sharpness of the sigmoid angle, likewise.
        eps: added to the squared norms under the root.
        scale: (O,), multiplies the response before the bias is added.
        kernel_norm: (O,), ``sqrt(‖w‖² + eps)`` if it is known already.
        h_parameters: parameters of a learned magnitude, (N, 1) for ``power`` and (N, 16) for ``spline``, a
            row for O/N channels. None takes those of the operator's start.
        g_parameters: those of a learned angle, (N, 1) for ``power`` and (N, 4) for ``spline``.

    Returns:
        (B, O, *S) or (O, *S), of the type a plain convolution would give.

    Raises:
        ValueError: shapes or options do not fit, or a tensor is on another device than the input.
        TypeError: the input is not floating point.

    Source: W. Liu et al., "Decoupled Networks", CVPR 2018, Eq. 3.
    """
    given = Operands(
        input, weight, None, kernel_norm, scale, radius, bias, alpha, beta, k, h_parameters, g_parameters
    )
    call, operands = measure_conv(
        given, stride, padding, dilation, groups, operator=operator, weighting=weighting, eps=eps
    )
    return respond(call, operands)


def decoupled_linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    operator: Operator | str = "tanh-cos",
    radius: Value = 1.0,
    weighting: Weighting | None = None,
    alpha: Value | None = None,
    beta: Value | None = None,
    k: Value | None = None,
    eps: float = 1e-4,
    scale: Tensor | None = None,
    kernel_norm: Tensor | None = None,
    h_parameters: Tensor | None = None,
    g_parameters: Tensor | None = None,
) -> Tensor:
    """Decoupled form of a linear layer: the patch is the whole feature vector.

    Args:
        input: (..., C).
        weight: (O, C).
        bias: (O,).
        operator: as in :func:`decoupled_conv`, like the remaining arguments.
        radius: ρ.
        weighting: use of ``‖w‖``.
        alpha: α.
        beta: β.
        k: sharpness.
        eps: added to the squared norms under the root.
        scale: (O,), multiplies the response before the bias is added.
        kernel_norm: (O,), ``sqrt(‖w‖² + eps)`` if it is known already.
        h_parameters: parameters of a learned magnitude, as in :func:`decoupled_conv`.
        g_parameters: those of a learned angle.

    Returns:
        (..., O).

    Raises:
        ValueError: shapes or options do not fit, or a tensor is on another device than the input.
        TypeError: the input is not floating point.
    """
    given = Operands(
        input, weight, None, kernel_norm, scale, radius, bias, alpha, beta, k, h_parameters, g_parameters
    )
    return respond(*measure_linear(given, operator=operator, weighting=weighting, eps=eps))
