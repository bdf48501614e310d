"""Other libraries' networks by name, one file a library; every file here is found."""

from __future__ import annotations

from functools import cache

from ..._discover import modules_of
from ._source import Source, UnfitError, Weights

__all__ = ["Source", "UnfitError", "Weights", "source_named", "sources"]


@cache
def sources() -> dict[str, Source]:
    """Every library by its name."""
    found = [
        value()
        for module in modules_of(__name__)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Source) and value.__module__ == module.__name__
    ]
    return {source.name: source for source in found}


def source_named(model: str) -> tuple[Source, str] | None:
    """The library of ``timm:resnet18`` and what it calls the network; None: no library is named."""
    name, colon, rest = model.partition(":")
    return (sources()[name], rest) if colon and name in sources() else None
