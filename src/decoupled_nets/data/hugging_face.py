"""What the library `datasets` reads for us: its Arrow files, and the tar shards of webdataset."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from .cache import cache_folder
from .collection import Collection, Part
from .columns import IMAGE_COLUMNS, LABEL_COLUMNS, column_of, labels_in, may_be_labels
from .config import DataConfig
from .shards import Shards


def load_arrow(shards: Shards, name: str, config: DataConfig) -> Collection:
    """Find the images in the .arrow files that ``save_to_disk`` writes; they are read where they are.

    Raises:
        ValueError: `datasets` is missing, a file is damaged, or has no images or labels.
    """
    library = _library(next(iter(shards.splits.values()))[0])
    parts = []
    for split, files in shards.splits.items():
        try:
            data = library.concatenate_datasets([library.Dataset.from_file(str(file)) for file in files])
        except Exception as error:  # whatever Arrow raises
            raise ValueError(f"{files[0]} cannot be read as Arrow: {error}") from error
        parts.append(_part(library, data, split, files, config))
    return Collection(name, parts, left_out=shards.left_out, notes=shards.notes)


def load_webdataset(shards: Shards, name: str, config: DataConfig) -> Collection:
    """Find the images in tar files of ``<key>.jpg`` beside ``<key>.cls``; `datasets` makes a copy of them.

    Raises:
        ValueError: `datasets` is missing, a file is damaged, or has no images or labels.
    """
    library = _library(next(iter(shards.splits.values()))[0])
    place = cache_folder() / "datasets"
    parts = []
    shown = library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        for split, files in shards.splits.items():
            data = library.load_dataset(
                "webdataset", data_files={"train": [str(file) for file in files]}, split="train",
                cache_dir=str(place), download_config=library.DownloadConfig(local_files_only=True),
            )  # fmt: skip
            parts.append(_part(library, data, split, files, config))
    except library.exceptions.DatasetGenerationError as error:
        raise ValueError(f"{files[0]} cannot be read as a webdataset: {error.__cause__ or error}") from error
    finally:
        if not shown:
            library.enable_progress_bars()
    notes = [*shards.notes, f"tar files are read from a copy in {place}"]
    return Collection(name, parts, left_out=shards.left_out, notes=notes)


def _library(path: Path) -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"{path} is read by the library datasets, which is not installed; needed:"
            " pip install decoupled-nets[datasets]"
        ) from error
    return datasets


def _part(library: ModuleType, data: Any, split: str, files: list[Path], config: DataConfig) -> Part:
    images = [name for name, kind in data.features.items() if isinstance(kind, library.Image)]
    image = column_of("image", config.image_column, IMAGE_COLUMNS, images, data.column_names, files[0])
    if image is None or not len(data):
        raise ValueError(
            f"{files[0]} has {len(data)} rows and the columns {data.column_names}; needed: one of images"
        )
    schema = data.data.schema
    classes = [name for name, kind in data.features.items() if isinstance(kind, library.ClassLabel)]
    fitting = [
        field.name for field in schema if may_be_labels(field.type) and not field.name.startswith("__")
    ]
    fitting = classes if len(classes) == 1 else [name for name in fitting if name in LABEL_COLUMNS]
    label = column_of("label", config.label_column, LABEL_COLUMNS, fitting, data.column_names, files[0])
    labels = None
    if label is not None:
        column = data.select_columns([label]).with_format("arrow")[:][label]
        labels = labels_in([(files[0], column)], tuple(getattr(data.features[label], "names", None) or ()))
    reader = DatasetReader(
        data.select_columns([image]).cast_column(image, library.Image(decode=False)), files
    )
    source = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    return Part(split, source, reader, labels, torch.arange(len(data)))


@dataclass(frozen=True)
class DatasetReader:
    """Reads images out of a `datasets.Dataset`, whose files are mapped into memory.

    Attributes:
        data: The data set, with one column, of undecoded images.
        files: The files it was read from.
    """

    data: Any
    files: list[Path]
    window: ClassVar[int] = 0

    def open(self, row: int) -> Image.Image:
        """Open the image of a row."""
        (image,) = self.data[row].values()
        if image is None or (image["bytes"] is None and image["path"] is None):
            raise ValueError("the row has no image")
        return Image.open(image["path"] if image["bytes"] is None else io.BytesIO(image["bytes"]))

    def where(self, row: int) -> str:
        """Name the file, or the first of several, and the row."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}, row {row}"

    def blocks(self, rows: Tensor) -> None:
        """Rows can be read in any order."""

    def identity(self) -> Iterator[bytes]:
        """Names and sizes of the files, and the number of rows."""
        for file in self.files:
            yield repr((file.name, file.stat().st_size)).encode()
        yield str(len(self.data)).encode()
