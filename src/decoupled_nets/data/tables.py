"""Tables that name image files and their labels: metadata.csv, metadata.jsonl, or any such table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import torch

from .collection import Collection, Part
from .columns import (
    FILE_COLUMNS,
    LABEL_COLUMNS,
    column_of,
    labels_in,
    may_be_labels,
    split_column,
    text_column,
)
from .config import DataConfig
from .roles import role_of
from .split import FileReader

TABLES = (".csv", ".tsv", ".jsonl")


def load_table(path: Path, config: DataConfig) -> Collection:
    """Find the images that a table names, relative to its folder.

    A column ``split``, or one called like it (``subset``, ...), says which split an image is in.

    Raises:
        FileNotFoundError: an image that does not exist.
        ValueError: no table, or no column of files or labels.
    """
    table = read_table(path)
    name = label_column(table, path, config)
    if name is None:
        raise ValueError(f"{path} has the columns {table.column_names}; needed: one of labels (label_column)")
    reader, rows = files_of(table, path, config, {})
    return Collection(path.stem, parts_of(table, path, reader, rows, name))


def read_table(path: Path) -> pa.Table:
    """Read .csv, .tsv, .jsonl or .parquet.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        if path.suffix.lower() == ".jsonl":
            return pa.json.read_json(path)
        tabs = pa.csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        return pa.csv.read_csv(path, parse_options=tabs)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error


def label_column(table: pa.Table, path: Path, config: DataConfig, *, known_only: bool = False) -> str | None:
    """The column of labels; `known_only`: one that is given or has a known name."""
    file = file_column(table, path, config)
    fitting = [
        field.name
        for field in table.schema
        if may_be_labels(field.type) and field.name not in (file, _split_column(table))
    ]
    if known_only:
        fitting = [name for name in fitting if name.lower() in LABEL_COLUMNS]
    name = column_of("label", config.label_column, LABEL_COLUMNS, fitting, table.column_names, path)
    guessed = config.label_column is None and name is not None and name.lower() not in LABEL_COLUMNS
    if guessed and len(table[name].unique()) == len(table):
        raise ValueError(
            f"{path}: column {name!r} has another value in each row; needed: label_column, the name of the"
            " column of labels"
        )
    return name


def _split_column(table: pa.Table) -> str | None:
    return split_column(table.column_names, lambda name: pc.unique(table[name].cast(pa.string())).to_pylist())


def file_column(table: pa.Table, path: Path, config: DataConfig) -> str:
    """The column of image files.

    Raises:
        ValueError: there is none.
    """
    fitting = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    known = [name for name in fitting if name.lower() in FILE_COLUMNS]
    name = column_of("image", config.image_column, FILE_COLUMNS, known, table.column_names, path)
    if name is None:
        raise ValueError(
            f"{path} has the columns {table.column_names}; needed: one of image files, such as file_name"
            " (image_column)"
        )
    return name


def files_of(
    table: pa.Table, path: Path, config: DataConfig, sizes: Mapping[str, int]
) -> tuple[FileReader, list[int]]:
    """The image files that a table names, sorted, and the row of each.

    Args:
        table: The table.
        path: Where it is: names are relative to its folder.
        config: The options.
        sizes: Sizes in bytes of the files that are known already.

    Raises:
        FileNotFoundError: files that do not exist.
    """
    root = path.parent.as_posix()
    column = file_column(table, path, config)
    names = text_column(table, column)
    if None in names:
        raise ValueError(
            f"{path}, row {names.index(None)}: no file in column {column!r}; needed: a file in each"
        )
    named = sorted((str(name).replace("\\", "/").removeprefix("./"), row) for row, name in enumerate(names))
    found, missing = [], []
    for name, _ in named:
        size = sizes.get(name)
        if size is None:
            try:
                size = os.stat(f"{root}/{name}").st_size  # noqa: PTH116
            except OSError:
                missing.append(name)
                size = 0
        found.append(size)
    if missing:
        raise FileNotFoundError(
            f"{path}: {len(missing):,} of {len(names):,} images do not exist, such as {missing[0]!r}; needed:"
            f" paths relative to {root}"
        )
    return FileReader(root, [name for name, _ in named], torch.tensor(found)), [row for _, row in named]


def _check_listed_once(table: pa.Table, path: Path, reader: FileReader, rows: list[int], label: str) -> None:
    """Refuse a file that is listed again: it would be in two splits, or of two classes."""
    names = reader.names  # sorted
    again = [k for k in range(1, len(names)) if names[k] == names[k - 1]]
    if again:
        labels = text_column(table.select([label]).slice(again[0] - 1, 2), label)
        raise ValueError(
            f"{path} lists {len(again):,} images again, such as {names[again[0]]!r} in the rows"
            f" {rows[again[0] - 1]} and {rows[again[0]]} ({labels[0]} and {labels[1]}); needed: each"
            " image once, or it may be trained on and tested"
        )


def parts_of(
    table: pa.Table, path: Path, reader: FileReader, rows: list[int], label: str, by_folder: bool = False
) -> list[Part]:
    """The splits of a table: by its column of splits, by the folders of its files, or one.

    Args:
        table: The table.
        path: Where it is.
        reader: Its files.
        rows: The row of each file.
        label: Name of the column of labels.
        by_folder: Whether the first folder of a file's path may be its split.
    """
    table = table.take(pa.array(rows))
    _check_listed_once(table, path, reader, rows, label)
    split = _split_column(table)
    if split is not None and split != label:
        keys = [str(key) for key in text_column(table, split)]
    elif by_folder and all(role_of(name.partition("/")[0]) and "/" in name for name in reader.names):
        keys = [name.partition("/")[0] for name in reader.names]
    else:
        labels = labels_in([(path, table[label])], places=rows)
        return [Part("all", path.name, reader, labels)]
    parts = []
    for key in sorted(set(keys)):
        own = torch.tensor([row for row, other in enumerate(keys) if other == key])
        places = [rows[k] for k in own.tolist()]
        labels = labels_in([(path, table[label].take(pa.array(own.numpy())))], places=places)
        parts.append(Part(key, f"{path.name}, {key}", reader, labels, own))
    return parts
