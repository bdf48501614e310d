"""Parquet files as Hugging Face lays out image data sets."""

from __future__ import annotations

import bisect
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from .collection import Collection, Labels, Part
from .columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    MASK_COLUMNS,
    column_of,
    labels_in,
    may_be_labels,
    split_column,
)
from .config import DataConfig
from .roles import role_of
from .shards import Shards

# An epoch mixes the rows of so many row groups at a time as have this size together, at least four: enough to
# break up a sorted file, little enough for each worker to hold in memory.
_HELD_BYTES, _HELD_LEAST = 2**28, 4

T = TypeVar("T")


def load_parquet(shards: Shards, name: str, config: DataConfig) -> Collection:
    """Find the images in Parquet files: a column of images, ``{bytes, path}`` or bytes, and one of labels.

    Class names come from the ``huggingface`` metadata of the schema; without it the labels are the names.

    Raises:
        ValueError: a truncated file, missing columns, a label outside the classes, an empty split; names the
            file.
    """
    # The training split says which columns there are: a test may come without labels.
    first = next((split for split in shards.splits if role_of(split) == "train"), next(iter(shards.splits)))
    path = shards.splits[config.train_split if config.train_split in shards.splits else first][0]
    schema = _checked(path, pq.read_schema, path)
    image, label = _image_column(schema, path, config), _label_column(schema, path, config)
    parts = [_part(split, files, image, label) for split, files in shards.splits.items()]
    if len(parts) == 1 and parts[0].name == "all":
        parts = _by_column(parts[0], shards.splits["all"], schema, {image, label})
    return Collection(name, parts, left_out=shards.left_out, notes=shards.notes)


def load_mask_parquet(shards: Shards, name: str, config: DataConfig) -> Collection:
    """Find images and masks in Parquet files: two columns of images.

    Raises:
        ValueError: a truncated file, missing columns, an empty split; names the file.
    """
    path = next(iter(shards.splits.values()))[0]
    schema = _checked(path, pq.read_schema, path)
    fitting = [field.name for field in schema if _holds_images(field.type)]
    mask = column_of("mask", config.mask_column, MASK_COLUMNS, _known_masks(fitting), schema.names, path)
    if mask is None:
        raise ValueError(
            f"{path} has the columns {schema.names}; needed: mask_column, the name of one of masks"
        )
    others = [column for column in fitting if column != mask]
    image = column_of("image", config.image_column, IMAGE_COLUMNS, others, schema.names, path)
    if image is None:
        raise ValueError(f"{path} has the columns {schema.names}; needed: one of images beside {mask!r}")
    parts = []
    for split, files in shards.splits.items():
        part = _part(split, files, image, "")
        assert isinstance(part.reader, ParquetReader)
        assert part.rows is not None
        labels = Labels(torch.zeros(len(part.rows), dtype=torch.int64), ("images",), declared=True)
        parts.append(replace(part, labels=labels, masks=replace(part.reader, column=mask)))
    return Collection(name, parts, left_out=shards.left_out, notes=shards.notes)


def _known_masks(columns: list[str]) -> list[str]:
    return [name for name in columns if name.lower() in MASK_COLUMNS]


@dataclass(frozen=True)
class ParquetReader:
    """Reads images out of row groups, a few of which stay in memory.

    Attributes:
        groups: File and number of each row group.
        starts: First row of each row group.
        column: Name of the image column.
        files: Name, size in bytes and number of rows of each file.
        window: How many row groups are held at a time.
    """

    groups: list[tuple[str, int]]
    starts: list[int]
    column: str
    files: list[tuple[str, int, int]]
    window: int

    def _find(self, row: int) -> tuple[int, int]:
        group = bisect.bisect_right(self.starts, row) - 1
        return group, row - self.starts[group]

    def open(self, row: int) -> Image.Image:
        """Open the image of a row."""
        group, offset = self._find(row)
        content = _row_group(*self.groups[group], self.column, self.window)[offset].as_py()
        if content is None:
            raise ValueError("the row has no image bytes; needed: images embedded in the Parquet file")
        return Image.open(io.BytesIO(content))

    def where(self, row: int) -> str:
        """Name the file and the row in it."""
        group, _ = self._find(row)
        path = self.groups[group][0]
        first = next(start for (file, _), start in zip(self.groups, self.starts, strict=True) if file == path)
        return f"{path}, row {row - first}"

    def blocks(self, rows: Tensor) -> Tensor:
        """Number the row group of each row."""
        return torch.bucketize(rows, torch.tensor(self.starts), right=True) - 1

    def identity(self) -> Iterator[bytes]:
        """Names, sizes and rows of the files."""
        return (repr(file).encode() for file in self.files)


# Per process, so that a reader can be sent to a worker; the last used is the last.
_held: OrderedDict[tuple[str, int, str], pa.Array] = OrderedDict()


def _row_group(path: str, group: int, column: str, window: int) -> pa.Array:
    key = (path, group, column)
    if key not in _held:
        while len(_held) > window:
            _held.popitem(last=False)
        _held[key] = _read_images(path, group, column)
    _held.move_to_end(key)
    return _held[key]


def _read_images(path: str, group: int, column: str) -> pa.Array:
    table = _checked(path, _read_group, path, group, column)
    images = table[column].combine_chunks()
    return images.field("bytes") if pa.types.is_struct(images.type) else images


