"""Options of networks and layers as plain JSON values, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..nn.operator import RelativeRadius
from ..ops.decoupled.operator import Operator

#: What stands for a dataclass in the JSON: its fields, under an option of that name.
_CLASSES: dict[str, Callable[..., Any]] = {"operator": Operator, "radius": RelativeRadius}
_FORBIDDEN = ("pretrained", "checkpoint", "cache_dir", "weights", "url", "file")


def to_json(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options as JSON values.

    Raises:
        ValueError: one is a function, a class or whatever else has no plain form.
    """
    return {name: _value(name, value, where) for name, value in options.items()}


def _value(name: str, value: Any, where: str) -> Any:
    if isinstance(value, Operator | RelativeRadius):
        fields = [field.name for field in dataclasses.fields(value)]
        return {field: _value(field, getattr(value, field), where) for field in fields}
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_value(name, entry, where) for entry in value]
    if (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    # numpy and torch have numbers of their own.
    if getattr(value, "shape", None) == () and isinstance(item := value.item(), bool | int | float | str):
        return _value(name, item, where)
    raise ValueError(
        f"{where} has the option {name} = {value!r}, which cannot be written; needed: "
        "a number, text, truth value, list, operator or radius"
    )


def from_json(options: Any, where: str) -> dict[str, Any]:
    """The options that :func:`to_json` wrote.

    Raises:
        ValueError: something else was written there, or an option that would have files read or fetched.
    """
    if not isinstance(options, dict):
        raise ValueError(f"{where}: {options!r} received; needed: a table of options")
    for name in options:
        if name.startswith(_FORBIDDEN):
            raise ValueError(f"{where} has the option {name!r}, which no configuration may set")
    return {name: _option(name, value, where) for name, value in options.items()}


def _option(name: str, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        return tuple(value) if isinstance(value, list) else value
    if name not in _CLASSES:
        raise ValueError(f"{where} has the option {name} = {value!r}; needed: a plain value")
    try:
        return _CLASSES[name](**value)
    except TypeError as error:
        raise ValueError(f"{where}: {name} = {value!r} cannot be read: {error}") from None
