"""Finding what is registered by a file of its own: adding the file is all."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def modules_of(package: ModuleType | str) -> list[ModuleType]:
    """Import the modules of a package, by name; those that begin with an underscore are left out."""
    found = importlib.import_module(package) if isinstance(package, str) else package
    names = sorted(m.name for m in pkgutil.iter_modules(found.__path__) if not m.name.startswith("_"))
    return [importlib.import_module(f"{found.__name__}.{name}") for name in names]
