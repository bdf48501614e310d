"""Code that a user names: imported when the command line says so, never because a file does."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_FUNCTION = re.compile(r"(.+\.py):([A-Za-z_]\w*)")
#: The files that were imported, by their places: what they held, and what they made.
_imported: dict[Path, tuple[str, ModuleType]] = {}


def names_code(text: str | None) -> bool:
    """Whether a text is ``file.py:function``."""
    return bool(text) and _FUNCTION.fullmatch(str(text)) is not None


def file_of(text: str) -> Path:
    """The file of ``file.py:function``."""
    found = _FUNCTION.fullmatch(text)
    assert found is not None
    return Path(found[1])


def import_code(name: str | Path, what: str = "plugin") -> ModuleType:
    """Import a Python file or an installed module; functions of a file may be called by name from then on.

    A plugin is run whenever it is named; a file of a network once, unless it has changed.

    Args:
        name: ``file.py``, or the name of a module.
        what: the option that it is the value of, for messages.

    Raises:
        ValueError: there is no such file or module.
    """
    name = str(name)
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{what} = {name!r} received; needed: a .py file or an importable module"
            ) from error
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{what} = {name!r} received; needed: a file that exists")
    place, digest = path.resolve(), digest_of_file(path)
    if what != "plugin" and place in _imported and _imported[place][0] == digest:
        return _imported[place][1]
    own = f"decoupled_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(own, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{what} = {name!r} received; needed: a Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module
    spec.loader.exec_module(module)
    _imported[place] = (digest, module)
    return module


def function_named(text: str, digest: str | None = None) -> Callable[..., Any]:
    """The function ``file.py:function`` of a file that :func:`import_code` was called with.

    Args:
        text: names it.
        digest: of the file's content; a file of that content will do, wherever it lies.

    Raises:
        ValueError: the file was not imported, or has no such function.
    """
    found = _FUNCTION.fullmatch(text)
    assert found is not None
    path, name = Path(found[1]), found[2]
    modules = [m for place, (_, m) in _imported.items() if place == path.resolve()]
    modules += [m for content, m in _imported.values() if content == digest]
    if not modules:
        raise ValueError(
            f"the network is made by {text}, which would be run; needed: --model {text} on the command line"
            f" that trains it, --plugin {path.name} on one that reads its checkpoint; in Python,"
            f" decoupled_nets.training.import_code({path.name!r})"
        )
    function = getattr(modules[0], name, None)
    if not callable(function):
        raise ValueError(f"model = {text!r} received; needed: a function of {path.name}, which has no {name}")
    return function


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
