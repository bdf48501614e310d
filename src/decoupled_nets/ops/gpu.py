"""Whether Triton kernels run on a graphics processor, found out by trying once."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch
from torch.utils._python_dispatch import _disable_current_modes

LEAST_CAPABILITY = (8, 0)  # bfloat16 begins here, and so does what Triton supports


class _ForNow(Exception):
    """A reason that may pass: it is not remembered."""


def reason_against(index: int) -> str | None:
    """Why the kernels do not run on the CUDA device of this number; None if they do."""
    try:
        return _tried(index)
    except _ForNow as reason:
        return str(reason)


@functools.cache
def _tried(index: int) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    capability = torch.cuda.get_device_capability(index)
    if torch.version.hip is None and capability < LEAST_CAPABILITY:
        return "the card has compute capability {}.{}, 8.0 needed".format(*capability)
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise _ForNow("a CUDA graph is being captured; run a layer once before")
    try:
        # A compiler may be at work, whose tensors hold no numbers.
        with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
            from .decoupled import triton_launch

            ones = torch.ones(1, 1, 2, 2, device=f"cuda:{index}")
            triton_launch.patch_norm(ones, [1, 1], [1, 1], [0] * 4, [1, 1], 1, 1e-4)
    except torch.OutOfMemoryError:
        raise _ForNow("the card has no memory left to try a kernel") from None
    except Exception as error:  # whatever a compiler, a driver or Triton itself may raise
        first = (str(error).strip().splitlines() or [""])[0]
        return f"Triton could not start a kernel: {type(error).__name__}: {first}"
    return None


@functools.cache
def _warn_once(index: int, reason: str) -> None:
    warnings.warn(
        f"decoupled layers on cuda:{index} run without their Triton kernels, at several times the cost "
        f"({reason})",
        stacklevel=4,
    )


def missing(index: int) -> str | None:
    """As :func:`reason_against`, of which it also warns, once."""
    reason = reason_against(index)
    if reason is not None:
        _warn_once(index, reason)
    return reason


# What torch.compiler.assume_constant_result does, which takes seconds to import: a compiler asks once.
missing._dynamo_marked_constant = True  # type: ignore[attr-defined]
