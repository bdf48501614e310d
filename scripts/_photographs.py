"""Photographs from folders and Parquet files, as a network for ImageNet takes them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png"}
SIZE, RESIZED = 224, 256


def split(path: Path, calibration: int, evaluation: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Images to calibrate with, of the first quarter of a source, and others to measure with."""
    images = list(_images(path)) if path.is_dir() else list(_stored(path, 1000))
    quarter = len(images) // 4
    return _evenly(images[:quarter], calibration), _evenly(images[quarter:], evaluation)


def _images(folder: Path) -> Iterator[Image.Image]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            yield Image.open(path)


def _stored(path: Path, most: int) -> Iterator[Image.Image]:
    """Of the first column that holds images as Hugging Face stores them."""
    table = parquet.read_table(path).slice(0, most)
    name = next(field.name for field in table.schema if str(field.type).startswith("struct<bytes"))
    for entry in table[name].to_pylist():
        yield Image.open(io.BytesIO(entry["bytes"]))


def _evenly(images: list[Image.Image], count: int) -> list[Image.Image]:
    count = min(count, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def prepared(image: Image.Image, jpeg: int | None = None) -> Tensor:
    """(3, 224, 224) in [-1, 1]: shorter side at 256, the middle; recompressed with the quality `jpeg`."""
    image = image.convert("RGB")
    factor = RESIZED / min(image.size)
    width, height = (round(side * factor) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    image = image.crop((left, top, left + SIZE, top + SIZE))
    if jpeg is not None:
        buffer = io.BytesIO()
        image.save(buffer, "jpeg", quality=jpeg)
        image = Image.open(buffer).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
