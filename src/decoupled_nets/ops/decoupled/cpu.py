"""What the compiled kernels of the CPU take; the code is in ``csrc/decoupled``."""

from __future__ import annotations

import torch

from .. import backend
from .call import ConvCall, Operands

DTYPES = backend.DTYPES
SEEN_BY_COMPILERS = True


def _functions() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The magnitude and angular functions that the code knows, as it says itself."""
    if not backend.status.loaded:
        return (), ()
    magnitudes, angles = torch.ops.decoupled_nets.cpu_functions()
    return tuple(magnitudes.split(",")), tuple(angles.split(","))


MAGNITUDES, ANGLES = _functions()


def missing(call: ConvCall, operands: Operands) -> str | None:
    """Why there are no kernels here, or None."""
    return backend.missing()
