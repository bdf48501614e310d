"""Loads the compiled kernels and says whether they are in use."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import forward_ad

_FILE = "_kernels.so"
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


@dataclass(frozen=True)
class Status:
    """The file the kernels come from and their instruction set, or why there are none."""

    path: Path | None
    capability: str | None
    reason: str | None

    @property
    def loaded(self) -> bool:
        """Whether the ops exist."""
        return self.path is not None


def _load() -> Status:
    # An editable install may keep the binary apart from the sources; both folders are on the package's path.
    package = sys.modules[__name__.partition(".")[0]]
    files = [Path(folder, _FILE) for folder in package.__path__]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        return Status(None, None, "they were not built, which takes a C++ compiler and an installed torch")
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return Status(None, None, f"{path} does not load: {error}")
    return Status(path, torch.ops.decoupled_nets.cpu_capability(), None)


class _State:
    enabled = True
    warned = False


status = _load()


def usable() -> bool:
    """Whether the kernels may be used; says once that they are missing."""
    if status.loaded:
        return _State.enabled
    if not _State.warned:
        _State.warned = True
        warnings.warn(
            f"decoupled_nets has no compiled kernels ({status.reason}): its layers are slower on the CPU",
            stacklevel=2,
        )
    return False


def eager_on(device: str, *tensors: Tensor) -> bool:
    """Whether these are plain tensors of the device (``"cpu"``, ``"cuda"``), and nobody watches.

    Compilers, tracers and functorch transforms get the composed path, into which they can look.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return all(type(t) in _PLAIN_TENSORS and t.device.type == device for t in tensors)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Everything takes the composed path inside this context, in all threads."""
    before, _State.enabled = _State.enabled, False
    try:
        yield
    finally:
        _State.enabled = before
