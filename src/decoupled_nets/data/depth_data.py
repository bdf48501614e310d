"""Images with depth maps, behind the same door as images that have labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..ops.resample import Degradation, sample_offset
from . import decode
from .batches import Batch, Labelled, Store
from .cache import archive_ending, unpacked
from .collection import Collection
from .config import DataConfig
from .depth_folder import LAYOUTS, load_depth_folder
from .depth_transform import DepthTransform, known_of
from .depth_values import Values
from .found import Found, LeftOut, SplitFound
from .image_data import ImageData, statistics
from .loaders import TestLoader
from .look import look_at
from .memory import counted
from .roles import ROLES, WORDS, Role
from .scenes import depth_scenes
from .sets import Sets, three_sets
from .split import Split
from .stream import StreamStore
from .unreadable import Unreadable

T = TypeVar("T")
BORDER = 6  # pixels at each side that do not count, as in PAC-Net
MISSING = 0.001  # a larger share of zeros says that 0 is no depth
_LEAST = 32  # height and width of an image
_MOST_MISSING = 0.9
_HEADERS = 1000
_USED = {
    "data", "train_split", "val_split", "test_split", "train_size", "val_size", "test_size", "split_seed",
    "augment", "mirror", "workers", "memory", "scale", "degradation", "crop", "crops",
}  # fmt: skip


@dataclass(frozen=True)
class DepthSplit(Split):
    """Pairs of one split; `masks` finds the depth map of a row."""

    def values(self, index: int) -> Values:
        """The map of a sample as stored, (H, W).

        Raises:
            ValueError: it cannot be read; names the file.
        """
        row, maps = int(self.rows[index]), self.masks
        assert maps is not None
        with decode.Naming(maps.where, row):
            return maps.values(row)  # type: ignore[attr-defined,no-any-return]

    def read(self, index: int, make: Callable[..., T]) -> T:
        """Decode the image of a sample, and make something of it and its map; errors as of a split's."""
        row, maps = int(self.rows[index]), self.masks
        assert maps is not None
        with decode.Naming(self.reader.where, row), self.reader.open(row) as image:
            picture = decode.decoded(image)
        depth = self.values(index)
        with decode.Naming(maps.where, row):
            return make(picture, depth)


class PairStore:
    """Pairs in memory, each of its own size, as :class:`StreamStore` would read them.

    Args:
        split: Where they are; a sample may stand in it several times.
        transform: How batches are made of them.
    """

    blocks: Tensor | None = None
    window = 0

    def __init__(self, split: DepthSplit, transform: DepthTransform) -> None:
        self.labels, self.transform, self._rows = split.labels, transform, split.rows.tolist()
        self._pairs: dict[int, Tensor] = {}
        unreadable = Unreadable()
        for index in counted(len(split)):
            if (row := self._rows[index]) not in self._pairs:
                with unreadable.kept():
                    self._pairs[row] = torch.from_numpy(split.read(index, transform.prepare).copy())
        unreadable.tell()

    def raw(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, as prepared."""
        for batch in plan:
            places, made = self.transform.places(batch), []
            for k, index in enumerate(batch.own.tolist()):
                place = None if places is None else places[k : k + 1]
                made.append(self.transform.finish(self._pairs[self._rows[index]][None], place)[0])
            empty = torch.empty(0, *self.transform.made)
            yield self.transform.stack(made) if made else empty, self.labels[batch.own]

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan."""
        for images, labels in self.raw(plan):
            yield self.transform.pair(images, labels)


@dataclass(frozen=True)
class DepthData(ImageData):
    """Images and maps with fewer samples, one tensor; validation and test images are whole, one at a time.

    Attributes:
        scale: By how much the maps are smaller.
        degradation: How they were made so.
        crops: How many parts of each training image an epoch has.
    """

    scale: int = 4
    degradation: Degradation = "pick"
    crops: int = 1

    @property
    def train_size(self) -> int:
        """Number of training images."""
        return len(self.train.labels) // self.crops

    @property
    def network_options(self) -> dict[str, Any]:
        """Scale, and where samples lie."""
        return {"scale": self.scale, "offset": sample_offset(self.scale, self.degradation)}

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
        scale=config.scale, degradation=config.degradation, crops=config.crops,
    )  # fmt: skip


def describe_depth(config: DataConfig) -> Found:
    """What :func:`load_depth` finds."""
    return _find(config)[-1]


