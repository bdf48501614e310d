"""Images with depth maps, behind the same door as images that have labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..models.joint import MARGIN
from ..ops.resample import Degradation, sample_offset
from .batches import Store
from .cache import archive_ending, unpacked
from .collection import Collection
from .config import DataConfig
from .depth_folder import LAYOUTS, load_depth_folder
from .depth_look import BORDER, DepthSeen, look_at_depth, usable_pairs
from .depth_pairs import DepthSplit, PairStore
from .depth_transform import DepthTransform
from .found import Found, SplitFound
from .image_data import ImageData, statistics
from .loaders import TestLoader
from .look import look_at
from .roles import ROLES, WORDS, Role
from .scenes import depth_scenes
from .sets import Sets, three_sets
from .stream import StreamStore
from .used import check_used

_LEAST = 32  # height and width of an image
_HEADERS = 1000


@dataclass(frozen=True)
class DepthData(ImageData):
    """Images and maps with fewer samples, one tensor; validation and test images are whole, one at a time.

    Attributes:
        scale: By how much the maps are smaller.
        degradation: How they were made so.
        crops: How many parts of each training image an epoch has.
        tile: Height and width of the parts that validation and test images are seen in; None: whole.
        zeros: Whether 0 says that there is no depth, by the training maps.
    """

    scale: int = 4
    degradation: Degradation = "pick"
    crops: int = 1
    tile: int | None = None
    zeros: bool = False

    @property
    def train_size(self) -> int:
        """Number of training images."""
        return len(self.train.labels) // self.crops

    @property
    def network_options(self) -> dict[str, Any]:
        """Scale, where samples lie, and what 0 says."""
        return {
            "scale": self.scale, "offset": sample_offset(self.scale, self.degradation), "zeros": self.zeros,
        }  # fmt: skip

    def val_loader(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> TestLoader:
        """Iterate over all validation images in order, one a process: their sizes may differ."""
        return TestLoader(self.val, world_size, rank=rank, world_size=world_size)

    def test_loader(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> TestLoader:
        """Iterate over all test images in order, one a process: their sizes may differ."""
        return TestLoader(self.test, world_size, rank=rank, world_size=world_size)


def load_depth(config: DataConfig) -> DepthData:
    """Find, check and, if they fit, decode images and depth maps.

    Raises:
        FileNotFoundError: data that is not there.
        ValueError: data that is not as it must be; names the file.
    """
    sets, train, whole, found = _find(config)
    pixels = sum(h * w for h, w in found.sizes[-1:]) * sum(map(len, sets.splits.values()))
    small = pixels * (whole.in_chans + 2) * whole.dtype.itemsize <= config.memory * 2**30

    def store(role: Role) -> Store:
        split, transform = sets.splits[role], whole
        if role == "train":
            split, transform = split.select(torch.arange(len(split)).repeat(config.crops)), train
        assert isinstance(split, DepthSplit)
        return PairStore(split, transform) if small else StreamStore(split, transform, config.workers)

    stores = {role: store(role) for role in ROLES}
    mean, std = statistics(stores["train"], sets, train)
    protocol = f"{sets.digest} {config.scale} {config.degradation}"
    return DepthData(
        found.name, (), train.in_chans + 1, train.size, (*mean, 0.0), (*std, 1.0), stores["train"],
        stores["val"], stores["test"], config.augment, found,
        hashlib.blake2b(protocol.encode(), digest_size=16).hexdigest(),
        scale=config.scale, degradation=config.degradation, crops=config.crops, tile=config.tile,
        zeros=whole.zeros,
    )  # fmt: skip


def describe_depth(config: DataConfig) -> Found:
    """What :func:`load_depth` finds."""
    return _find(config)[-1]


def _find(config: DataConfig) -> tuple[Sets, DepthTransform, DepthTransform, Found]:
    check_used(config, "depth")
    sets = three_sets(_collection(config), config)
    pairs = {role: DepthSplit(s.reader, s.rows, s.labels, s.masks) for role, s in sets.splits.items()}
    seen = look_at_depth(pairs, config.scale)
    kept, left_out = usable_pairs(pairs, seen)
    sets = replace(sets, classes=(), splits=kept, left_out=[*sets.left_out, *left_out])
    look = look_at(kept, _HEADERS, None)
    sizes = {role: [seen[role].sizes[k] for k in seen[role].usable] for role in ROLES}
    _check_sizes(config.scale, [size for role in ROLES for size in sizes[role]])
    size, notes = _crop(config, sizes["train"])
    options: dict[str, Any] = {
        "in_chans": look.in_chans, "size": size, "margin": True, "mirror": sets.mirror,
        "scale": config.scale, "degradation": config.degradation, "zeros": seen["train"].zeros,
    }  # fmt: skip
    train, whole = DepthTransform(**options, crop=True), DepthTransform(**options)
    notes = [*sets.notes, *_told(config, seen), *notes]
    splits = [SplitFound(WORDS[role], sets.sources[role], len(kept[role]), 0, []) for role in ROLES]
    found = Found(
        f"{sets.name}, {_protocol(config)}", splits, [], look.sizes, size,
        look.in_chans, look.bits, (0, 255), train.describe(config.augment), sets.left_out, notes,
    )  # fmt: skip
    return sets, train, whole, found


def _collection(config: DataConfig) -> Collection:
    if config.data in ("sample", "synthetic"):
        return depth_scenes()
    path = Path(config.data).expanduser()
    name = path.resolve().name
    if path.is_file() and archive_ending(path):
        path = unpacked(path)
    if not path.exists():
        raise FileNotFoundError(f"{config.data} does not exist; needed: a folder with {LAYOUTS}, or sample")
    if not path.is_dir():
        raise ValueError(f"{config.data} is a file; needed: a folder with {LAYOUTS}, or an archive of one")
    return load_depth_folder(path, name)


def _check_sizes(scale: int, sizes: list[tuple[int, int]]) -> None:
    """Refuse images that leave too little, of whatever split."""
    smallest, least = min(map(min, sizes)), max(_LEAST, 2 * scale)
    if smallest < least:
        raise ValueError(f"an image of {smallest} pixels along one side found; needed: {least} or more")


def _crop(config: DataConfig, sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], list[str]]:
    """Height and width of the parts of training images of such sizes, and what is to be said of it."""
    least = max(2, 2 * BORDER // config.scale + 1) * config.scale
    if config.crop < least:
        raise ValueError(
            f"crop = {config.crop} received; needed: {least} or more: twice the scale, and more than the"
            f" border of {BORDER} pixels at each side"
        )
    height, width = (
        min(config.crop, min(size[axis] for size in sizes)) // config.scale * config.scale for axis in (0, 1)
    )
    told = (
        f"training images are cut to {height}×{width}: the smallest has {min(map(min, sizes))} pixels along"
        " one side"
    )
    return (height, width), [told] if min(height, width) + config.scale <= config.crop else []


def _protocol(config: DataConfig) -> str:
    """What titles say of how maps are made and judged."""
    way = f"depth ×{config.scale} ({config.degradation})"
    return way if config.tile is None else f"{way}, tiles of {config.tile}"


def _told(config: DataConfig, seen: dict[Role, DepthSeen]) -> list[str]:
    """What was found of the maps, and how they are made smaller."""
    train, s, first = seen["train"], config.scale, (config.scale - 1) // 2
    how = {
        "pick": f"one pixel of {s}×{s} is picked, at row and column {first}, as PAC-Net and DDF do",
        "bicubic": "by Pillow's bicubic reduction, as the papers since DKN do",
        "area": f"each value is the mean of {s}×{s}",
    }[config.degradation]
    notes = [
        f"depth from {train.low:g} to {train.high:g} over the training maps; errors are in the unit of these"
        " values",
        f"small maps: {how} (degradation: another way); results of two ways are not to be compared",
        f"RMSE is the mean over images of each one's, without a border of {BORDER} pixels",
    ]
    if config.tile is not None:
        notes.append(
            f"validation and test images are seen in tiles of {config.tile}×{config.tile} and a margin of"
            f" {MARGIN * config.scale}: dynamic filters (ddf) then look at the mean of a tile, so their"
            " errors are not those of whole images; those of other networks are"
        )
    shares = {role: one.missing for role, one in seen.items() if one.missing}
    if shares:
        words = ", ".join(
            f"{100 * share:.2g} % of the {WORDS[role]} pixels" for role, share in shares.items()
        )
        zero = "0 or no finite number" if train.zeros else "no finite number"
        notes.append(f"no depth ({zero}) at {words}: filled for the input, not counted in loss and errors")
    return notes
