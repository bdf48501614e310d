"""A look at the images before they are decoded: sizes, channels, depth."""

from __future__ import annotations

from dataclasses import dataclass

from . import decode
from .memory import counted
from .roles import ROLES, Role
from .split import ArrayReader, Split
from .unreadable import Unreadable

FALLBACK_SIZE = 224
OWN_SIZE_MOST = 512  # larger images are given to a network as they are only if the user says so


@dataclass(frozen=True)
class Look:
    """What the headers of images say, and the range of deep ones.

    Attributes:
        sizes: (H, W) of all, or of the smallest and the largest.
        in_chans: 3 if any has colours, else 1.
        bits: The most bits a channel has.
        pixel_range: Values that become 0 and 1; None: there are only 8-bit images.
        notes: What the user should know.
    """

    sizes: list[tuple[int, int]]
    in_chans: int
    bits: int
    pixel_range: tuple[float, float] | None
    notes: list[str]

    @property
    def own_size(self) -> tuple[int, int] | None:
        """Height and width of the images, if they are alike and not too large."""
        return self.sizes[0] if len(self.sizes) == 1 and max(self.sizes[0]) <= OWN_SIZE_MOST else None


def look_at(splits: dict[Role, Split], most: int, pixel_range: tuple[float, float] | None) -> Look:
    """Read the headers of up to about `most` images of each split; of deep images, all training pixels.

    Args:
        splits: Training, validation and test split.
        most: How many headers of a split are read.
        pixel_range: The range of 16- and 32-bit images, if the user gave one.

    Raises:
        ValueError: an image that cannot be read, images of 8 and of more bits without a given range, or deep
            images that are all of one value; names a file.
    """
    every = [(splits[role], int(index)) for role in ROLES for index in splits[role].spread(most)]
    places = [p for k, p in enumerate(every) if k == 0 or not isinstance(p[0].reader, ArrayReader)]
    headers, unreadable = [], Unreadable()
    for split, index in places:
        with unreadable.kept():
            headers.append(split.header(index))
    unreadable.tell()
    sizes = sorted({header.size for header in headers}, key=lambda size: (size[0] * size[1], size))
    notes = []
    if len(headers) == len(every) < sum(map(len, splits.values())):
        notes.append(
            f"size, channels and bits by {len(headers):,} of the images; others are brought to the same"
        )
    if len(sizes) == 1 and max(sizes[0]) > OWN_SIZE_MOST:
        notes.append(f"images larger than {OWN_SIZE_MOST} are scaled down (image_size: another size)")
    if reduced := [place for place, header in zip(places, headers, strict=True) if header.reduced]:
        split, index = reduced[0]
        notes.append(f"16-bit colours are read as 8 bits: the upper half, as in {split.where(index)}")
    shown = sizes if len(sizes) == 1 else [sizes[0], sizes[-1]]
    bits = max(header.bits for header in headers)
    deep = [place for place, header in zip(places, headers, strict=True) if header.bits > 8]
    if deep:
        flat = [place for place, header in zip(places, headers, strict=True) if header.bits == 8]
        pixel_range = _range(splits["train"], deep[0], flat[0] if flat else None, pixel_range, notes)
    elif pixel_range is not None:
        notes.append("pixel_range is ignored: the images have 8 bits")
        pixel_range = None
    return Look(shown, max(header.channels for header in headers), bits, pixel_range, notes)


def _range(
    train: Split,
    deep: tuple[Split, int],
    flat: tuple[Split, int] | None,
    given: tuple[float, float] | None,
    notes: list[str],
) -> tuple[float, float]:
    """The range of deep images: as given, or that of the training images."""
    if given is not None:
        if flat is not None:
            notes.append("8-bit images among deeper ones: 0 to 255 become 0 to 1")
        return given
    if flat is not None:
        raise ValueError(
            f"{flat[0].where(flat[1])} has 8 bits a pixel and {deep[0].where(deep[1])} more; needed: images"
            " of one depth, or pixel_range: the values of the deeper ones that become black and white"
        )
    low, high = float("inf"), float("-inf")
    unreadable = Unreadable()
    for index in counted(len(train)):
        with unreadable.kept():
            darkest, brightest = train.read(index, decode.extremes)
            low, high = min(low, darkest), max(high, brightest)
    unreadable.tell()
    if low == high:
        raise ValueError(
            f"every pixel of the training images is {low:g}, as in {train.where(0)}; needed: images that"
            " differ, or pixel_range"
        )
    notes.append(
        f"pixels from {low:g} to {high:g} over the training images become 0 to 1, values beyond are clipped"
        " (pixel_range: another range)"
    )
    return low, high
