"""Checkpoints that are whole or not there, and that never run code when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from .._files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, flushes to disk, renames; reads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path` in one step."""
        write_atomically(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; see :func:`load_checkpoint`."""
        return load_checkpoint(path, map_location or "cpu")


def load_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without unpickling any class or function.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint, is damaged, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        # Not in the words of what reads it, which advise to run the code in it.
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); needed: one of decoupled train or"
            " compare, whole, without code in it"
        ) from error
