"""From the string that names the data to its splits."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .builtin import fashion_mnist_sample, synthetic
from .cache import ARCHIVES, archive_ending, is_webdataset, unpacked
from .collection import Collection
from .columns import ignored_columns
from .config import DataConfig
from .folder import load_folder
from .found import LeftOut
from .hugging_face import load_arrow, load_webdataset
from .parquet import load_parquet
from .scan import Scan
from .shards import by_split
from .tables import TABLES, load_table
from .torchvision_sets import SETS, load_torchvision

ROOT_VARIABLE = "DECOUPLED_DATA"
_STORES = {".parquet": load_parquet, ".arrow": load_arrow, ".tar": load_webdataset}
BUILTIN = {"sample": fashion_mnist_sample, "synthetic": synthetic}


def find_source(config: DataConfig) -> Collection:
    """Find the data that `config.data` names.

    Raises:
        FileNotFoundError: a path, or a data set's files, that do not exist.
        ValueError: an unknown name, or data that is not as it must be.
    """
    data = config.data
    if data in BUILTIN or data in SETS:
        found = _without_columns(BUILTIN[data](), config) if data in BUILTIN else _named_set(config)
        if Path(data).exists():
            note = f"./{data} is there too: data=./{data} reads it; {data} alone is the data set of that name"
            found = replace(found, notes=[note, *found.notes])
        return found
    path = Path(data).expanduser()
    if path.is_dir():
        return _folder(path, config)
    if path.is_file():
        return _file(path, config)
    if glob.has_magic(data):
        files = _matching(path)
        base = Path(os.path.commonpath([file.parent for file in files]))
        return _files(files, base, base.resolve().name, config)
    raise _not_found(data)


def _also_a_path(name: str, before: str = "") -> str:
    if not Path(name).exists():
        return ""
    return f"{before}./{name} is there too: data=./{name} reads it; {name} alone is the data set of that name"


def _named_set(config: DataConfig) -> Collection:
    given = config.data_root or os.environ.get(ROOT_VARIABLE)
    if not given:
        raise ValueError(
            f"data = {config.data!r} received without the folder where data sets are kept; needed: data_root,"
            f" or the environment variable {ROOT_VARIABLE}{_also_a_path(config.data, '; ')}"
        )
    root = Path(given).expanduser()
    folder = root / config.data
    if folder.is_dir() and any(folder.rglob("*.parquet")):
        return replace(_folder(folder, config), mirror=SETS[config.data].mirror, name=config.data)
    return _without_columns(load_torchvision(config.data, root, config.download), config)


def _without_columns(found: Collection, config: DataConfig) -> Collection:
    return replace(found, notes=[*found.notes, *ignored_columns(config, f"{config.data} has no columns")])


def _file(path: Path, config: DataConfig) -> Collection:
    ending = archive_ending(path)
    if ending is None or is_webdataset(path):
        return _files([path], path.parent, path.stem, config)
    folder = unpacked(path)
    found = _folder(folder, config)
    notes = [f"unpacked to {folder}", *found.notes]
    return replace(found, name=path.name[: -len(ending)], notes=notes)


def _folder(path: Path, config: DataConfig) -> Collection:
    scan = Scan(path.as_posix())
    name = path.resolve().name
    every = [Path(folder.path) / store for _, folder in scan.root.walk() for store in folder.stores]
    # `datasets` keeps what it computed beside its data, and a tar file may be anything.
    caches = [s for s in every if s.suffix == ".arrow" and s.name.startswith("cache-")]
    others = [s for s in every if s.suffix.lower() == ".tar" and not is_webdataset(s)]
    stray = [
        LeftOut(why, len(files), files[0].relative_to(path).as_posix())
        for why, files in (
            ("cache files of the library datasets", caches),
            ("tar files, not unpacked", others),
        )
        if files
    ]
    stores = [s for s in every if s not in {*caches, *others}]
    if not stores:
        found = load_folder(scan, name, config)
        return replace(found, left_out=[*found.left_out, *stray])
    found = _files(stores, path, name, config)
    images = next((below + f.images[0] for below, f in scan.root.walk() if f.images), None)
    beside = [] if images is None else [LeftOut("images beside those files", scan.root.total, images)]
    return replace(found, left_out=[*scan.left_out, *stray, *beside, *found.left_out])


def _files(files: Sequence[Path], base: Path, name: str, config: DataConfig) -> Collection:
    """Files that hold many images, or name them."""
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        raise ValueError(f"{base} has files ending in {', '.join(kinds)}; needed: one kind")
    if kinds[0] in _STORES:
        return _STORES[kinds[0]](by_split(files, base), name, config)
    if kinds[0] in TABLES and len(files) == 1:
        return load_table(files[0], config)
    raise ValueError(
        f"{files[0]} is no data set; needed: a folder of images, an archive of one"
        f" ({', '.join(sorted(ARCHIVES))}), {', '.join(_STORES)} files, or one table of image files"
        f" ({', '.join(TABLES)})"
    )


def _matching(pattern: Path) -> list[Path]:
    files = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    if not files:
        raise FileNotFoundError(f"no file matches {pattern}; needed: Parquet files")
    return files


def _not_found(data: str) -> Exception:
    if os.sep in data or Path(data).suffix:
        return FileNotFoundError(f"{data} does not exist; needed: a folder of images, or Parquet files")
    names = [*BUILTIN, *SETS]
    close = difflib.get_close_matches(data, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ValueError(
        f"unknown data {data!r}{hint}; known: {', '.join(names)}, a folder of images, an archive of one, a"
        " folder, file or glob of Parquet files, or a table of image files"
    )