def _find(config: DataConfig) -> tuple[Sets, DepthTransform, DepthTransform, Found]:
    usual = DataConfig()
    for field in fields(config):
        if field.name not in _USED and getattr(config, field.name) != getattr(usual, field.name):
            raise ValueError(
                f"{field.name} = {getattr(config, field.name)} received for depth maps; needed:"
                f" {getattr(usual, field.name)}"
            )
    sets = three_sets(_collection(config), config)
    pairs = {role: DepthSplit(s.reader, s.rows, s.labels, s.masks) for role, s in sets.splits.items()}
    seen = _seen(pairs)
    kept, left_out = _usable(pairs, seen)
    sets = replace(sets, classes=(), splits=kept, left_out=[*sets.left_out, *left_out])
    look = look_at(kept, _HEADERS, None)
    size, notes = _crop(config, [seen[role].sizes[k] for role in kept for k in seen[role].usable])
    options: dict[str, Any] = {
        "in_chans": look.in_chans, "size": size, "margin": True, "mirror": sets.mirror,
        "scale": config.scale, "degradation": config.degradation, "zeros": seen["train"].zeros,
    }  # fmt: skip
    train, whole = DepthTransform(**options, crop=True), DepthTransform(**options)
    notes = [*sets.notes, *_told(config, seen), *notes]
    splits = [SplitFound(WORDS[role], sets.sources[role], len(kept[role]), 0, []) for role in ROLES]
    found = Found(
        f"{sets.name}, depth ×{config.scale} ({config.degradation})", splits, [], look.sizes, size,
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


@dataclass(frozen=True)
class _Seen:
    """What the maps of a split are.

    Attributes:
        low: Smallest value of all.
        high: Largest.
        missing: Share of the values that are none.
        zeros: Whether 0 is none.
        sizes: Height and width of each.
        constant: Those of one value.
        empty: Those with hardly a value.
    """

    low: float
    high: float
    missing: float
    zeros: bool
    sizes: list[tuple[int, int]]
    constant: list[int]
    empty: list[int]

    @property
    def usable(self) -> list[int]:
        """Numbers of the others."""
        return [k for k in range(len(self.sizes)) if k not in {*self.constant, *self.empty}]


def _seen(pairs: dict[Role, DepthSplit]) -> dict[Role, _Seen]:
    """Read every map; whether 0 is a depth is said by the training maps."""
    zeros: bool | None = None
    found: dict[Role, _Seen] = {}
    for role in ROLES:
        rows, unreadable = [], Unreadable()
        for index in range(len(pairs[role])):
            with unreadable.kept():
                rows.append(_statement(pairs[role].values(index)))
        unreadable.tell()
        total = sum(row["size"] for row in rows)
        if zeros is None:
            zeros = sum(row["zeros"] for row in rows) > MISSING * total
        found[role] = _summed(rows, zeros, total)
    return found


def _statement(depth: Values) -> dict[str, Any]:
    """What a map holds: with 0 as a value, and without."""
    ends = []
    for zeros in (False, True):
        known = known_of(depth, zeros)
        known = known[~np.isnan(known)]
        ends.append((float(known.min()), float(known.max())) if known.size else (np.nan, np.nan))
    gaps, none = int(np.isnan(depth).sum()), int((depth == 0).sum())
    return {"shape": depth.shape, "size": depth.size, "zeros": none, "gaps": gaps, "ends": ends}


def _summed(rows: list[dict[str, Any]], zeros: bool, total: int) -> _Seen:
    ends = [row["ends"][zeros] for row in rows]
    gaps = [row["gaps"] + zeros * row["zeros"] for row in rows]
    empty = [k for k, row in enumerate(rows) if gaps[k] > _MOST_MISSING * row["size"]]
    constant = [k for k, (low, high) in enumerate(ends) if low == high and k not in empty]
    known = [pair for k, pair in enumerate(ends) if k not in empty] or [(np.nan, np.nan)]
    return _Seen(
        min(low for low, _ in known), max(high for _, high in known), sum(gaps) / total, zeros,
        [row["shape"] for row in rows], constant, empty,
    )  # fmt: skip


def _usable(
    pairs: dict[Role, DepthSplit], seen: dict[Role, _Seen]
) -> tuple[dict[Role, Split], list[LeftOut]]:
    """The pairs whose maps say something, and what is left out."""
    kept: dict[Role, Split] = {}
    left: list[LeftOut] = []
    for role, split in pairs.items():
        for why, some in (("depth maps of one value", seen[role].constant),
                          ("depth maps with values at less than a tenth of their pixels", seen[role].empty)):  # fmt: skip
            if some:
                assert split.masks is not None
                left.append(LeftOut(why, len(some), split.masks.where(int(split.rows[some[0]]))))
        kept[role] = split.select(torch.tensor(seen[role].usable, dtype=torch.int64))
        if not len(kept[role]):
            raise ValueError(
                f"no {WORDS[role]} pair has a depth map that varies, such as {left[-1].example}; needed:"
                " one or more"
            )
    return kept, left


def _crop(config: DataConfig, sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], list[str]]:
    """Height and width of the parts of training images, and what is to be said of it."""
    smallest = min(min(size) for size in sizes)
    if smallest < max(_LEAST, 2 * config.scale):
        raise ValueError(
            f"an image of {smallest} pixels along one side found; needed: {max(_LEAST, 2 * config.scale)} or"
            " more"
        )
    if config.crop < 2 * config.scale:
        raise ValueError(
            f"crop = {config.crop} received; needed: {2 * config.scale} or more, twice the scale"
        )
    height, width = (
        min(config.crop, min(size[axis] for size in sizes)) // config.scale * config.scale for axis in (0, 1)
    )
    told = f"training images are cut to {height}×{width}: the smallest has {smallest} pixels along one side"
    return (height, width), [told] if min(height, width) + config.scale <= config.crop else []


def _told(config: DataConfig, seen: dict[Role, _Seen]) -> list[str]:
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
    shares = {role: one.missing for role, one in seen.items() if one.missing}
    if shares:
        words = ", ".join(
            f"{100 * share:.2g} % of the {WORDS[role]} pixels" for role, share in shares.items()
        )
        zero = "0 or no finite number" if train.zeros else "no finite number"
        notes.append(f"no depth ({zero}) at {words}: filled for the input, not counted in loss and errors")
    return notes
