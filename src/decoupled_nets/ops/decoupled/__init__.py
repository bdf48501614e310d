"""Decoupled convolution: magnitude and angular functions, and the convolutions made of them."""

from . import register  # noqa: F401  (the ops)
