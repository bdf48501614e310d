"""Folders of images: split folders of class folders, class folders, or images beside a metadata table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Names
from pathlib import Path

import torch

from .collection import Collection, Labels, Part, in_order
from .columns import ignored_columns
from .config import DataConfig
from .found import LeftOut
from .mask_folder import mask_folders
from .roles import role_of
from .scan import Folder, Scan
from .split import FileReader
from .tables import files_of, label_column, parts_of, read_table


def load_folder(scan: Scan, name: str, config: DataConfig) -> Collection:
    """Find splits, classes and images in a scanned folder.

    Layouts are ``<split>/<class>/<images>``, ``<class>/<images>``, and images listed by a ``metadata.csv``
    (or .jsonl, .parquet), in folders around them that hold nothing else. Images of a class may lie in folders
    of their own.

    Raises:
        FileNotFoundError: an image that a table names is not there.
        ValueError: no images, no labels, or a layout that can be read in two ways.
    """
    layout = _Layout(config)
    base = layout.unwrapped(scan.root)
    if not base.total:
        left = "; left out: " + ", ".join(f"{x.count:,} {x.reason}" for x in scan.left_out)
        raise ValueError(
            f"{scan.root.path} has no class folders with images{left if scan.left_out else ''}; needed:"
            f" {scan.root.path}/train/<class>/<images> and test/<class>/<images>, or <class>/<images>"
        )
    parts = layout.parts(base)
    layout.note_nested()
    if not layout.tables:
        layout.notes += ignored_columns(config, "folders give the classes, and no table is read")
    left_out = [*scan.left_out, *layout.left_out(scan.root)]
    return Collection(name, parts, left_out=left_out, notes=layout.notes)


class _Layout:
    """How a tree of folders is read.

    Args:
        config: Its options name splits and columns.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        given = (config.train_split, config.val_split, config.test_split)
        self.given = {name.lower() for name in given if name and name != "."}
        self.whole = config.train_split == "."
        self.notes: list[str] = []
        self.tables = 0  # that gave labels
        self._used: set[str] = set()  # folders whose own images are used
        self._nested: list[str] = []  # classes whose images lie in folders of their own
        self._unlisted: list[str] = []  # images that a table does not list

    def unwrapped(self, folder: Folder) -> Folder:
        """Go into folders that hold one folder and nothing else that counts."""
        while True:
            only = folder.full[0] if len(folder.full) == 1 else None
            if only is None or not only.full or folder.metadata or any(f.empty for f in folder.folders):
                return folder
            split = role_of(only.name) and not _splits(_innermost(only))
            if split or any(inner.name.lower() in self.given for inner in folder.folders):
                return folder
            folder = only

    def parts(self, base: Folder) -> list[Part]:
        """The splits of a folder."""
        splits = self._split_folders(base)
        if splits is None:
            if not self.whole:
                self._check_folds(base)
            return self._by_table(base, "all") or [self._by_class(base, base, "all")]
        if base.metadata and (parts := self._by_table(base, None)):
            return parts
        sure = [split for split in splits if role_of(split.name) or split.name.lower() in self.given]
        if not any(split.full or split.metadata for split in sure):
            sure = splits
        return [part for split in splits for part in self._parts_of_split(base, split, split in sure)]

    @staticmethod
    def _check_folds(base: Folder) -> None:
        """Refuse fold1/<class>/, fold2/<class>/: two or more folders that are in several of the folders."""
        folders = [folder for folder in base.full if not folder.images and not _splits(folder)]
        counts = Counter(inner.name for folder in folders for inner in folder.full)
        shared = {name for name, count in counts.items() if count > 1}
        folders = [folder for folder in folders if len({f.name for f in folder.full} & shared) > 1]
        if base.metadata or len(folders) < 2:
            return
        raise ValueError(
            f"{base.path} has {_names(folders)}, each of which holds"
            f" {_names([f for f in folders[0].full if f.name in shared])}; needed:"
            f" train_split=. (the former are the classes), or train_split={folders[0].name} (the latter are)"
        )

    def _split_folders(self, base: Folder) -> list[Folder] | None:
        """The folders that are splits, or None where the folders are classes."""
        if self.whole:
            return None
        if any(folder.name.lower() in self.given for folder in base.folders):
            return base.full
        named = [f for f in base.folders if role_of(f.name) and (f.total or f.empty)]
        if not named:
            return None
        others = [folder for folder in base.full if folder not in named]
        roles = {role_of(folder.name) for folder in named}
        if base.metadata and not others:
            return named
        if any(folder.full or folder.metadata for folder in named):
            if others and len(roles) == 1:
                raise self._ambiguous(base, named, others)
            if empty := next((folder for folder in named if folder.empty), None):
                raise ValueError(
                    f"{empty.path} has no class folders; needed: {empty.path}/<class>/<images>, or no such"
                    " folder"
                )
            return named + others
        return self._without_class_folders(base, named, others)

    def _without_class_folders(
        self, base: Folder, named: list[Folder], others: list[Folder]
    ) -> list[Folder] | None:
        """What folders are that are called like splits and hold images and no folders of images."""
        if not others:
            raise ValueError(
                f"{base.path} has {_names(named)} with images directly in them: nothing says their classes;"
                f" needed: {named[0].path}/<class>/<images>, a metadata.csv with file_name and label, or"
                " train_split=. (all folders are classes)"
            )
        if len(others) == 1 and others[0].full:
            return named + others  # a test without labels beside a folder of class folders
        if len(named) == 1 and role_of(named[0].name) == "train":
            self.notes.append(
                f"{named[0].name}/ lies beside {_names(others)}: it is taken for a class, not for a split"
            )
            return None
        raise self._ambiguous(base, named, others)

    def _ambiguous(self, base: Folder, named: list[Folder], others: list[Folder]) -> ValueError:
        role = role_of(named[0].name)
        return ValueError(
            f"{base.path} has {_names(named)}, which reads like a split, beside {_names(others)}, which does"
            f" not; needed: {role}_split={named[0].name} (it is a split), train_split=. (all folders are"
            " classes), or one of the two elsewhere"
        )

    def _parts_of_split(self, base: Folder, split: Folder, sure: bool) -> list[Part]:
        """The part that a folder is; `sure`: it is a split, not just a folder that lies beside splits."""
        inner = split
        while len(inner.full) == 1 and not inner.metadata:
            only = inner.full[0]
            if not only.full and role_of(only.name) != role_of(split.name):
                break
            inner = only
        if not sure:
            return [self._unlabelled(split)]
        if inner.metadata and (parts := self._by_table(inner, split.name)):
            return parts
        if inner.full:
            return [self._by_class(base, inner, split.name)]
        return [self._unlabelled(split)] if inner.total else []

    def _unlabelled(self, split: Folder) -> Part:
        self._used.update(folder.path for _, folder in split.walk())
        reader = FileReader(split.path, [], torch.empty(0))
        return Part(split.name, f"{split.name}/", reader, None, torch.arange(split.total))

    def _by_class(self, base: Folder, folder: Folder, name: str) -> Part:
        """A split whose folders are its classes."""
        if not folder.full:
            raise ValueError(
                f"{folder.path} has images and no class folders: nothing says their classes; needed:"
                f" {folder.path}/<class>/<images>, or a metadata.csv with file_name and label, or a table of"
                " files and labels as the data"
            )
        if len(folder.full) == 2 and not self.whole and (pair := mask_folders(folder)):
            raise ValueError(
                f"{folder.path} holds {_names(pair)}: images with a class for each pixel, by their names;"
                " needed: task=segment, or train_split=. (the folders are classes)"
            )
        labels: list[int] = []
        names: list[str] = []
        sizes: list[int] = []
        classes = in_order([inner.name for inner in folder.folders if inner.total or inner.empty])
        by_name = {inner.name: inner for inner in folder.folders}
        for label, one in enumerate(classes):
            inner = by_name[one]
            if not inner.total:
                raise ValueError(f"{inner.path} has no images; needed: one or more, or no such folder")
            if _splits(inner):
                raise ValueError(
                    f"{inner.path} holds {_names(inner.folders)}, which read like splits, and it lies where a"
                    f" class is expected; needed: {inner.path} itself as the data, or"
                    " <split>/<class>/<images>"
                )
            if inner.full:
                self._nested.append(f"{one}/ holds {_names(inner.full)}")
            for below, place in inner.walk(f"{one}/"):
                self._used.add(place.path)
                names += [below + image for image in place.images]
                sizes += place.sizes
            labels += [label] * inner.total
        reader = FileReader(folder.path, names, torch.tensor(sizes))
        below = folder.path[len(base.path) + 1 :]
        source = f"{below}/" if below else "its class folders"
        return Part(name, source, reader, Labels(torch.tensor(labels), tuple(classes)), complete=True)

    def _by_table(self, folder: Folder, name: str | None) -> list[Part]:
        """The splits that a metadata table of a folder gives, if it has labels; `name`: of the only one."""
        if not folder.metadata:
            return []
        path = Path(folder.path) / folder.metadata[0]
        if len(folder.metadata) > 1:
            raise ValueError(f"{folder.path} has {' and '.join(folder.metadata)}; needed: one of them")
        table = read_table(path)
        label = label_column(table, path, self.config, known_only=bool(folder.full))
        if label is None:
            self.notes.append(f"{path.name} has no column of labels; the folders give the classes")
            return []
        known = {
            below + image: size
            for below, place in folder.walk()
            for image, size in zip(place.images, place.sizes, strict=True)
        }
        self.tables += 1
        self._used.update(place.path for _, place in folder.walk())
        reader, rows = files_of(table, path, self.config, known)
        parts = parts_of(table, path, reader, rows, label, by_folder=name is None)
        if unlisted := sorted(known.keys() - set(reader.names)):
            self._unlisted += unlisted
        if name is not None and len(parts) == 1:
            source = f"{name}/, labels from {path.name}" if name != "all" else f"labels from {path.name}"
            return [Part(name, source, parts[0].reader, parts[0].labels)]
        return parts

    def note_nested(self) -> None:
        """Tell of folders in class folders, which might have been meant as the classes."""
        if self._nested:
            more = f", and {len(self._nested) - 1} classes more" if len(self._nested) > 1 else ""
            self.notes.append(f"{self._nested[0]}, all of it one class{more}")

    def left_out(self, root: Folder) -> list[LeftOut]:
        """Images that lie where no class is, and those that a table does not list."""
        loose = [below + image for below, f in root.walk() if f.path not in self._used for image in f.images]
        kinds = (("images outside the class folders", loose), ("images not in the table", self._unlisted))
        return [LeftOut(why, len(images), images[0]) for why, images in kinds if images]


def _innermost(folder: Folder) -> Folder:
    while len(folder.full) == 1:
        folder = folder.full[0]
    return folder


def _splits(folder: Folder) -> bool:
    """Whether a folder holds folders that are called like different splits."""
    return len({role_of(inner.name) for inner in folder.full} - {None}) > 1


def _names(folders: Names[Folder]) -> str:
    names = [f"{folder.name}/" for folder in folders]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
