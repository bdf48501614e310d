"""Decoupled convolution on kernels, whichever backend's: when they take it, and what goes into them.

However ``‖w‖`` and α count, they come down to one factor a kernel, the gain, and to the radius: kernels know
nothing of weightings. A backend is a module that says what its kernels take (``DTYPES``, ``MAGNITUDES``,
``ANGLES``, ``missing``), whether compilers are to see the composed operations instead
(``SEEN_BY_COMPILERS``), and has its kernels registered for its device.

On graphics processors a compiler sees all of it but the backward pass of the epilogue (:mod:`.compiled`).
"""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .. import backend, norms
from ..geometry import Geometry
from ..tensors import MaybeTensor
from . import compiled, composed, cpu, derivative, radial, triton
from .angle import angles
from .call import ConvCall, Operands
from .derivative import Response
from .magnitude import magnitudes
from .operator import Operator, Value

_BACKENDS: dict[str, ModuleType] = {"cpu": cpu, "triton": triton}


def reason_against(name: str, call: ConvCall, operands: Operands) -> str | None:
    """Why the kernels of this backend do not take the call, here and now; None if they do."""
    x, weight = operands.x, operands.weight
    kernels = _BACKENDS[name]
    watched = backend.watched(x.device.type, x, weight, by_compilers=kernels.SEEN_BY_COMPILERS)
    if watched is not None:
        return watched
    # An empty batch has gradients of zero whatever its constants are; factored as here, 0·∞ would come in.
    if not x.numel():
        return "the batch is empty"
    dtype, own = _conv_dtype(x), _conv_dtype(weight)
    if dtype not in kernels.DTYPES or own != dtype:
        return f"input and weight are of types {dtype} and {own}"
    if (reason := _unknown(call, operands)) is not None:
        return reason
    h, g = _names(call)
    known = h in kernels.MAGNITUDES and g in kernels.ANGLES
    # Without kernels a backend knows no functions, either.
    return kernels.missing(call, operands) or (None if known else f"{name} has none for {call.operator}")


#: What takes the place of a learned magnitude's name: its values come as a map, from :mod:`.radial`.
GIVEN = "given"


def _names(call: ConvCall) -> tuple[str, str]:
    """The magnitude and the angle as kernels call them."""
    learned = call.operator.learned[0] is not None
    return GIVEN if learned else call.operator.magnitude, call.operator.angle


def _unknown(call: ConvCall, operands: Operands) -> str | None:
    """Why no kernels know the operator, in this use of it; None if some may."""
    h, g = call.operator.magnitude, call.operator.angle
    magnitude = magnitudes[h]
    # A user may have put a function in the place of ours.
    if not magnitude.kernel:
        return f"magnitude {h!r} has none"
    if not angles[g].kernel:
        return f"angle {g!r} has none"
    if not magnitude.proportional and any(isinstance(c, Tensor) for c in (operands.alpha, operands.beta)):
        return f"alpha or beta is a tensor, and magnitude {h!r} is not proportional to alpha"
    if call.weighting == "product" and (magnitude.degree is None or magnitude.learned is not None):
        return f"h(‖w‖‖x‖) does not follow from h(‖x‖) for magnitude {h!r}"
    if magnitude.learned is not None and isinstance(operands.radius, Tensor) and operands.radius.numel() > 1:
        return f"the radius of the learned magnitude {h!r} is one for every channel"
    return None


def measure(call: ConvCall, operands: Operands) -> tuple[ConvCall, Operands]:
    """The call as kernels take it, with the norms of its patches."""
    if call.compiled:
        return compiled.measure(call, operands)
    geometry, x = call.geometry, operands.x
    if geometry is None:
        call, x = _by_rows(call, x.to(_conv_dtype(x)))
        norm, rows = derivative.patch_norm(x, call)
        shape = operands.x.shape
        return call, operands._replace(x=rows[0].t().view(shape), norm=norm.view(*shape[:-1], 1))
    if not geometry.symmetric:
        x = geometry.pad(x)
        geometry = dataclasses.replace(geometry, padding=((0, 0),) * len(geometry.padding))
        call = dataclasses.replace(call, geometry=geometry)
    geometry.output_size(x.shape[2:])
    norm, x = derivative.patch_norm(x.to(_conv_dtype(x)), call)
    return call, operands._replace(x=x, norm=norm)


