"""Folders of images beside folders of depth maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from .collection import Collection, Labels, Part
from .depth_values import DepthFiles
from .found import LeftOut
from .roles import role_of
from .scan import image_extensions
from .split import FileReader

RGB = ("rgb", "rgbs", "color", "colors", "colour", "colours", "image", "images", "img", "imgs", "guidance")
DEPTH = ("depth", "depths", "depthmap", "depthmaps", "depth_map", "depth_maps", "disparity", "disparities")
LAYOUTS = "RGB/ beside Depth/, <split>/RGB/ beside <split>/Depth/, or RGB/<split>/ beside Depth/<split>/"
#: Ends of names that say which of the two a file is. The images of Lu et al. (2014) are called "ouput".
_KIND = re.compile(
    r"([-_ .]?(output|ouput|hr|gt|depth|depthmap|disparity|disp|rgb|color|colour|image|img|left))+$",
    re.IGNORECASE,
)
_DEEPEST = 3


@dataclass(frozen=True)
class _Site:
    """Where a split is: its name, its place in words, its folders of images and of maps."""

    name: str
    source: str
    images: Path
    maps: Path


def load_depth_folder(root: Path, name: str) -> Collection:
    """Find pairs of an image and a depth map: by their names, else by their order.

    Raises:
        ValueError: no such folders, or files that cannot be paired.
    """
    parts, left_out, notes = [], [], []
    for site in _sites(root, "", _DEEPEST):
        part, alone, note = _paired(site)
        parts.append(part)
        left_out += alone
        notes += note
    if not parts:
        raise ValueError(f"{root} has no folder of images beside one of depth maps; needed: {LAYOUTS}")
    return Collection(name, parts, left_out=left_out, notes=notes)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _sites(root: Path, below: str, deep: int) -> Iterator[_Site]:
    folders = _folders(root)
    images = [one for one in folders if one.name.lower() in RGB]
    maps = [one for one in folders if one.name.lower() in DEPTH]
    if len(images) == len(maps) == 1:
        inner = {one.name.lower(): one for one in _folders(maps[0])}
        shared = [one for one in _folders(images[0]) if one.name.lower() in inner and role_of(one.name)]
        if shared:
            for one in shared:
                place = f"{below}{images[0].name}/{one.name}/"
                yield _Site(one.name, place, one, inner[one.name.lower()])
        else:
            split = next(
                (word for word in reversed(below.split("/")) if role_of(word)), root.name if below else "all"
            )
            yield _Site(split, f"{below}{images[0].name}/", images[0], maps[0])
        return
    if deep:
        for one in folders:
            yield from _sites(one, f"{below}{one.name}/", deep - 1)


def _files(folder: Path, endings: frozenset[str]) -> tuple[list[str], list[str]]:
    """Names of the files with such endings, sorted, and of the others."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    fitting = [name for name in names if Path(name).suffix.lower() in endings]
    return fitting, [name for name in names if name not in set(fitting)]


def _paired(site: _Site) -> tuple[Part, list[LeftOut], list[str]]:
    """A part of the pairs of a site, what has no partner, and how they were paired if not by their names."""
    extensions = image_extensions()
    images, others = _files(site.images, extensions)
    maps, strange = _files(site.maps, extensions | {".npy"})
    pairs, note = _by_name(site, images, maps), []
    if not pairs:
        if len(images) != len(maps) or not images:
            raise ValueError(
                f"{site.images} has {len(images):,} images, {site.maps} {len(maps):,} depth maps, and no two"
                f" are called alike ({_some(images)}; {_some(maps)}); needed: maps that are called like their"
                " images, or as many of both, in the same order"
            )
        pairs = list(zip(images, maps, strict=True))
        note = [
            f"{site.source}: images and depth maps are paired by the order of their names, as none are"
            f" called alike: {pairs[0][0]} with {pairs[0][1]}, {pairs[-1][0]} with {pairs[-1][1]}"
        ]
    taken = {name for pair in pairs for name in pair}
    kinds = (
        ("images without a depth map", site.images, [name for name in images if name not in taken]),
        ("depth maps without an image", site.maps, [name for name in maps if name not in taken]),
        ("files that are no images", site.images, others),
        ("files that are no depth maps", site.maps, strange),
    )
    left = [LeftOut(why, len(some), f"{where.name}/{some[0]}") for why, where, some in kinds if some]
    image_reader = FileReader(*_listed(site.images, [image for image, _ in pairs]))
    map_reader = DepthFiles(*_listed(site.maps, [depth for _, depth in pairs]))
    labels = Labels(torch.zeros(len(pairs), dtype=torch.int64), ("images",), declared=True)
    return Part(site.name, site.source, image_reader, labels, masks=map_reader), left, note


def _listed(folder: Path, names: list[str]) -> tuple[str, list[str], torch.Tensor]:
    return folder.as_posix(), names, torch.tensor([(folder / name).stat().st_size for name in names])


def _by_name(site: _Site, images: list[str], maps: list[str]) -> list[tuple[str, str]]:
    """The pairs of the same stem, or of the same but for words that say which kind a file is.

    The rule that pairs more is taken. Of two that pair as many the second is, which pairs all that the first
    does, or sees that more than two files are called alike.

    Raises:
        ValueError: one file could be paired with several others.
    """
    pairs, doubtful = max(
        (_alike(rule, images, maps) for rule in (_bare, _stem)), key=lambda found: len(found[0])
    )
    if doubtful:
        several, others = doubtful
        raise ValueError(
            f"{site.images} has {', '.join(several)} and {site.maps} {', '.join(others)}, which are called"
            " alike; needed: one image and one depth map of each name, for which words such as _rgb and"
            " _depth do not count"
        )
    return pairs


def _alike(
    rule: Callable[[str], str], images: list[str], maps: list[str]
) -> tuple[list[tuple[str, str]], tuple[list[str], list[str]] | None]:
    """What a rule pairs, and the first images and maps among which it cannot choose."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((images, maps)):
        for name in names:
            found.setdefault(rule(name), ([], []))[side].append(name)
    shared = [both for both in found.values() if all(both)]
    doubtful = next((both for both in shared if both != (both[0][:1], both[1][:1])), None)
    return [(both[0][0], both[1][0]) for both in shared if len(both[0]) == len(both[1]) == 1], doubtful


def _stem(name: str) -> str:
    return Path(name).stem


def _bare(name: str) -> str:
    """The stem without words that say which kind a file is; a name of such words alone stays."""
    return _KIND.sub("", _stem(name)) or _stem(name)


def _some(names: list[str]) -> str:
    return f"such as {names[0]}" if names else "none"
