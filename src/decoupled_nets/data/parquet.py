"""Parquet files as Hugging Face lays out image data sets."""

from __future__ import annotations

import bisect
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from . import sampling
from .split import Source, held_out, split_of

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
TEST_NAMES = ("test", "validation", "val")

T = TypeVar("T")


def load_parquet(files: list[Path], name: str) -> Source:
    """Find the images in Parquet files with an image column ``{bytes, path}`` and an integer label column.

    The start of a file's name (``train-``, ``test-``, ``validation-``) says its split. Without files for the
    test a fifth of each class is held out. Class names come from the ``huggingface`` metadata of the schema;
    without it the labels are the names.

    Raises:
        ValueError: a truncated file, missing columns, a label outside the classes, an empty split; names the
            file.
    """
    tests = next((found for split in TEST_NAMES if (found := _named(files, split))), [])
    others = {path for split in TEST_NAMES for path in _named(files, split)}
    trains = _named(files, "train") or [path for path in files if path not in others]
    if not trains:
        raise ValueError(f"{files[0].parent} has files for the test only; needed: train-*.parquet")
    train, train_labels, classes = _read_split(trains)
    if not tests:
        return Source(name, classes, *held_out(train, train_labels, name))
    test, test_labels, test_classes = _read_split(tests)
    if classes[: len(test_classes)] != test_classes:
        raise ValueError(
            f"{tests[0]} has the classes {test_classes}, while {trains[0]} has {classes};"
            " needed: the same classes in both splits"
        )
    return Source(name, classes, split_of(train, train_labels), split_of(test, test_labels))


@dataclass(frozen=True)
class ParquetReader:
    """Reads images out of row groups, a few of which stay in memory.

    Attributes:
        groups: File and number of each row group.
        starts: First row of each row group.
        column: Name of the image column.
    """

    groups: list[tuple[str, int]]
    starts: list[int]
    column: str

    def _find(self, row: int) -> tuple[int, int]:
        group = bisect.bisect_right(self.starts, row) - 1
        return group, row - self.starts[group]

    def open(self, row: int) -> Image.Image:
        """Open the image of a row."""
        group, offset = self._find(row)
        content = _row_group(*self.groups[group], self.column)[offset].as_py()
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


# Kept per process, so that a reader can be sent to a worker.
@lru_cache(maxsize=sampling.WINDOW + 1)
def _row_group(path: str, group: int, column: str) -> pa.Array:
    table = _checked(path, _read_group, path, group, column)
    return table[column].combine_chunks().field("bytes")


def _read_group(path: str, group: int, column: str) -> pa.Table:
    return pq.ParquetFile(path).read_row_group(group, [column], use_threads=False)


def _checked(path: str | Path, read: Callable[..., T], *arguments: object) -> T:
    try:
        return read(*arguments)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet; it is truncated or damaged: {error}") from error


def _named(files: list[Path], split: str) -> list[Path]:
    return [path for path in files if path.stem == split or path.name.startswith((f"{split}-", f"{split}_"))]


def _read_split(files: list[Path]) -> tuple[ParquetReader, Tensor, tuple[str, ...]]:
    schema = _checked(files[0], pq.read_schema, files[0])
    image, label = _column(schema, IMAGE_COLUMNS, files[0]), _column(schema, LABEL_COLUMNS, files[0])
    names = _class_names(schema, label)
    groups: list[tuple[str, int]] = []
    starts: list[int] = []
    rows = 0
    labels: list[Tensor] = []
    for path in files:
        file = _checked(path, pq.ParquetFile, path)
        _check_columns(file.schema_arrow, image, label, path)
        for group in range(file.num_row_groups):
            groups.append((str(path), group))
            starts.append(rows)
            rows += file.metadata.row_group(group).num_rows
        column = _checked(path, file.read, [label])[label]
        labels.append(_check_labels(column, names, path))
    if rows == 0:
        raise ValueError(f"{', '.join(map(str, files))}: no rows; needed: one image or more in each split")
    together = torch.cat(labels)
    classes = names or tuple(str(label) for label in range(int(together.max()) + 1))
    return ParquetReader(groups, starts, image), together, classes


def _column(schema: pa.Schema, names: tuple[str, ...], path: Path) -> str:
    found = next((name for name in names if name in schema.names), None)
    if found is None:
        raise ValueError(f"{path} has the columns {schema.names}; needed: one of {', '.join(names)}")
    return found


def _check_columns(schema: pa.Schema, image: str, label: str, path: Path) -> None:
    kind = schema.field(_column(schema, (image,), path)).type
    parts = {part.name: part.type for part in kind} if pa.types.is_struct(kind) else {}
    if parts.get("bytes") not in (pa.binary(), pa.large_binary()):
        raise ValueError(
            f"{path}: column {image!r} has type {kind}; needed: struct<bytes: binary, path: string>"
        )
    kind = schema.field(_column(schema, (label,), path)).type
    if not pa.types.is_integer(kind):
        raise ValueError(f"{path}: column {label!r} has type {kind}; needed: integers")


def _check_labels(column: pa.ChunkedArray, names: tuple[str, ...], path: Path) -> Tensor:
    if column.null_count:
        raise ValueError(f"{path}: {column.null_count} rows have no label; needed: a label in each")
    labels = torch.from_numpy(column.to_numpy().copy()).long()
    wrong = (labels < 0) | (labels >= len(names)) if names else labels < 0
    if wrong.any():
        row = int(wrong.nonzero()[0])
        needed = f"0 to {len(names) - 1}" if names else "0 or more"
        raise ValueError(
            f"{path}, row {row}: label {int(labels[row])} is outside the classes; needed: {needed}"
        )
    return labels


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = described.get("info", {}).get("features", {}).get(label, {})
    return tuple(feature.get("names", ()))
