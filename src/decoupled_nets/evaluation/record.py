"""What is kept of an attack on one network: a row an image, the changed images, a summary."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from .._files import write_atomically, write_text
from ..robustness import Robustness

SUMMARY = "summary.json"
ROWS = "images.parquet"
CHANGED = "adversarial.safetensors"


@dataclass
class Record:
    """An attack on one network, as its folder has it.

    Attributes:
        folder: Where it lies.
        summary: Plain values: see :meth:`Robustness.to_dict`, and what is known of the network.
        rows: One list a column, one entry an image.
    """

    folder: Path
    summary: dict[str, Any]
    rows: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What tables call the network."""
        return str(self.summary["label"])

    def column(self, name: str) -> Tensor:
        """A column of numbers or of truth values, (n,)."""
        return torch.tensor(self.rows[name])

    @property
    def changed(self) -> Tensor:
        """(n, C, H, W): what broke each image, or the last attempt."""
        return load_file(self.folder / CHANGED)["images"]


def write_record(
    folder: Path,
    found: Robustness,
    images: Tensor,
    attacked: Tensor,
    more: dict[str, Any],
    nearest: Tensor | None,
) -> Record:
    """Write the folder of a network; the summary last, which says that it is whole.

    Args:
        folder: of the network.
        found: what the attacks left.
        images: (n, C, H, W), unchanged.
        attacked: (n,), what the network takes the changed images for.
        more: what else the summary says.
        nearest: (n,), the smallest change found of each; None: it was not looked for.
    """
    changed = found.adversarial.contiguous()
    write_atomically(folder / CHANGED, lambda file: file.write(save({"images": changed})))
    change = (changed.double() - images.cpu().double()).flatten(1)
    rows: dict[str, Any] = {
        "index": list(range(len(found))),
        "sha256": [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images.cpu()],
        "label": found.labels.tolist(),
        "prediction": found.logits.argmax(1).tolist(),
        "attacked_prediction": attacked.tolist(),
        "margin": found.margin.tolist(),
        "clean": found.clean.tolist(),
        "robust": found.robust.tolist(),
        "broken_by": found.broken_by,
        "step": found.step.tolist(),
        "distance": found.distance.tolist(),
        "change_linf": change.abs().amax(1).tolist(),
        "change_l2": change.square().sum(1).sqrt().tolist(),
    }
    if nearest is not None:
        rows["nearest"] = nearest.double().tolist()
    for stage in found.stages:
        rows[f"broken: {stage.name}"] = stage.broken.tolist()
        rows[f"step: {stage.name}"] = stage.steps.tolist()
    file = io.BytesIO()
    pq.write_table(pa.table(rows), file)
    write_atomically(folder / ROWS, lambda out: out.write(file.getvalue()))
    summary = {**more, **found.to_dict()}
    write_text(folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False))
    return Record(folder, summary, rows)


def read_record(folder: Path) -> Record | None:
    """What the folder of a network holds; None: nothing that is whole.

    Raises:
        ValueError: it is damaged.
    """
    if not (folder / SUMMARY).is_file():
        return None
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        rows = pq.read_table(folder / ROWS).to_pydict()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(
            f"{folder} is damaged ({' '.join(str(error).split())}); needed: --restart, or another folder"
        ) from error
    return Record(folder, summary, rows)
