"""How numbers are written, in the terminal, in Markdown, on the page and in figures alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .._metric import Metric
from .._statistics import Interval, Spread
from ..robustness import SUITES, Threat
from ..robustness.attacks import attacks

MISSING = "–"


def value(number: float | None, metric: Metric) -> str:
    """A value of a metric without its unit: an accuracy of ``0.8613`` as ``86.1``."""
    return _fixed(None if number is None else metric.scale * number, metric.digits)


def spread(number: Spread | None, metric: Metric) -> str:
    """Mean and, with several seeds, standard deviation: ``86.1 ± 0.4``."""
    if number is None:
        return MISSING
    mean = value(number.mean, metric)
    return mean if number.sd is None else f"{mean} ± {value(number.sd, metric)}"


def interval(ends: Interval | None, metric: Metric) -> str:
    """An interval: ``84.5–87.6``."""
    return MISSING if ends is None else f"{value(ends.low, metric)}–{value(ends.high, metric)}"


def difference(number: Spread | None, metric: Metric) -> str:
    """A difference, of fractions in percentage points, with its standard error: ``+1.2 ± 0.3``."""
    if number is None or not math.isfinite(number.mean):
        return MISSING
    error = number.standard_error
    # "+ 0.0" turns a rounded -0.0 into 0.0
    rounded = round(metric.scale * number.mean, metric.digits) + 0.0
    mean = f"{rounded:+.{metric.digits}f}".replace("-", "−")
    return mean if error is None else f"{mean} ± {value(error, metric)}"


def difference_interval(ends: Interval, metric: Metric) -> str:
    """An interval of differences: ``+0.4 to +2.1``."""
    low, high = (difference(Spread(end, None, 1), metric) for end in (ends.low, ends.high))
    return f"{low} to {high}"


def size(number: float, metric: Metric) -> str:
    """How large a difference is, with its unit: ``0.5 points``; two digits where one would show none."""
    digits = metric.digits if abs(metric.scale * number) >= 10.0**-metric.digits else metric.digits + 1
    unit = f" {metric.difference_unit}" if metric.difference_unit else ""
    return f"{_fixed(metric.scale * number, digits).replace('-', '−')}{unit}"


def setting(options: Mapping[str, Any]) -> str:
    """Options and their values: ``lr 0.003``."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in options.items())  # fmt: skip


def share(number: float) -> str:
    """A share as a whole percentage that is never rounded to certainty: ``97 %``, ``> 99 %``."""
    if not math.isfinite(number):
        return MISSING
    if number > 0.99 or number < 0.01:
        return "> 99 %" if number > 0.5 else "< 1 %"
    return f"{100 * number:.0f} %"


def epochs(mean: float | None) -> str:
    """A mean number of epochs, with a decimal only where it has one: ``4`` or ``4.5``."""
    return _fixed(mean, 0 if mean is not None and mean == round(mean) else 1)


def seconds(duration: float | None) -> str:
    """A duration in seconds, three figures of it at most below 100 s: ``8.42``, ``84.2``, ``842``."""
    if duration is None:
        return MISSING
    return _fixed(duration, 2 if duration < 10 else 1 if duration < 100 else 0)


def ratio(middle: float, low: float, high: float) -> str:
    """A ratio with its quartiles, which are left out where they add nothing: ``1.08× (1.06–1.11)``."""
    if not math.isfinite(middle):
        return MISSING
    text, first, third = (_fixed(number, 2) for number in (middle, low, high))
    return f"{text}×" if first == third == text else f"{text}× ({first}–{third})"


def count(number: int | None) -> str:
    """A count with thousands separated: ``123,456``."""
    return MISSING if number is None else f"{number:,}"


def megabytes(size: int | None) -> str:
    """A size in bytes as MB (10⁶ bytes)."""
    return _fixed(None if size is None else size / 1e6, 1)


def attack(name: str) -> str:
    """A suite or an attack in text: ``pgd`` as ``PGD-10``, ``quick`` as ``quick attacks``."""
    known = attacks()
    if name in SUITES:
        return f"{name} attacks"
    return known[name].title if name in known else {"pgd10": "PGD-10"}.get(name, name)


def threat(text: str) -> str:
    """A threat as it is written in text: ``linf:8/255`` as ``L∞ 8/255``; a radius n/255 as such."""
    norm, _, size = text.partition(":")
    levels = float(Fraction(size)) * 255
    if norm == "linf" and abs(levels - round(levels)) < 1e-6:
        size = f"{round(levels)}/255"
    return str(Threat(norm, size))


def listed(names: list[str]) -> str:
    """Names in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def plural(number: int, noun: str) -> str:
    """A number with its noun: ``1 seed``, ``3 seeds``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _fixed(number: float | None, digits: int) -> str:
    if number is None or not math.isfinite(number):
        return MISSING
    return f"{number:.{digits}f}"