def respond(call: ConvCall, operands: Operands) -> Tensor:
    """(B, C, *spatial) to (B, O, *S), from operands with norms."""
    if call.rows:
        return _respond_to_rows(call, operands)
    response = _response(call, operands)
    if call.compiled:
        factor, response = compiled.divided(response)
        return compiled.convolution(call, reduced(call, operands, factor), response)
    return derivative.convolution(call, reduced(call, operands), response)


_EACH = Geometry.of((1,))


def _by_rows(call: ConvCall, x: Tensor) -> tuple[ConvCall, Tensor]:
    """A linear layer's call, and its input (..., C) as one image (1, C, N), whose positions are vectors."""
    call = dataclasses.replace(call, geometry=_EACH, rows=True)
    return call, x.reshape(-1, x.shape[-1]).t().unsqueeze(0)


def _respond_to_rows(call: ConvCall, operands: Operands) -> Tensor:
    """(..., C) to (..., O)."""
    assert operands.norm is not None
    shape = operands.x.shape
    call, x = _by_rows(call, operands.x)
    operands = operands._replace(x=x, norm=operands.norm.reshape(1, 1, -1))
    out = derivative.convolution(call, reduced(call, operands), _response(call, operands))
    return out[0].t().reshape(*shape[:-1], -1)


