"""Depth maps as they are stored: 8- and 16-bit grey images, floating-point TIFF, and arrays of numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from . import decode
from .split import FileReader

Values = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]
_GREY = ("L", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")


def read_depth(path: Path) -> Values:
    """A depth map, (H, W) float32, NaN where it is not finite; errors as of :func:`stored_depth`."""
    return finite(stored_depth(path))


def stored_depth(path: Path) -> Stored:
    """A depth map, (H, W), values as stored, in the type that they are stored in.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no map of one number a pixel.
    """
    return _array(path) if path.suffix.lower() == ".npy" else _image(path)


def finite(stored: Stored) -> Values:
    """The values of a map as float32, NaN where they are not finite."""
    found = stored.astype(np.float32)
    return np.where(np.isfinite(found), found, np.float32("nan"))


def _array(path: Path) -> Stored:
    values = np.load(path, allow_pickle=False)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.reshape([n for k, n in enumerate(values.shape) if n != 1 or k == 1])
    if values.ndim != 2 or not (np.issubdtype(values.dtype, np.number) and np.isrealobj(values)):
        raise ValueError(
            f"it is an array of {values.dtype} of shape {values.shape}; needed: (H, W), real numbers"
        )
    return values


def _image(path: Path) -> Stored:
    with Image.open(path) as image:
        if image.format == "JPEG":
            raise ValueError("it is a JPEG, which changes values; needed: depth without loss, such as PNG")
        if decode.header(image).reduced:  # Pillow would give the upper 8 bits
            raise ValueError(
                "it has several channels of 16 bits, of which only 8 can be read; needed: one channel, such"
                " as 16-bit grey PNG, or .npy"
            )
        image.load()
        values = np.asarray(image)
        if values.ndim == 3:  # grey, in several channels
            colours = values[..., [band != "A" for band in image.getbands()]]
            if not (colours == colours[..., :1]).all():
                raise ValueError(f"it has colours (mode {image.mode}); needed: one number for each pixel")
            return colours[..., 0]
        if image.mode not in _GREY:
            raise ValueError(f"it is of mode {image.mode}; needed: grey of 8, 16 or 32 bits")
    return values


@dataclass(frozen=True)
class DepthFiles(FileReader):
    """One depth map a row, in files."""

    def values(self, row: int) -> Values:
        """(H, W), NaN where a value is not finite; errors as of :func:`read_depth`."""
        return read_depth(Path(self.where(row)))


@dataclass(frozen=True)
class DepthArrays:
    """Depth maps that are in memory already: (N, H, W), float32."""

    maps: Tensor
    window: ClassVar[int] = 0

    def open(self, row: int) -> Image.Image:
        """The map of a row, as an image."""
        return Image.fromarray(self.values(row))

    def values(self, row: int) -> Values:
        """(H, W)."""
        return self.maps[row].numpy()

    def where(self, row: int) -> str:
        """Name the row."""
        return f"map {row}"

    def blocks(self, rows: Tensor) -> None:
        """Rows can be read in any order."""

    def identity(self) -> Iterator[bytes]:
        """Shape and values."""
        yield str(tuple(self.maps.shape)).encode()
        yield self.maps.contiguous().numpy().tobytes()


def filled(depth: Tensor) -> Tensor:
    """A map (H, W) whose missing values, NaN, have the mean of the nearest that are there; 0: there are none.

    Holes are filled from their rims, a pixel at a time.
    """
    depth = depth.clone()
    while True:
        there = ~depth.isnan()
        if there.all() or not there.any():
            return depth.nan_to_num()
        around = [
            F.avg_pool2d(x[None, None], 3, stride=1, padding=1)[0, 0]
            for x in (depth.nan_to_num(), there.to(depth))
        ]
        depth = torch.where(there, depth, around[0] / around[1])  # 0/0 stays missing
