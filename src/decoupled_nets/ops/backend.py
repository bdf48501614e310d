"""Which code an operation runs on, chosen by name, with a reason that can be asked for.

``cpu`` is the compiled code of ``csrc/``, ``triton`` its counterpart on CUDA devices. ``composed`` is the
same in torch's own operations: on every device, for every derivative, for whatever has to look inside.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

NAMES = ("cpu", "triton", "composed")
VARIABLE = "DECOUPLED_NETS_BACKEND"
DTYPES = (torch.float32, torch.float64, torch.bfloat16)  # of the compiled code
_OF_DEVICE = {"cpu": "cpu", "cuda": "triton"}
_FILE = "_kernels.so"
_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


@dataclass(frozen=True)
class Status:
    """The file the kernels come from and their instruction set, or why there are none."""

    path: Path | None
    capability: str | None
    reason: str | None

    @property
    def loaded(self) -> bool:
        """Whether the ops have kernels for the CPU."""
        return self.path is not None


class Choice(NamedTuple):
    """What the last call of an operation ran on, and why not on kernels if it did not."""

    operation: str
    backend: str
    reason: str


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


def _checked(name: str, where: str) -> str | None:
    if name == "auto":
        return None
    if name not in NAMES:
        raise ValueError(f"{where} {name!r} received; needed: 'auto' or one of {NAMES}")
    return name


class _State:
    # A name that is none is refused by the first call, not on import, so that `decoupled doctor` can say it.
    by_environment = None if os.environ.get(VARIABLE) == "auto" else os.environ.get(VARIABLE) or None
    wanted = by_environment
    contexts: ClassVar[list[Any]] = []  # those that are open, of all threads
    lock = threading.Lock()
    last: Choice | None = None
    warned = False


status = _load()


def choose(operation: str, tensors: Sequence[Tensor], against: Callable[[str], str | None]) -> str:
    """The backend for one call of an operation.

    Args:
        operation: its name, for :func:`last_backend`.
        tensors: the tensors it goes by; the first one's device counts.
        against: says why the kernels of a backend do not take this call; None if they do.

    Raises:
        ValueError: a backend was asked for by name that cannot run this call.
    """
    device = tensors[0].device.type
    name, wanted = _OF_DEVICE.get(device), _State.wanted
    if wanted is not None and wanted not in NAMES:
        _checked(wanted, f"environment variable {VARIABLE} =")
    if wanted == "composed":
        return _record(operation, wanted, "it was asked for")
    reason = f"there are none for {device}" if name is None else against(name)
    if name is not None and wanted in (None, name) and reason is None:
        return _record(operation, name, "its kernels take this call")
    if wanted is not None and not (_traced() or device == "meta"):
        why = reason if wanted == name else f"the tensors are on {device}"
        raise ValueError(
            f"backend {wanted!r} was asked for, which does not take this {operation}: {why}; "
            f"needed: another one, by decoupled_nets.use_backend or {VARIABLE}"
        )
    return _record(operation, "composed", f"not on kernels: {reason}")


def asked() -> bool:
    """Whether a backend was asked for by name."""
    return _State.wanted is not None


def _traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _record(operation: str, name: str, reason: str) -> str:
    # A compiler would take it for a part of the program.
    if not torch.compiler.is_compiling():
        _State.last = Choice(operation, name, reason)
    return name


def last_backend() -> Choice | None:
    """What the last decoupled operation ran on, and why: ``(operation, backend, reason)``; None before any.

    Operations in compiled and exported programs are not seen, nor linear layers elsewhere than on the CPU,
    which have no kernels.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> with dn.use_backend("composed"):
        ...     out = dn.DecoupledConv2d(3, 8, 3)(torch.rand(1, 3, 8, 8))
        >>> dn.last_backend()
        Choice(operation='decoupled_conv', backend='composed', reason='it was asked for')
    """
    return _State.last


class use_backend:
    """From here on, or inside the context, operations take the backend of this name, or raise an error.

    It holds in all threads; of several, the one that was opened last counts. The environment variable
    ``DECOUPLED_NETS_BACKEND`` does the same for a whole process. A backward pass that repeats the forward
    pass (gradient checkpointing) belongs inside, too. What compilers and tracers make is not bound by it,
    unless it is ``"composed"``.

    Args:
        name: ``"cpu"``, ``"triton"``, ``"composed"``, or ``"auto"``: kernels where they take the call. Linear
            layers have kernels on the CPU only and stay as they are elsewhere; with ``"auto"``, layers of a
            small weight stay so there, too, unless their angle is learned.

    Raises:
        ValueError: there is no such backend, or, at a call, it cannot run that call.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.DecoupledConv2d(3, 8, 3)
        >>> with dn.use_backend("composed"):
        ...     out = layer(torch.rand(1, 3, 8, 8))
    """

    def __init__(self, name: str) -> None:
        self._name = _checked(name, "backend")
        self.__enter__()

    def __enter__(self) -> None:
        with _State.lock:
            if self not in _State.contexts:
                _State.contexts.append(self)
            self._settle()

    def __exit__(self, *error: object) -> None:
        with _State.lock:
            if self in _State.contexts:
                _State.contexts.remove(self)
            self._settle()

    @staticmethod
    def _settle() -> None:
        _State.wanted = _State.contexts[-1]._name if _State.contexts else _State.by_environment


def missing() -> str | None:
    """Why there is no compiled code for the CPU, which it also warns of, once; None if there is."""
    if not status.loaded and not _State.warned:
        _State.warned = True
        warnings.warn(
            f"decoupled_nets has no compiled kernels ({status.reason}): its layers are slower on the CPU",
            stacklevel=2,
        )
    return status.reason


def watched(device: str, *tensors: Tensor, by_compilers: bool = True) -> str | None:
    """Who is to see every operation on these tensors, or None if they are plain ones of the device.

    Compilers, tracers and functorch transforms get the composed path, into which they can look.

    Args:
        device: its type, such as ``"cpu"``.
        tensors: what the operation goes by.
        by_compilers: False leaves out compilers that run what they make, but not those that export it.
    """
    # The flag is what is_exporting() reads; torch 2.11 answers it with yes in everything that it compiles.
    if not by_compilers and torch.compiler.is_compiling() and not torch.compiler._is_exporting_flag:
        if torch._C._are_functorch_transforms_active():
            return "a transform of torch.func is at work"
        elsewhere = any(t.device.type != device for t in tensors)
        return f"not all tensors are on {device}" if elsewhere else None
    if _traced():
        return "a compiler or tracer is at work"
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return "a transform of torch.func or a forward-mode derivative is at work"
    if all(type(t) in _PLAIN_TENSORS and t.device.type == device for t in tensors):
        return None
    return f"not all tensors are plain ones on {device}"
