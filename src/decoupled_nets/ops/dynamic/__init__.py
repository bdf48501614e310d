"""Decoupled dynamic filters."""

from .. import backend

if backend.status.loaded:
    from . import register  # noqa: F401
