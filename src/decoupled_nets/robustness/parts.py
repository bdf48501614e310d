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

#: Largest difference of logits, in parts of the largest one, that another device or run of a GPU may make.
_ALIKE = 1e-4


class Parts:
    """A folder of results by stage and batch; nowhere without a folder.

    A network is known by its logits, which are the same on another device but for rounding: an evaluation
    that was begun on a GPU goes on on a processor, and on another run of the same GPU. What a part says is
    broken is asked again by whoever reads it.

    Args:
        folder: where they lie.
        belongs: what they belong to: other options or other images have other parts.
        logits: (B, K), the network's, of all images; those of another network are not taken.
    """

    def __init__(self, folder: Path | None, belongs: dict[str, Any], logits: Tensor) -> None:
        self.folder = folder
        self._belongs = belongs
        self._logits = logits

    def read(self, stage: Stage, places: Tensor) -> tuple[Attacked, dict[str, float]] | None:
        """What is there of these images; None: nothing that fits.

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
        if not _alike(tensors["logits"], self._of(places)):
            return None
        return Attacked(tensors["images"], tensors["step"]), json.loads(noted["spent"])

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
    """Whether logits are those of the same network; a NaN is like nothing."""
    if found.shape != own.shape:
        return False
    own = own.double()
    return bool((found.double() - own).abs().max() <= _ALIKE * own.abs().max())
