"""A decoupled operator: one magnitude function, one angular function, and their constants."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from torch import Tensor

from .angle import angles
from .magnitude import magnitudes

Value = Tensor | float
Weighting = Literal["linear", "product", "separate"]
DEFAULT_K = 0.3
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)


@dataclass(frozen=True)
class Operator:
    """``f(w, x) = h(‖x‖) · g(θ)`` by the names of its halves (Decoupled Networks, section 3).

    Args:
        magnitude: ``sphere``, ``ball``, ``tanh``, ``linear``, ``seg``, ``log``, ``mix`` or a registered name.
        angle: ``cos``, ``linear``, ``sqcos``, ``sigmoid`` or a registered name.
        alpha: the constant α; None takes the magnitude's own (1 for all of the paper's).
        beta: the constant β of ``seg`` and ``mix``; None takes the magnitude's own (0.5 and 1).
        k: sharpness of the ``sigmoid`` angle: a positive number, or ``"learned"`` (a layer then holds one
            ``kappa`` per output channel, starting at 0.7, with k = |kappa| + 0.05, as in SphereNet).

    Raises:
        ValueError: a name is unknown or a constant out of range.

    Example:
        >>> from decoupled_nets import Operator
        >>> Operator("seg", "sqcos", beta=0.25)
        Operator(magnitude='seg', angle='sqcos', alpha=1.0, beta=0.25, k=0.3)
        >>> str(Operator("tanh"))
        'tanh-cos'
    """

    magnitude: str
    angle: str = "cos"
    alpha: float | None = None
    beta: float | None = None
    k: float | Literal["learned"] = DEFAULT_K

    def __post_init__(self) -> None:
        magnitude = magnitudes[self.magnitude]
        angles[self.angle]
        for name, default in (("alpha", magnitude.alpha), ("beta", magnitude.beta)):
            value = getattr(self, name)
            value = default if value is None else float(value)
            if not math.isfinite(value):
                raise ValueError(f"{name} = {value!r} received; needed: a finite number")
            object.__setattr__(self, name, value)
        k: Any = self.k
        if k != "learned" and not (isinstance(k, Real) and 0 < float(k) < math.inf):
            raise ValueError(f"k = {k!r} received; needed: a positive number or 'learned'")
        object.__setattr__(self, "k", k if k == "learned" else float(k))
        if self.k != DEFAULT_K and not angles[self.angle].uses_k:
            warnings.warn(f"k = {self.k!r} is ignored: the angle {self.angle!r} has none", stacklevel=3)
        if self.beta != magnitude.beta and not magnitude.uses_beta:
            text = f"beta = {self.beta!r} is ignored: the magnitude {self.magnitude!r} has none"
            warnings.warn(text, stacklevel=3)

    def __str__(self) -> str:
        return f"{self.magnitude}-{self.angle}"

    @property
    def bounded(self) -> bool:
        """Whether ``|h|`` never exceeds α."""
        return magnitudes[self.magnitude].bounded

    @property
    def uses_radius(self) -> bool:
        """Whether ``h`` depends on ρ."""
        return magnitudes[self.magnitude].uses_radius

    @property
    def uses_beta(self) -> bool:
        """Whether ``h`` depends on β."""
        return magnitudes[self.magnitude].uses_beta

    @property
    def learns_k(self) -> bool:
        """Whether a layer with this operator holds a learned sharpness."""
        return angles[self.angle].uses_k and self.k == "learned"

    def h(
        self, norm: Tensor, radius: Value = 1.0, alpha: Value | None = None, beta: Value | None = None
    ) -> Tensor:
        """The magnitude function at `norm`; shapes broadcast. None takes the operator's own constant."""
        alpha = self.alpha if alpha is None else alpha
        beta = self.beta if beta is None else beta
        assert alpha is not None
        assert beta is not None
        return magnitudes[self.magnitude].fn(norm, radius, alpha, beta)

    def g(self, cosine: Tensor, k: Value | None = None) -> Tensor:
        """The angular function at `cosine`; None takes the operator's own `k`."""
        angle = angles[self.angle]
        if not angle.uses_k:
            return angle.fn(cosine)
        if k is None and self.k == "learned":
            raise ValueError("the operator's k is learned: pass its value as k=")
        return angle.fn(cosine, self.k if k is None else k)


def resolve_operator(operator: Operator | str) -> Operator:
    """An :class:`Operator` from itself or from its shorthand ``"<magnitude>-<angle>"``.

    Raises:
        ValueError: the shorthand is malformed or names something unknown.
        TypeError: neither an operator nor a string was given.
    """
    if isinstance(operator, Operator):
        return operator
    if not isinstance(operator, str):
        raise TypeError(f"operator: {type(operator).__name__} received; needed: an Operator or a string")
    magnitude, hyphen, angle = operator.partition("-")
    if not hyphen or "-" in angle:
        raise ValueError(f"operator {operator!r} received; needed: '<magnitude>-<angle>', such as 'tanh-cos'")
    return Operator(magnitude, angle)