def _read_group(path: str, group: int, column: str) -> pa.Table:
    return pq.ParquetFile(path).read_row_group(group, [column], use_threads=False)


def _checked(path: str | Path, read: Callable[..., T], *arguments: object, **options: object) -> T:
    try:
        return read(*arguments, **options)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet; it is truncated or damaged: {error}") from error


def _part(split: str, files: list[Path], image: str, label: str) -> Part:
    schema = _checked(files[0], pq.read_schema, files[0])
    labelled = label in schema.names
    groups: list[tuple[str, int]] = []
    starts: list[int] = []
    sizes: list[tuple[str, int, int]] = []
    rows = size = 0
    columns: list[tuple[Path, pa.ChunkedArray]] = []
    for path in files:
        file = _checked(path, pq.ParquetFile, path)
        _check_columns(file.schema_arrow, image, label if labelled else None, path)
        for group in range(file.num_row_groups):
            groups.append((str(path), group))
            starts.append(rows)
            rows += file.metadata.row_group(group).num_rows
            size += file.metadata.row_group(group).total_byte_size
        sizes.append((path.name, path.stat().st_size, file.metadata.num_rows))
        if labelled:
            columns.append((path, _checked(path, file.read, [label])[label]))
    if rows == 0:
        raise ValueError(f"{', '.join(map(str, files))}: no rows; needed: one image or more in each split")
    labels = labels_in(columns, _class_names(schema, label)) if labelled else None
    if labels is not None and label.lower() not in LABEL_COLUMNS and len(labels.names) == rows > 2:
        raise ValueError(
            f"{files[0]}: column {label!r} has another value in each row; needed: label_column, the name of"
            " the column of labels"
        )
    source = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    if split in (parent := files[0].parent.name):
        source = f"{parent}/{source}"
    window = max(_HELD_LEAST, _HELD_BYTES * len(groups) // max(size, 1))
    return Part(
        split, source, ParquetReader(groups, starts, image, sizes, window), labels, torch.arange(rows)
    )


def _by_column(part: Part, files: list[Path], schema: pa.Schema, used: set[str]) -> list[Part]:
    """Take files that hold all splits apart, if a column says which row is of which."""
    texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]

    def column(name: str) -> pa.ChunkedArray:
        read = [_checked(file, pq.read_table, file, columns=[name])[name] for file in files]
        return pa.chunked_array([chunk for one in read for chunk in one.chunks], schema.field(name).type)

    name = split_column(
        [name for name in texts if name not in used], lambda name: column(name).unique().to_pylist()
    )
    if name is None or part.labels is None or part.rows is None:
        return [part]
    keys = [str(key) for key in column(name).to_pylist()]
    parts = []
    for key in sorted(set(keys)):
        rows = torch.tensor([row for row, other in enumerate(keys) if other == key])
        codes = part.labels.codes[rows]
        labels = replace(part.labels, codes=codes)
        parts.append(Part(key, f"{part.source}, {name} {key}", part.reader, labels, rows))
    return parts


def _image_column(schema: pa.Schema, path: Path, config: DataConfig) -> str:
    fitting = [field.name for field in schema if _holds_images(field.type)]
    name = column_of("image", config.image_column, IMAGE_COLUMNS, fitting, schema.names, path)
    # Where none fits, a column of a known name is the one to complain of.
    name = name or next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if name is None:
        raise ValueError(
            f"{path} has the columns {schema.names}; needed: one of images, struct<bytes: binary, path:"
            " string> or binary (image_column)"
        )
    return name


def _label_column(schema: pa.Schema, path: Path, config: DataConfig) -> str:
    features = _features(schema)
    classes = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    fitting = classes if len(classes) == 1 else [field.name for field in schema if may_be_labels(field.type)]
    name = column_of("label", config.label_column, LABEL_COLUMNS, fitting, schema.names, path)
    # Where none fits, a column of a known name is the one to complain of.
    name = name or next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if name is None:
        raise ValueError(
            f"{path} has the columns {schema.names}; needed: one of labels, integers or texts (label_column)"
        )
    return name


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(part.name == "bytes" and part.type in (pa.binary(), pa.large_binary()) for part in kind)
    return kind in (pa.binary(), pa.large_binary())


def _check_columns(schema: pa.Schema, image: str, label: str | None, path: Path) -> None:
    for name in (image, label):
        if name is not None and name not in schema.names:
            raise ValueError(f"{path} has the columns {schema.names}; needed: {name}, as in the first file")
    kind = schema.field(image).type
    if not _holds_images(kind):
        raise ValueError(
            f"{path}: column {image!r} has type {kind}; needed: struct<bytes: binary, path: string>"
        )
    if (
        label is not None
        and not pa.types.is_null(kind := schema.field(label).type)
        and not may_be_labels(kind)
    ):
        raise ValueError(
            f"{path}: column {label!r} has type {kind}; needed: integers or texts (label_column)"
        )


def _features(schema: pa.Schema) -> dict[str, dict]:
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    return {
        name: feature
        for name, feature in described.get("info", {}).get("features", {}).items()
        if isinstance(feature, dict)
    }


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    return tuple(_features(schema).get(label, {}).get("names", ()))
