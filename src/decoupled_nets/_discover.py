"""Finding what is registered by a file of its own: adding the file is all."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def modules_of(package: ModuleType | str) -> list[ModuleType]:
    """Import the modules of a package, by name; those that begin with an underscore are left out."""
    found = importlib.import_module(package) if isinstance(package, str) else package
    names = sorted(m.name for m in pkgutil.iter_modules(found.__path__) if not m.name.startswith("_"))
    return [importlib.import_module(f"{found.__name__}.{name}") for name in names]


def classes_of(package: ModuleType | str, base: type[T]) -> list[type[T]]:
    """The subclasses of a class that the modules of a package define."""
    return [
        value
        for module in modules_of(package)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
