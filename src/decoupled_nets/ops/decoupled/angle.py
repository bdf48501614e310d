"""Angular functions ``g``: how a patch's direction counts (Decoupled Networks, section 3.3).

Every function takes the cosine, not the angle: ``acos`` has an infinite derivative at ±1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._registry import Registry
from . import learned
from .learned import Learned

Value = Tensor | float
AngleFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Angle:
    """An angular function with everything that others go by.

    Attributes:
        fn: ``fn(cosine) -> g``. One with parameters takes t = √d cos θ and them, and gives √d g.
        uses_k: it takes the sharpness ``k`` as its second argument.
        kernel: kernels are written for it.
        steep: its slope grows without bound next to ±1.
        invertible: the cosine follows from g to all digits.
        learned: its parameters, if it has any.
    """

    fn: AngleFunction
    uses_k: bool = False
    kernel: bool = False
    steep: bool = False
    invertible: bool = False
    learned: Learned | None = None


angles: Registry[Angle] = Registry("angle")


def register_angle(name: str, fn: AngleFunction, *, uses_k: bool = False) -> None:
    """Make ``g`` available under `name` to every operator, layer, comparison and plot.

    Args:
        name: lower-case identifier; the second half of an operator's shorthand ``"tanh-<name>"``.
        fn: ``fn(cosine) -> g``, or ``fn(cosine, k) -> g`` with `uses_k`; elementwise, differentiable on
            [-1, 1]. For a patch of zeros to give zero it has to be odd.
        uses_k: whether the operator's `k` (a number, or learned per output channel) is passed on.

    Raises:
        ValueError: the name is taken or malformed.
        TypeError: `fn` is not callable.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> dn.register_angle("cube", lambda cosine: cosine**3)
        >>> dn.DecoupledConv2d(3, 8, 3, operator="ball-cube")(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 8, 6, 6])
        >>> dn.unregister_angle("cube")
    """
    if not callable(fn):
        raise TypeError(f"angle {name!r}: {type(fn).__name__} received; needed: a function of the cosine")
    angles.add(name, Angle(fn, uses_k))


def unregister_angle(name: str) -> None:
    """Forget a registered angular function.

    Raises:
        ValueError: there is none of that name.
    """
    angles.remove(name)


def asin(cosine: Tensor) -> Tensor:
    """``asin`` continued along its tangent where rounding leaves no digit of ``1 - |cosine|``.

    The derivative of ``asin`` is infinite at ±1, although the angle changes at a finite rate when the patch
    moves. One unit of rounding before ±1 the function goes on in a straight line: a derivative that is large,
    finite and never zero, at an error below the function's own conditioning there. The line ends at ±1: a
    cosine that rounding carried further (in bf16 to 1.004) keeps its derivative, but the value stays bounded.
    """
    unit = torch.finfo(cosine.dtype).eps
    edge = 1.0 - unit
    fixed = cosine.detach()
    outside = fixed.abs() >= edge
    inside = torch.where(outside, fixed.clamp(-edge, edge), cosine)
    step = (fixed.clamp(-1.0, 1.0) - inside.detach()) + (cosine - fixed)  # the last term is 0: a derivative
    return torch.asin(inside) + torch.where(outside, step, 0.0) * (1.0 / math.sqrt(1.0 - edge * edge))


def _cos(cosine: Tensor) -> Tensor:
    return cosine


def _sqcos(cosine: Tensor) -> Tensor:
    return cosine * cosine.abs()


def _linear(cosine: Tensor) -> Tensor:
    return asin(cosine) * (2.0 / math.pi)


def _sigmoid(cosine: Tensor, k: Value) -> Tensor:
    # The paper's quotient of exponentials is a quotient of hyperbolic tangents, which cannot overflow.
    width = 2.0 * k
    top = torch.as_tensor(math.pi / 2, dtype=cosine.dtype, device=cosine.device) / width
    return torch.tanh(asin(cosine) / width) / torch.tanh(top)


angles.add("linear", Angle(_linear, kernel=True, steep=True, invertible=True))
angles.add("cos", Angle(_cos, kernel=True, invertible=True))
angles.add("sqcos", Angle(_sqcos, kernel=True, invertible=True))
angles.add("sigmoid", Angle(_sigmoid, uses_k=True, kernel=True, steep=True))
angles.add("power", Angle(learned.power_of_turn, kernel=True, learned=learned.POWER_OF_G))
angles.add("spline", Angle(learned.spline_of_turn, kernel=True, learned=learned.SPLINE_OF_G))
