"""Which settings are tried for every operator, and which of them is chosen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from .._metric import Metric
from .._options import owners
from .._registry import unknown
from ..reports.results import Trial
from ..training import OptimConfig, TrainConfig
from .variants import value_of

#: Seeds of trials lie so far from those of runs that no run has one of them.
SEEDS_APART = 100_000
#: Options of the optimisation by name.
Setting = dict[str, Any]


def settings(text: str) -> list[Setting]:
    """The settings that a text names: every combination of its options' values, in their order.

    Args:
        text: ``lr=1e-3,3e-3``, or several options of the optimisation, separated by spaces.

    Raises:
        ValueError: an option is none of the optimisation, or a value is not of its kind.

    Example:
        >>> settings("lr=1e-3,3e-3 weight_decay=0,1e-4")[1]
        {'lr': 0.001, 'weight_decay': 0.0001}
    """
    axes: dict[str, list[Any]] = {}
    for word in text.split():
        name, equals, values = word.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        if not equals or not all(values.split(",")):
            raise ValueError(
                f"tune = {text!r} received; needed: an option and its values, as in 'lr=1e-3,3e-3'"
            )
        if owners(TrainConfig).get(name) is not OptimConfig:
            raise ValueError(
                unknown("option of the optimisation", name, [f.name for f in fields(OptimConfig)])
            )
        if name in axes:
            raise ValueError(f"tune = {text!r} received; needed: {name} once, with all its values")
        axes[name] = [value_of("tune", name, value) for value in values.split(",")]
        if len(set(axes[name])) != len(axes[name]):
            raise ValueError(f"tune = {word!r} received; needed: each value once")
    return (
        [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values())] if axes else []
    )


def best(trials: Sequence[Trial], operator: str, tried: Sequence[Setting], metric: Metric) -> Setting:
    """The setting with the best mean over seeds on validation images; the first of equals.

    One that diverged from any seed is not chosen; where all did, nothing is: an empty setting.
    """
    found: list[tuple[float, Setting]] = []
    for setting in tried:
        values = [t.val for t in trials if t.operator == operator and t.setting == setting]
        if values and all(math.isfinite(value) for value in values):
            found.append((sum(values) / len(values), setting))
    target = metric.best(value for value, _ in found)
    return next((setting for value, setting in found if value == target), {})
