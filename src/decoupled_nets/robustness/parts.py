"""What attacks found so far, a file for each batch of images, so that an interrupted evaluation goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .._files import write_atomically
from .attacks import Attacked
from .suites import Stage

#: Largest change of how far a class lies before the next one, in parts of what is usual, that rounding makes.
_ALIKE = 1e-3


class Parts:
    """A folder of results by stage and batch; nowhere without a folder.

    The logits of a network differ between devices, and between runs of a GPU, by rounding alone: an
    evaluation that began on one device continues on another. Whoever reads a part asks the network again.

    Args:
        folder: where they lie.
        belongs: what they belong to: other options, other weights or other images have other parts.
        logits: (B, K), the network's, of all images; a part of a network that answers otherwise is not taken.
    """

    def __init__(self, folder: Path | None, belongs: dict[str, Any], logits: Tensor) -> None:
        self.folder = folder
        self._belongs = belongs
        self._logits = logits

    def read(self, stage: Stage, places: Tensor) -> tuple[Attacked, dict[str, float], bool] | None:
        """What is there of these images, and whether the logits are the same to the bit; None: nothing fits.

        Args:
            stage: whose results they are; with other options it has other ones.
            places: (A,) int64, of the images.
        """
        path = self._path(stage, places)
        if path is None or not path.is_file():
            return None
        try:
            with safe_open(str(path), "pt") as file:
                noted = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("images", "step", "places", "logits")}
        except (SafetensorError, OSError):  # damaged: it is made anew
            return None
        if noted.get("belongs") != self._mark(stage) or not torch.equal(tensors["places"], places.cpu()):
            return None
        theirs, own = tensors["logits"], self._of(places)
        if not _alike(theirs, own):
            return None
        found = Attacked(tensors["images"], tensors["step"])
        return found, json.loads(noted["spent"]), torch.equal(theirs, own)

    def write(self, stage: Stage, places: Tensor, found: Attacked, spent: dict[str, float]) -> None:
        """Keep what an attack found."""
        path = self._path(stage, places)
        if path is None:
            return
        tensors = {
            "images": found.images.cpu().contiguous(), "step": found.step.cpu(), "places": places.cpu(),
            "logits": self._of(places),
        }  # fmt: skip
        content = save(tensors, {"belongs": self._mark(stage), "spent": json.dumps(spent)})
        write_atomically(path, lambda file: file.write(content))

    def _of(self, places: Tensor) -> Tensor:
        return self._logits[places].cpu().contiguous()

    def _mark(self, stage: Stage) -> str:
        own = [stage.name, stage.every, stage.settings]
        text = json.dumps([self._belongs, own], sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()

    def _path(self, stage: Stage, places: Tensor) -> Path | None:
        if self.folder is None:
            return None
        safe = "".join(c if c.isalnum() or c in "-+." else "_" for c in stage.name)
        return self.folder / f"{safe}-{int(places[0]):06d}.safetensors"


def _alike(found: Tensor, own: Tensor) -> bool:
    """Whether the two highest logits (A, K) of every image lie as far apart but for rounding."""
    if found.shape != own.shape:
        return False
    highest = own.double().topk(2)
    gap = highest.values[:, 0] - highest.values[:, 1]
    first, second = found.double().gather(1, highest.indices).unbind(1)
    return bool(((first - second - gap).abs() <= _ALIKE * gap.median()).all())
