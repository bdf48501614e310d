"""Recipes: options of whole trainings under a name, one YAML file each; every file here is found.

A file says by comments where its values are from, and what it leaves out.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from .._registry import unknown

#: What no recipe may say: which data there is and where, and what would be run.
FORBIDDEN = frozenset(
    {"plugin", "recipe", "data", "data_root", "download", "weights", "devices", "num_nodes"}
)


@cache
def recipes() -> dict[str, str]:
    """The text of every recipe, by name."""
    found = sorted(files(__name__).iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in found
        if file.name.endswith(".yaml")
    }


def recipe(name: str) -> dict[str, Any]:
    """The options of a recipe, by their flat names.

    Raises:
        ValueError: there is no such recipe, or it names data or code; the message lists what there is.

    Example:
        >>> recipe("cnn9")["optimizer"], recipe("cnn9")["milestones"]
        ('adam', '0.53125,0.84375')
    """
    if name not in recipes():
        raise ValueError(unknown("recipe", name, list(recipes())))
    options = yaml.safe_load(recipes()[name])
    if bad := sorted(FORBIDDEN & options.keys()):
        raise ValueError(f"recipe {name} names {bad[0]}; needed: options of a training alone")
    return dict(options)
