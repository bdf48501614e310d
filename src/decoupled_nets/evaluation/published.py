"""Published corrupted images: a folder of ``fog.npy`` and so on with ``labels.npy``, as CIFAR-10-C has it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..robustness.corruptions import SEVERITIES, corruptions

LABELS = "labels.npy"


class Published:
    """The files of a folder: (5 N, H, W, C) or (5 N, H, W), uint8, severity after severity.

    Args:
        folder: with the files.

    Raises:
        FileNotFoundError: it has no labels, or no file of a corruption.
        ValueError: a file is not as it must be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.names = [name for name in corruptions() if (self.folder / f"{name}.npy").is_file()]
        if not (self.folder / LABELS).is_file() or not self.names:
            raise FileNotFoundError(
                f"{folder} holds no {LABELS} or no file such as fog.npy; needed: the folder of CIFAR-10-C, or"
                " one laid out like it"
            )
        for name in self.names:
            self._file(name)

    @cached_property
    def labels(self) -> Tensor:
        """The labels of the images of one severity, (N,) int64; those of all severities are the same.

        Raises:
            ValueError: they are not.
        """
        given = np.load(self.folder / LABELS, allow_pickle=False)
        if given.ndim != 1 or given.dtype.kind not in "iu" or not len(given) or len(given) % len(SEVERITIES):
            raise ValueError(
                f"{self.folder / LABELS} holds {given.dtype} of shape {given.shape}; needed: whole numbers,"
                " one an image, five severities one after the other"
            )
        rows = given.reshape(len(SEVERITIES), -1)
        if (rows != rows[0]).any():
            raise ValueError(
                f"{self.folder / LABELS} has other labels at other severities; needed: the same images at all"
            )
        return torch.from_numpy(rows[0].astype(np.int64))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, height, width, *channels = self._file(self.names[0]).shape
        return (channels or [1])[0], height, width

    @property
    def digest(self) -> str:
        """What results belong to: a hash of the labels, and of names, sizes and times of the files."""
        said = hashlib.sha256(self.labels.numpy().tobytes())
        for name in self.names:
            known = (self.folder / f"{name}.npy").stat()
            said.update(f"{name}\0{known.st_size}\0{known.st_mtime_ns}\0".encode())
        return said.hexdigest()

    def images(self, name: str, severity: int, places: Tensor) -> Tensor:
        """(n, C, H, W), float32 in [0, 1]: the images of these numbers."""
        file = self._file(name)
        rows = file[(severity - 1) * len(self.labels) + places.numpy()]
        pixels = torch.from_numpy(np.ascontiguousarray(rows)).reshape(len(places), *file.shape[1:3], -1)
        return pixels.permute(0, 3, 1, 2).to(torch.float32) / 255

    def _file(self, name: str) -> Any:
        path = self.folder / f"{name}.npy"
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        right = found.dtype == np.uint8 and (
            found.ndim == 3 or (found.ndim == 4 and found.shape[3] in (1, 3))
        )
        if not right or len(found) != len(SEVERITIES) * len(self.labels):
            raise ValueError(
                f"{path} holds {found.dtype} of shape {found.shape}; needed: uint8"
                f" ({len(SEVERITIES) * len(self.labels)}, H, W, C), as many images as {LABELS} has"
            )
        return found
