"""Importing what a user's command line names, so that what it registers is known."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path


def import_plugin(plugin: str) -> None:
    """Import a Python file or an installed module, once in a process.

    Raises:
        ValueError: there is no such file or module.
    """
    if not plugin.endswith(".py"):
        try:
            importlib.import_module(plugin)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"plugin = {plugin!r} received; needed: a .py file or an importable module"
            ) from error
        return
    path = Path(plugin)
    if not path.is_file():
        raise ValueError(f"plugin = {plugin!r} received; needed: a file that exists")
    name = f"decoupled_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"plugin = {plugin!r} received; needed: a Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
