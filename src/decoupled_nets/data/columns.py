"""Which columns of a table hold images and labels, and the labels in a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from .collection import Labels, in_order
from .config import DataConfig
from .roles import role_of

IMAGE_COLUMNS = ("image", "img", "images", "pixel_values", "jpg", "png", "jpeg", "webp")
MASK_COLUMNS = (
    "mask", "masks", "segmentation_mask", "segmentation", "label", "labels", "annotation", "annotations",
    "semantic", "semantic_segmentation", "seg_map", "target",
)  # fmt: skip
FILE_COLUMNS = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image_file", "image",
    "img", "image_name", "image_id",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "fine_label", "class", "class_name", "classes", "target", "targets", "category",
    "class_label", "label_name", "cls", "y",
)  # fmt: skip

_SPLIT_COLUMNS = ("split", "splits", "subset", "partition", "set", "data_set", "dataset", "phase", "usage")

Columns = Sequence[tuple[Path, pa.ChunkedArray]]


def column_of(
    what: str,
    given: str | None,
    known: Sequence[str],
    fitting: Sequence[str],
    every: Sequence[str],
    where: object,
) -> str | None:
    """The name of the column of images or labels.

    Args:
        what: `image` or `label`; the option is called ``<what>_column``.
        given: The name that the user gave.
        known: Names that are known, those to prefer first.
        fitting: Names of the columns whose type fits.
        every: Names of all columns.
        where: The file, for messages.

    Returns:
        The given one, a known one, or the only one that fits; None: none fits.

    Raises:
        ValueError: there is no column of that name, or several could be meant.
    """
    if given is not None:
        if given not in every:
            raise ValueError(f"{where} has no column {given!r} ({what}_column); needed: one of {list(every)}")
        return given
    lower = {name.lower(): name for name in reversed(fitting)}
    if found := next((lower[name] for name in known if name in lower), None):
        return found
    if len(fitting) > 1:
        raise ValueError(
            f"{where} has the columns {list(every)}, of which {', '.join(fitting)} could hold the {what}s;"
            f" needed: {what}_column, the name of one"
        )
    return fitting[0] if fitting else None


def ignored_columns(config: DataConfig, why: str) -> list[str]:
    """A note, if there is need of one, that no column is read, though the user named some."""
    given = [name for name in ("image_column", "label_column") if getattr(config, name) is not None]
    return [f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} ignored: {why}"] if given else []


def split_column(names: Sequence[str], texts: Callable[[str], Sequence[str | None]]) -> str | None:
    """The column that says which split a row is of: called ``split``, or alike with names of splits in it.

    Args:
        names: Names of the columns that hold texts.
        texts: The different texts in a column.
    """
    by_name = {name.lower(): name for name in reversed(names)}
    known = [by_name[name] for name in _SPLIT_COLUMNS if name in by_name]
    if known and known[0].lower() == "split":
        return known[0]
    return next((name for name in known if all(role_of(text or "") for text in texts(name))), None)


def may_be_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold labels: integers, texts, truth values."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def labels_in(
    columns: Columns, declared: tuple[str, ...] = (), places: Sequence[int] | None = None
) -> Labels | None:
    """The labels in the label columns of the files of a split.

    Args:
        columns: Each file with its column.
        declared: Names of the classes, which integers are numbers of.
        places: The row in its file of each row of a column, for messages; without it they are in order.

    Returns:
        Labels; None: every row is null or −1, which is how data sets write "not given".

    Raises:
        ValueError: rows without a label among others with one, a number outside the classes; names file and
            row.
    """
    columns = [
        (path, _blank_is_null(c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c))
        for path, c in columns
    ]
    rows = sum(len(column) for _, column in columns)
    if rows == sum(column.null_count for _, column in columns):
        return None
    for path, column in columns:
        if column.null_count:
            empty = column.is_null().to_numpy().nonzero()[0].tolist()
            row = min(empty if places is None else (places[k] for k in empty))
            raise ValueError(
                f"{path}: {column.null_count} rows have no label, the first is row {row}; needed: a label in"
                " each"
            )
        if not may_be_labels(column.type):
            raise ValueError(
                f"{path}: the labels have type {column.type}; needed: integers or texts (label_column: other"
                " column)"
            )
    if all(pa.types.is_integer(column.type) for _, column in columns):
        return _integers(
            [(path, column.cast(pa.int64()).to_numpy()) for path, column in columns], declared, places
        )
    texts = [chunk for _, column in columns for chunk in column.cast(pa.string()).chunks]
    coded = pa.concat_arrays(texts).dictionary_encode()
    names = coded.dictionary.to_pylist()
    if declared and set(names) <= set(declared):
        order = list(declared)
    else:
        order, declared = in_order(names), ()
    place = {name: k for k, name in enumerate(order)}
    numbers = torch.from_numpy(coded.indices.to_numpy().astype(np.int64))
    codes = torch.tensor([place[name] for name in names])[numbers]
    return Labels(codes, tuple(order), bool(declared))


def _blank_is_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """An empty cell of a table of texts is no class without a name."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    return pc.if_else(pc.fill_null(blank, False), pa.scalar(None, column.type), column)


def _integers(
    columns: Sequence[tuple[Path, np.ndarray]], declared: tuple[str, ...], places: Sequence[int] | None
) -> Labels | None:
    together = np.concatenate([values for _, values in columns])
    values = np.unique(together)
    if values.tolist() == [-1]:
        return None
    # Where classes count from 0, −1 is no class but "not given".
    least = 0 if declared or 0 in values else values[0]
    most = len(declared) - 1 if declared else values[-1]
    for path, numbers in columns:
        wrong = (numbers < least) | (numbers > most)
        if wrong.any():
            row = int(wrong.argmax())
            at = row if places is None else places[row]
            needed = f"0 to {len(declared) - 1}" if declared else "0 or more"
            raise ValueError(
                f"{path}, row {at}: label {numbers[row]} is outside the classes; needed: {needed}"
            )
    if declared:
        return Labels(torch.from_numpy(together.copy()), declared, declared=True)
    codes = torch.from_numpy(np.searchsorted(values, together).astype(np.int64))
    return Labels(codes, tuple(map(str, values.tolist())))


def text_column(table: pa.Table, name: str) -> list[str | None]:
    """A column as texts."""
    return pc.cast(table[name], pa.string()).to_pylist()
