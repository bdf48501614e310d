"""Folders of images in torchvision's ImageFolder layout."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from .split import FileReader, Source, held_out, split_of

TEST_NAMES = ("test", "val", "validation")


def load_folder(root: Path) -> Source:
    """Find the images of ``root/train/<class>/*`` and ``root/{test,val,validation}/<class>/*``.

    Without a test folder, or with the classes directly under `root`, a fifth of each class is held out for
    the test.

    Raises:
        FileNotFoundError: a class folder that one split has and the other has not, or a test without a train
            folder.
        ValueError: no class folder, or one without images.
    """
    train = root / "train"
    test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
    if not train.is_dir():
        if test is not None:
            raise FileNotFoundError(
                f"{root} has {test.name}/ but no train/; needed: {train}/<class>/<images>"
            )
        train = root
    classes = _classes(train)
    reader, labels = _images(train, classes)
    if test is None:
        splits = held_out(reader, labels, train)
    else:
        _check_same(train, classes, test, _classes(test))
        splits = split_of(reader, labels), split_of(*_images(test, classes))
    return Source(root.resolve().name, classes, *splits)


def _classes(split: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in split.iterdir() if path.is_dir() and path.name[0] != "."))
    if not names:
        raise ValueError(f"{split} has no class folders; needed: {split}/<class>/<images>")
    return names


def _check_same(
    train: Path, train_classes: tuple[str, ...], test: Path, test_classes: tuple[str, ...]
) -> None:
    for have, classes, lack, others in (
        (train, train_classes, test, test_classes),
        (test, test_classes, train, train_classes),
    ):
        for name in classes:
            if name not in others:
                raise FileNotFoundError(
                    f"Class folder {lack / name} is missing, while {have / name} is there;"
                    " needed: the same classes in both splits"
                )


def _images(split: Path, classes: tuple[str, ...]) -> tuple[FileReader, Tensor]:
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            str(path) for path in (split / name).rglob("*") if path.suffix.lower() in IMG_EXTENSIONS
        )
        if not found:
            raise ValueError(
                f"{split / name} has no images; needed: files ending in {', '.join(IMG_EXTENSIONS)}"
            )
        paths += found
        labels += [label] * len(found)
    return FileReader(paths), torch.tensor(labels)
