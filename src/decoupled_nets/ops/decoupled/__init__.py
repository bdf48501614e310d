"""Decoupled convolution: magnitude and angular functions, and the convolutions made of them."""

from .. import backend

if backend.status.loaded:
    from . import register  # noqa: F401
