"""Files of weights, whoever wrote them: read without running code from them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

AVERAGED = ("model_ema", "state_dict_ema")
PLAIN = ("state_dict", "model")


def read_checkpoint(path: Path) -> Any:
    """What a file holds: tensors and plain values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds anything else, which could run code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # timm keeps its command line in checkpoints: an object that holds values and does nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read safely as a checkpoint: {error}") from error


def state_in(content: Mapping[str, Any], ema: bool = True) -> tuple[str, dict[str, Tensor]]:
    """The state dict in a checkpoint: under which key it is ("" for the whole of it), and its tensors.

    Args:
        content: what a file holds.
        ema: prefer averaged weights where it has both.

    Raises:
        ValueError: something in it is no tensor, or has no memory.
    """
    key = next((k for k in (*(AVERAGED if ema else ()), *PLAIN) if isinstance(content.get(k), Mapping)), "")
    state = content[key] if key else content
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.is_meta:
            kind = "tensor without memory" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name!r} is a {kind}; needed: a state dict of tensors by name")
    return key, dict(state)
