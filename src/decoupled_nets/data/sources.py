"""From the string that names the data to its splits."""

from __future__ import annotations

import difflib
import glob
import os
from dataclasses import replace
from pathlib import Path

from .builtin import fashion_mnist_sample, synthetic
from .config import DataConfig
from .folder import load_folder
from .parquet import load_parquet
from .split import Source
from .torchvision_sets import SETS, load_torchvision

ROOT_VARIABLE = "DECOUPLED_DATA"
BUILTIN = {"sample": fashion_mnist_sample, "synthetic": synthetic}


def find_source(config: DataConfig) -> Source:
    """Find the data that `config.data` names.

    Raises:
        FileNotFoundError: a path, or a data set's files, that do not exist.
        ValueError: an unknown name, or data that is not as it must be.
    """
    data = config.data
    if data in BUILTIN:
        return BUILTIN[data]()
    if data in SETS:
        return _named_set(config)
    path = Path(data).expanduser()
    if path.is_dir():
        return load_parquet(files, path.resolve().name) if (files := _parquet_in(path)) else load_folder(path)
    if path.is_file():
        return load_parquet([path], path.stem)
    if glob.has_magic(data):
        return load_parquet(_matching(path), path.parent.resolve().name)
    raise _not_found(data)


def _named_set(config: DataConfig) -> Source:
    given = config.data_root or os.environ.get(ROOT_VARIABLE)
    if not given:
        raise ValueError(
            f"{config.data!r} needs the folder where data sets are kept; give data_root, or set the"
            f" environment variable {ROOT_VARIABLE}"
        )
    root = Path(given).expanduser()
    if files := _parquet_in(root / config.data):
        return replace(load_parquet(files, config.data), mirror=SETS[config.data].mirror)
    return load_torchvision(config.data, root, config.download)


def _parquet_in(folder: Path) -> list[Path]:
    """Parquet files of a folder, or of its folders: Hugging Face repositories have `data/train-*.parquet`."""
    files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("*/*.parquet"))
    folders = sorted({path.parent.name for path in files})
    if len(folders) > 1:
        raise ValueError(
            f"{folder} has Parquet files in {', '.join(folders)}; needed: name one of these folders"
        )
    return files


def _matching(pattern: Path) -> list[Path]:
    files = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    if not files:
        raise FileNotFoundError(f"No file matches {pattern}; needed: Parquet files")
    return files


def _not_found(data: str) -> Exception:
    if os.sep in data or Path(data).suffix:
        return FileNotFoundError(f"{data} does not exist; needed: a folder of images, or Parquet files")
    names = [*BUILTIN, *SETS]
    close = difflib.get_close_matches(data, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ValueError(
        f"Unknown data {data!r}{hint}. Accepted: {', '.join(names)}, a folder of class folders, or a folder,"
        " file or glob of Parquet files"
    )
