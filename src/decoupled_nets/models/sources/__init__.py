"""Other libraries' networks by name, one file a library; every file here is found."""

from __future__ import annotations

from functools import cache

from ..._discover import classes_of
from ._source import Source, UnfitError, Weights

__all__ = ["Source", "UnfitError", "Weights", "source_named", "sources"]


@cache
def sources() -> dict[str, Source]:
    """Every library by its name."""
    found = [kind() for kind in classes_of(__name__, Source)]  # type: ignore[type-abstract]
    return {source.name: source for source in found}


def source_named(model: str) -> tuple[Source, str] | None:
    """The library of ``timm:resnet18`` and what it calls the network; None: no library is named."""
    name, colon, rest = model.partition(":")
    return (sources()[name], rest) if colon and name in sources() else None
