"""Folders of images beside folders of masks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from .collection import Collection, Labels, Part
from .found import LeftOut
from .roles import role_of
from .scan import Folder, Scan
from .split import FileReader

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "rgb", "photos")
MASKS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "gt", "ground_truth",
    "segmentationclass", "segmentation", "segmentations", "targets",
)  # fmt: skip
_OF_A_MASK = re.compile(r"[-_ ]?(mask|masks|label|labels|labelids|annotation|annot|gt|seg|l)$", re.IGNORECASE)
LAYOUTS = (
    "<split>/images/ beside <split>/masks/, images/<split>/ beside masks/<split>/, or images/ beside masks/"
)


def load_mask_folder(scan: Scan, name: str) -> Collection:
    """Find images and masks in a scanned folder; a mask is called like its image.

    Layouts are ``<split>/images`` and ``<split>/masks``, ``images/<split>`` and ``masks/<split>``, ``images``
    and ``masks``, and ``<split>`` beside ``<split>annot``. Other usual names of the two are known.

    Raises:
        ValueError: no such folders, or no image that has a mask.
    """
    parts, left_out = [], list(scan.left_out)
    for part_name, source, images, masks in _sites(scan.root):
        part, alone = _paired(part_name, source, images, masks)
        parts.append(part)
        left_out += alone
    if not parts:
        raise ValueError(f"{scan.root.path} has no folder of images beside one of masks; needed: {LAYOUTS}")
    return Collection(name, parts, left_out=left_out)


def mask_folders(folder: Folder) -> tuple[Folder, Folder] | None:
    """The folders of images and of masks in a folder, if it has one of each."""
    images = [inner for inner in folder.full if inner.name.lower() in IMAGES]
    masks = [inner for inner in folder.full if inner.name.lower() in MASKS]
    return (images[0], masks[0]) if len(images) == len(masks) == 1 else None


def _sites(root: Folder) -> Iterator[tuple[str, str, Folder, Folder]]:
    """Each split: its name, where it is in words, its folders of images and of masks."""
    for below, folder in root.walk():
        if pair := mask_folders(folder):
            images, masks = pair
            inner = {one.name: one for one in masks.full}
            shared = [one for one in images.full if one.name in inner]
            if shared and not images.images and all(role_of(one.name) for one in shared):
                for one in shared:
                    yield one.name, f"{below}{images.name}/{one.name}/", one, inner[one.name]
            else:
                split = next(
                    (n for n in reversed(below.split("/")) if role_of(n)), folder.name if below else "all"
                )
                yield split, f"{below}{images.name}/", images, masks
        by_name = {one.name.lower(): one for one in folder.full}
        for one in folder.full:
            names = [f"{one.name.lower()}{gap}{word}" for word in MASKS for gap in ("", "_", "-")]
            beside = next((by_name[n] for n in names if n in by_name), None)
            if role_of(one.name) and beside is not None:
                yield one.name, f"{below}{one.name}/", one, beside


def _files(folder: Folder) -> dict[str, tuple[str, int]]:
    """Path below a folder and size of each image file, by its path without the ending."""
    return {
        (below + image).rpartition(".")[0]: (below + image, size)
        for below, place in folder.walk()
        for image, size in zip(place.images, place.sizes, strict=True)
    }


def _paired(name: str, source: str, images: Folder, masks: Folder) -> tuple[Part, list[LeftOut]]:
    """A part of the images that have a mask, and what has no partner."""
    pictures, found = _files(images), _files(masks)
    of_image = {key if key in pictures else _OF_A_MASK.sub("", key): key for key in found}
    both = sorted(key for key in pictures if key in of_image)
    if not both:
        raise ValueError(
            f"{images.path} and {masks.path} have no two files of the same name, such as"
            f" {next(iter(pictures), 'no image')} and {next(iter(found), 'no mask')}; needed: masks that are"
            " called like their images"
        )
    readers = [
        FileReader(folder.path, [path for path, _ in files], torch.tensor([size for _, size in files]))
        for folder, files in (
            (images, [pictures[key] for key in both]), (masks, [found[of_image[key]] for key in both])
        )
    ]  # fmt: skip
    alone = [pictures[key][0] for key in pictures if key not in of_image]
    unused = [found[key][0] for of, key in of_image.items() if of not in pictures]
    kinds = (("images without a mask", images, alone), ("masks without an image", masks, unused))
    left = [LeftOut(why, len(files), f"{where.name}/{files[0]}") for why, where, files in kinds if files]
    labels = Labels(torch.zeros(len(both), dtype=torch.int64), ("images",), declared=True)
    return Part(name, source, readers[0], labels, masks=readers[1]), left
