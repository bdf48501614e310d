"""Decoupled dynamic filters."""

from . import register, triton  # noqa: F401  (the ops, and their code for graphics processors)
