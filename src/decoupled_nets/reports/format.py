"""How numbers are written, in the terminal, in Markdown, on the page and in figures alike."""

from __future__ import annotations

import math

from .statistics import Interval, Spread

MISSING = "–"
_ATTACKS = {"fgsm": "FGSM"}


def percent(fraction: float | None) -> str:
    """A fraction in percent, without the sign: ``0.8613`` as ``86.1``."""
    return _fixed(None if fraction is None else 100 * fraction, 1)


def percent_spread(value: Spread | None) -> str:
    """Mean and, with several seeds, standard deviation in percent: ``86.1 ± 0.4``."""
    if value is None:
        return MISSING
    return percent(value.mean) if value.sd is None else f"{percent(value.mean)} ± {percent(value.sd)}"


def percent_interval(value: Interval | None) -> str:
    """An interval in percent: ``84.5–87.6``."""
    return MISSING if value is None else f"{percent(value.low)}–{percent(value.high)}"


def points(value: Spread | None) -> str:
    """A difference of fractions in percentage points, with its standard error: ``+1.2 ± 0.3``."""
    if value is None or not math.isfinite(value.mean):
        return MISSING
    error = value.standard_error
    # "+ 0.0" turns a rounded -0.0 into 0.0
    mean = f"{round(100 * value.mean, 1) + 0.0:+.1f}".replace("-", "−")
    return mean if error is None else f"{mean} ± {percent(error)}"


def points_interval(value: Interval) -> str:
    """An interval of differences in percentage points: ``+0.4 to +2.1``."""
    return f"{points(Spread(value.low, None, 1))} to {points(Spread(value.high, None, 1))}"


def epochs(mean: float | None) -> str:
    """A mean number of epochs, with a decimal only where it has one: ``4`` or ``4.5``."""
    return _fixed(mean, 0 if mean is not None and mean == round(mean) else 1)


def seconds(value: float | None) -> str:
    """A duration in seconds, three figures of it at most below 100 s: ``8.42``, ``84.2``, ``842``."""
    if value is None:
        return MISSING
    return _fixed(value, 2 if value < 10 else 1 if value < 100 else 0)


def ratio(middle: float, low: float, high: float) -> str:
    """A ratio with its quartiles, which are left out where they add nothing: ``1.08× (1.06–1.11)``."""
    if not math.isfinite(middle):
        return MISSING
    text, first, third = (_fixed(value, 2) for value in (middle, low, high))
    return f"{text}×" if first == third == text else f"{text}× ({first}–{third})"


def count(value: int | None) -> str:
    """A count with thousands separated: ``123,456``."""
    return MISSING if value is None else f"{value:,}"


def megabytes(size: int | None) -> str:
    """A size in bytes as MB (10⁶ bytes)."""
    return _fixed(None if size is None else size / 1e6, 1)


def attack(name: str) -> str:
    """An attack as it is written in text: ``pgd10`` as ``PGD-10``."""
    if name.startswith("pgd") and name[3:].isdigit():
        return f"PGD-{name[3:]}"
    return _ATTACKS.get(name, name)


def radius(value: float) -> str:
    """A pixel radius, as n/255 where it is one: ``8/255``."""
    levels = value * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{value:g}"


def listed(names: list[str]) -> str:
    """Names in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def plural(number: int, noun: str) -> str:
    """A number with its noun: ``1 seed``, ``3 seeds``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _fixed(value: float | None, digits: int) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{digits}f}"