def _conv_dtype(x: Tensor) -> torch.dtype:
    """The type in which a convolution takes `x`, autocast considered."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def _response(call: ConvCall, operands: Operands) -> Response:
    """The operator with its constants; an α that is a tensor counts through the gain instead."""
    operator, magnitude = call.operator, magnitudes[call.operator.magnitude]
    assert operator.alpha is not None
    assert operator.beta is not None

    def number(value: Value | None, own: float) -> float:
        return 1.0 if isinstance(value, Tensor) else own if value is None else float(value)

    alpha, beta = number(operands.alpha, operator.alpha), number(operands.beta, operator.beta)
    # z is divided out of the output, which must not vanish with h nor be lost beside a bias.
    positive = alpha > 0 and (not magnitude.may_vanish or beta >= 0) and angles[operator.angle].invertible
    plainly = operands.bias is None and operands.scale is None and not isinstance(operands.alpha, Tensor)
    # float16 has no digits left where h is small.
    plainly = plainly and operands.x.dtype != torch.float16
    return Response(*_names(call), alpha, beta, recoverable=positive and plainly)


def reduced(call: ConvCall, operands: Operands, factor: float = 1.0) -> Operands:
    """The operands as kernels take them: in the type of the convolution and, per kernel, of its norms.

    All that multiplies ``h`` is in the scale, and all that happens to ρ in the radius; α, β and k are gone.
    A learned magnitude is a map of its values, and a learned angle goes by t = √d cos θ: kernel norms and the
    scale are then divided by √d, and its parameters are those in force. k, where the angle has one, is a
    parameter of every channel. `factor`, which the response lacks, goes into a compiler's kernels.
    """
    operands = composed.by_rows(call, operands)
    weight, norm, dtype = operands.weight, operands.norm, _conv_dtype(operands.weight)
    assert norm is not None
    given = operands.kernel_norm
    w_norm, weight = _kernel_norms(call, weight) if given is None else (given.to(norm.dtype), weight)
    gain, radius = _gain_and_radius(call, operands, w_norm)
    bias = None if operands.bias is None else operands.bias.to(norm.dtype)
    of_h, of_g = call.operator.learned
    h = None if of_h is None else _map_of_h(call, operands)
    g = _sharpness(call, operands, w_norm)
    if of_g is not None:
        assert operands.g_parameters is not None
        g = of_g.effective(operands.g_parameters.to(norm.dtype), call.operator.limits)
        unit = 1 / math.sqrt(weight[0].numel())
        w_norm = w_norm * unit
        gain = torch.full_like(w_norm, unit) if gain is None else gain * unit
    if call.compiled:
        weight, w_norm, gain = compiled.scaled_kernels(weight, w_norm, gain, call.operator.angle, factor)
    weight = weight.to(dtype)
    return Operands(operands.x, weight, norm, w_norm, gain, radius, bias, h_parameters=h, g_parameters=g)


def _kernel_norms(call: ConvCall, weight: Tensor) -> tuple[Tensor, Tensor]:
    """‖w‖ (O,), and the kernels through which the convolution's gradient comes back.

    A kernel is a patch, and its norm one operation in place of four; the gradient, of which the norm's is
    added to the convolution's, is one in place of six.
    """
    if call.compiled or weight.dtype not in _BACKENDS[call.backend].DTYPES or not weight.numel():
        return norms.kernel_norm(weight, call.eps), weight
    # With one channel both orders hold, and the strides alone say which one a convolution takes.
    last = not _standard(weight)
    wide = weight.movedim(1, -1) if last else weight
    norm, rows = derivative.patch_norm(
        wide.flatten(1).unsqueeze(-1), dataclasses.replace(call, geometry=_EACH, groups=1)
    )
    own = rows.view(wide.shape)
    return norm.flatten(), own.movedim(-1, 1) if last else own


def _standard(weight: Tensor) -> bool:
    """Whether its strides are those of a contiguous tensor, also where a dimension has one element."""
    expected = 1
    for size, stride in zip(reversed(weight.shape), reversed(weight.stride()), strict=True):
        if stride != expected:
            return False
        expected *= size
    return True


def _sharpness(call: ConvCall, operands: Operands, w_norm: Tensor) -> MaybeTensor:
    """The sharpness of every channel (O, 1), or None where the angle has none.

    Raises:
        ValueError: it is learned, and was not given.
    """
    if not angles[call.operator.angle].uses_k:
        return None
    k: Any = call.operator.sharpness(operands.constants()["k"])
    return (k.expand_as(w_norm) if isinstance(k, Tensor) else torch.full_like(w_norm, k)).unsqueeze(1)


def _map_of_h(call: ConvCall, operands: Operands) -> Tensor:
    """The values of a learned magnitude, (B, N, *S)."""
    operator, norm, parameters = call.operator, operands.norm, operands.h_parameters
    of_h = operator.learned[0]
    assert of_h is not None
    assert norm is not None
    assert parameters is not None
    radius: Any = operands.constants()["radius"]
    radius = radius if isinstance(radius, Tensor) else norm.new_full((), radius)
    in_force = of_h.effective(parameters.to(norm.dtype), operator.limits)
    # A compiler fuses it with what makes the norms.
    values = radial.composed if call.compiled else radial.magnitude
    return values(norm, in_force, radius, operator.magnitude)


def _gain_and_radius(call: ConvCall, operands: Operands, w_norm: Tensor) -> tuple[MaybeTensor, MaybeTensor]:
    """The factor of h and the radius of every kernel, both (O,)."""
    operator, constants = call.operator, operands.constants()
    gain: MaybeTensor = None
    if isinstance(constants["alpha"], Tensor):
        gain = constants["alpha"].expand_as(w_norm)
    learned = operator.learned[0] is not None
    radius: Any = constants["radius"] if operator.uses_radius and not learned else None
    if radius is not None:
        radius = radius.expand_as(w_norm) if isinstance(radius, Tensor) else torch.full_like(w_norm, radius)
    factor: MaybeTensor = None
    if call.weighting == "linear":
        factor = w_norm
    elif call.weighting == "separate":
        at = 1.0 if constants["radius"] is None else constants["radius"]
        factor = _h_of_kernels(operator, w_norm, at, constants["beta"], operands.h_parameters)
    elif call.weighting == "product":
        # h(‖w‖‖x‖; ρ) = ‖w‖ᵈ h(‖x‖; ρ/‖w‖) for a magnitude of degree d.
        factor = w_norm if magnitudes[operator.magnitude].degree == 1 else None
        radius = None if radius is None else _quotient(radius, w_norm)
    for more in (factor, None if operands.scale is None else operands.scale.to(w_norm.dtype)):
        if more is not None:
            gain = more if gain is None else gain * more
    return gain, radius


def _h_of_kernels(
    operator: Operator, w_norm: Tensor, radius: Value, beta: Value | None, parameters: MaybeTensor
) -> Tensor:
    """``h(‖w‖) / α``, (O,)."""
    if parameters is not None:
        parameters = parameters.repeat_interleave(len(w_norm) // len(parameters), 0)
    return operator.h(w_norm, radius, 1.0, beta, parameters)


def _quotient(radius: Tensor, w_norm: Tensor) -> Tensor:
    """ρ/‖w‖. An infinite ρ takes part in nothing, and gives ‖w‖ a gradient of 0 instead of 0·∞."""
    infinite = radius.isinf()
    return torch.where(infinite, radius, radius.masked_fill(infinite, 1.0) / w_norm)
