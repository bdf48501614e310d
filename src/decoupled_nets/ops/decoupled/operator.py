"""A decoupled operator: one magnitude function, one angular function, and their constants."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from torch import Tensor

from ..geometry import plain_ints
from .angle import angles
from .learned import CONSTRAINTS, Learned, Limits
from .magnitude import magnitudes
from .shorthand import options_of, spelled

Value = Tensor | float
Weighting = Literal["linear", "product", "separate"]
DEFAULT_K = 0.3
DEFAULT_START = "tanh-cos"
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)
#: What only operators with a learned half have.
_OF_LEARNED = {"start": DEFAULT_START, "channel_groups": 1, "constraints": (), "lipschitz": None}
#: Cosines at which a named angle is read off as the start of a learned one: a tenth for each unit of t.
_COSINE = 0.1


@dataclass(frozen=True, repr=False)
class Operator:
    """``f(w, x) = h(‖x‖) · g(θ)`` by the names of its halves (Decoupled Networks, section 3).

    Args:
        magnitude: ``sphere``, ``ball``, ``tanh``, ``linear``, ``seg``, ``log``, ``mix`` or a registered name;
            or ``power`` or ``spline``, which are learned.
        angle: ``cos``, ``linear``, ``sqcos``, ``sigmoid`` or a registered name; or ``power`` or ``spline``.
            By default ``cos``, for learned magnitudes, too: ``Operator("power")`` is ``power-cos`` and takes
            nothing of the start's angle, whereas the string ``"power"`` stands for ``power-power``.
        alpha: the constant α; None takes the magnitude's own (1 for all of the paper's).
        beta: the constant β of ``seg`` and ``mix``; None takes the magnitude's own (0.5 and 1).
        k: sharpness of the ``sigmoid`` angle: a positive number, or ``"learned"`` (a layer then holds one
            ``kappa`` per output channel, starting at 0.7, with k = |kappa| + 0.05, as in SphereNet).
        start: the operator as which learned halves start, at a radius of one mean patch norm.
        channel_groups: groups of output channels that learn their own functions; 1: one function a layer.
        constraints: on splines: ``"monotone"`` (no slope below 0) and ``"bounded"`` (h is constant beyond
            three mean patch norms), as a sequence or separated by commas.
        lipschitz: the steepest slope of splines, of h/α over n/ρ and of g over the cosine; None: any.
            One that cuts a slope of g makes E[g²] less than E[c²].

    A power is ``h = α (n/ρ)^q`` with q in [0, 1.5] and ``g = sgn(c) (|c| √d)^p / √d`` with p in [½, 3], where
    d is the size of a patch and |c| is rounded off at 0. A spline is piecewise linear: h through 0 with 16
    pieces of 0.2 in n/ρ, and g odd with 4 pieces of 1/√d, scaled so that ``E[g²] = E[c²]`` for cosines that
    are normal with variance 1/d.

    Raises:
        ValueError: a name is unknown, a constant out of range, or the start is itself learned or not finite.
        TypeError: the start is no string.

    Example:
        >>> from decoupled_nets import Operator
        >>> Operator("seg", "sqcos", beta=0.25)
        Operator(magnitude='seg', angle='sqcos', alpha=1.0, beta=0.25, k=0.3)
        >>> str(Operator("tanh"))
        'tanh-cos'
        >>> str(Operator("power", "power", start="linear-sqcos"))
        'power@linear-sqcos'
        >>> str(Operator("power", start="linear-sqcos"))
        'power-cos@linear-sqcos'
        >>> str(Operator("spline", "spline", constraints="monotone", channel_groups=8))
        'spline-spline+monotone+groups=8'
    """

    magnitude: str
    angle: str = "cos"
    alpha: float | None = None
    beta: float | None = None
    k: float | Literal["learned"] = DEFAULT_K
    start: str = DEFAULT_START
    channel_groups: int = 1
    constraints: str | Sequence[str] = ()
    lipschitz: float | None = None

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
        self._check_learned()

    def _check_learned(self) -> None:
        """The options of learned halves; a start is checked by reading it off."""
        start: Any = self.start
        if not isinstance(start, str):
            raise TypeError(
                f"start = {start!r} received; needed: the shorthand of an operator, such as 'seg-cos'"
            )
        given = self.constraints or ()
        names = {part.strip() for part in (given.split(",") if isinstance(given, str) else given)}
        object.__setattr__(self, "constraints", tuple(sorted(names - {""})))
        if unknown := [name for name in self.constraints if name not in CONSTRAINTS]:
            raise ValueError(f"constraint {unknown[0]!r} received; needed: {' or '.join(CONSTRAINTS)}")
        groups: Any = plain_ints(self.channel_groups)
        if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
            raise ValueError(
                f"channel_groups = {self.channel_groups!r} received; needed: a positive whole number"
            )
        object.__setattr__(self, "channel_groups", groups)
        steep: Any = self.lipschitz
        if steep is not None and not (isinstance(steep, Real) and 0 < float(steep) < math.inf):
            raise ValueError(f"lipschitz = {steep!r} received; needed: a positive number or None")
        object.__setattr__(self, "lipschitz", None if steep is None else float(steep))
        halves = self.learned
        if halves == (None, None):
            for name, usual in _OF_LEARNED.items():
                if (value := getattr(self, name)) != usual:
                    warnings.warn(f"{name} = {value!r} is ignored: {self} learns nothing", stacklevel=4)
            return
        if self.limits != Limits() and not self.learns_slopes:
            text = f"constraints and lipschitz are ignored: {self} has no spline"
            warnings.warn(text, stacklevel=4)
        self.start_parameters()

    def __repr__(self) -> str:
        usual = _OF_LEARNED
        shown = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != usual.get(f.name, ...)]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __str__(self) -> str:
        both = self.magnitude == self.angle and None not in self.learned
        name = self.magnitude if both and self.magnitude == "power" else f"{self.magnitude}-{self.angle}"
        # Asked last: an operator has its name when its functions are no longer registered, too.
        plain = (self.start, self.limits, self.channel_groups) == (DEFAULT_START, Limits(), 1)
        if plain or self.learned == (None, None):
            return name
        limits = self.limits if self.learns_slopes else Limits()
        start = "" if self.start == DEFAULT_START else f"@{self.start}"
        return f"{name}{start}{spelled(*limits, self.channel_groups)}"

    @property
    def learned(self) -> tuple[Learned | None, Learned | None]:
        """What h and g have of parameters."""
        return magnitudes[self.magnitude].learned, angles[self.angle].learned

    @property
    def learns_slopes(self) -> bool:
        """Whether a half is a learned spline, whose derivative jumps."""
        return any(half is not None and half.slopes for half in self.learned)

    @property
    def limits(self) -> Limits:
        """What the parameters of splines are held to."""
        assert isinstance(self.constraints, tuple)
        return Limits(self.constraints, self.lipschitz)

    def start_parameters(self) -> tuple[Tensor | None, Tensor | None]:
        """The parameters with which h and g start, in float64, or None where there are none.

        Raises:
            ValueError: the start is unknown, is itself learned, or is none for these halves.
        """
        of_h, of_g = self.learned
        named = resolve_operator(self.start)
        if named.learned != (None, None):
            raise ValueError(f"start = {self.start!r} received; needed: an operator that is not learned")
        k = 0.75 if named.learns_k else None
        found = (
            None if of_h is None else of_h.start(lambda size: named.h(size, 1.0, 1.0)),
            None if of_g is None else of_g.start(lambda turn: named.g(turn * _COSINE, k)),
        )
        if not all(map(self._begins, self.learned, found)):
            powers = "" if "power" not in (self.magnitude, self.angle) else ", and positive for a power"
            held = (
                f" when {' and '.join(self.constraints)}" if self.learns_slopes and self.constraints else ""
            )
            raise ValueError(
                f"start = {self.start!r} received; needed: functions that are finite and not 0{powers}{held}"
            )
        return found

    def _begins(self, half: Learned | None, start: Tensor | None) -> bool:
        """Whether a half is finite at its start and, if it is a spline, not 0 everywhere."""
        if half is None or start is None:
            return True
        nothing = half.slopes and not bool(half.effective(start, self.limits).any())
        return bool(start.isfinite().all()) and not nothing

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
        self,
        norm: Tensor,
        radius: Value = 1.0,
        alpha: Value | None = None,
        beta: Value | None = None,
        parameters: Tensor | None = None,
    ) -> Tensor:
        """The magnitude function at `norm`; shapes broadcast. None takes the operator's own constant.

        A learned one takes its parameters (..., P), which broadcast with the norms; None takes the start's.
        """
        alpha = self.alpha if alpha is None else alpha
        beta = self.beta if beta is None else beta
        assert alpha is not None
        assert beta is not None
        magnitude = magnitudes[self.magnitude]
        if magnitude.learned is None:
            return magnitude.fn(norm, radius, alpha, beta)
        start = self.start_parameters()[0] if parameters is None else parameters
        return magnitude.fn(norm, radius, alpha, beta, self._in_force(magnitude.learned, start, norm))

    def g(
        self,
        cosine: Tensor,
        k: Value | None = None,
        parameters: Tensor | None = None,
        fan_in: int = 1,
    ) -> Tensor:
        """The angular function at `cosine`; None takes the operator's own `k`.

        A learned one takes its parameters (..., P), which broadcast with the cosines, and the size of a
        patch; None takes the start's.
        """
        angle = angles[self.angle]
        if angle.learned is not None:
            start = self.start_parameters()[1] if parameters is None else parameters
            unit = math.sqrt(fan_in)
            return angle.fn(cosine * unit, self._in_force(angle.learned, start, cosine)) / unit
        return angle.fn(cosine, self.sharpness(k)) if angle.uses_k else angle.fn(cosine)

    def sharpness(self, k: Value | None = None) -> Value:
        """`k`, or the operator's own.

        Raises:
            ValueError: the operator's is learned, and none is given.
        """
        if k is not None:
            return k
        if self.k == "learned":
            raise ValueError("the operator's k is learned: pass its value as k=")
        return self.k

    def _in_force(self, half: Learned, parameters: Tensor | None, like: Tensor) -> Tensor:
        assert parameters is not None
        return half.effective(parameters.to(like), self.limits)


def resolve_operator(operator: Operator | str) -> Operator:
    """An :class:`Operator` from itself or from its shorthand ``"<magnitude>-<angle>"``.

    ``"power"`` and ``"spline"`` are short for both halves of that name; ``"power@linear-sqcos"`` starts as
    another operator. Options of learned halves come last, each behind ``+``: ``monotone``, ``bounded``,
    ``lipschitz=2``, and ``groups=8`` for `channel_groups`.

    Raises:
        ValueError: the shorthand is malformed, names something unknown, or has options of what it is not.
        TypeError: neither an operator nor a string was given.

    Example:
        >>> resolve_operator("spline-cos@ball-cos+groups=8+monotone").constraints
        ('monotone',)
    """
    if isinstance(operator, Operator):
        return operator
    if not isinstance(operator, str):
        raise TypeError(f"operator: {type(operator).__name__} received; needed: an Operator or a string")
    both, *texts = operator.split("+")
    if any("@" in text for text in texts):
        raise ValueError(
            f"operator {operator!r} received; needed: @START before the options, as {both}@START+OPTION"
        )
    name, at, start = both.partition("@")
    magnitude, hyphen, angle = (f"{name}-{name}" if name in ("power", "spline") else name).partition("-")
    if not hyphen or "-" in angle or bool(at) != bool(start):
        raise ValueError(f"operator {operator!r} received; needed: '<magnitude>-<angle>', such as 'tanh-cos'")
    found = Operator(magnitude, angle)
    options = options_of(texts)
    if (at or options) and found.learned == (None, None):
        what = "start" if at else "options"
        raise ValueError(f"operator {operator!r} received; needed: no {what}, because {name} learns nothing")
    if {"constraints", "lipschitz"} & set(options) and not found.learns_slopes:
        raise ValueError(f"operator {operator!r} received; needed: a spline, which its options are of")
    return dataclasses.replace(found, **options | ({"start": start} if at else {}))
