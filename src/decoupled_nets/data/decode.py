"""From any image file to 8-bit grey or RGB, or to deeper grey."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Pillow names the byte order of 16-bit grey in the mode; "I" is what 16-bit PNG is in some of its versions.
_DEEP = {"I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "I": 32, "F": 32}
_GREY = ("1", "L", "LA", "La", *_DEEP)
_ORIENTATION = 0x0112  # of the EXIF data
# What brings an image of EXIF orientation 2 to 8 upright. ImageOps.exif_transpose has the same table, but
# stops at damaged EXIF data, which every viewer passes over.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What the header of an image says.

    Attributes:
        size: (H, W) as it is shown.
        channels: 1 or 3.
        bits: Bits of a channel that are read: 8, 16 or 32.
        reduced: Whether the file has more bits than are read.
    """

    size: tuple[int, int]
    channels: int
    bits: int
    reduced: bool


def header(image: Image.Image) -> Header:
    """Size, channels and bits of an opened image, whose pixels are not decoded."""
    # A PNG file without EXIF or XMP data would be decoded in search of it; TIFF sizes are upright already.
    known = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"} & image.info.keys()
    none = image.format == "PNG" and not known and not _has_late_data(image)
    turned = not none and image.format != "TIFF" and _orientation(image) >= 5
    size = (image.width, image.height) if turned else (image.height, image.width)
    bits = _DEEP.get(image.mode, 8)
    tiles = getattr(image, "tile", None) or [("", (), 0, "")]  # the last of a tile: how its pixels are stored
    reduced = bits == 8 and ";16" in str(tiles[0][3])
    return Header(size, 1 if image.mode in _GREY else 3, bits, reduced)


def _has_late_data(image: Image.Image) -> bool:
    """Whether a PNG file has data behind its pixels that may say how it is turned."""
    file = getattr(image, "fp", None)
    if file is None:
        return False
    place = file.tell()
    try:
        file.seek(8)  # behind the signature: chunks of length, name, data and check sum
        pixels = False
        while len(start := file.read(8)) == 8 and (name := start[4:]) != b"IEND":
            if pixels and name in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            pixels = pixels or name == b"IDAT"
            file.seek(int.from_bytes(start[:4]) + 4, os.SEEK_CUR)
    finally:
        file.seek(place)
    return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever damaged EXIF data leads to
        return 1


def decoded(image: Image.Image) -> Image.Image:
    """Decode to mode ``L`` (one channel) or ``RGB``, 8 bits each, or ``F`` (16- and 32-bit grey), upright.

    Values of mode ``F`` are as stored. Transparent pixels become white, every other colour space RGB.

    Raises:
        OSError: a damaged file (from Pillow).
    """
    if image.format == "TIFF":
        vars(image)["filename"] = (
            ""  # or Pillow 13 maps the file into memory, and leaves a turned image as stored
        )
    image.load()
    method = _UPRIGHT.get(_orientation(image))
    if image.mode in _DEEP:
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    if method is not None:
        info, image = image.info, image.transpose(method)
        image.info = info
    if image.mode == "F":
        return image
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    mode = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert(mode)
    return image.convert(mode)


def extremes(image: Image.Image) -> tuple[float, float]:
    """Smallest and largest value of an image of mode ``F``.

    Raises:
        ValueError: it has another mode, or a pixel is NaN or infinite.
    """
    if image.mode != "F":
        raise ValueError("it has 8 bits a pixel, others have more; needed: one depth, or pixel_range")
    pixels = np.asarray(image)
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("a pixel is NaN or infinite; needed: finite numbers")
    return low, high


def scaled(image: Image.Image, pixel_range: tuple[float, float] | None) -> Image.Image:
    """Map a range of an image of mode ``F`` to [0, 1]; values beyond it are clipped.

    Raises:
        ValueError: there is no range, or a pixel is NaN or infinite.
    """
    if pixel_range is None:
        raise ValueError(
            "it has 16 or 32 bits a pixel, while the images looked at first have 8; needed: one depth, or"
            " pixel_range: the values that become black and white"
        )
    extremes(image)
    low, high = pixel_range
    pixels = (np.asarray(image, dtype=np.float64) - low) / (high - low)
    return Image.fromarray(pixels.clip(0, 1).astype(np.float32))


class Naming:
    """Turns whatever Pillow raises on a bad image into a ValueError that names it.

    Args:
        where: Says where an image is; called only if need be.
        row: The image's number.
    """

    def __init__(self, where: Callable[[int], str], row: int) -> None:
        self._where, self._row = where, row

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # A file that is absent or closed to us says so itself.
        if isinstance(error, Exception) and not isinstance(error, (FileNotFoundError, PermissionError)):
            what = f"cannot read the image {self._where(self._row)}: {error or type(error).__name__}"
            raise ValueError(what) from error


def read_image(
    path: Path, in_chans: int, size: tuple[int, int], pixel_range: tuple[float, float] | None = None
) -> Tensor:
    """One image file as (in_chans, H, W), float32 in [0, 1], upright, resized to (H, W).

    Args:
        path: The file.
        in_chans: 1 or 3.
        size: (H, W).
        pixel_range: Values of 16- and 32-bit pixels that become 0 and 1; None: the image's own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"image {path} does not exist")
    try:
        with Image.open(path) as image:
            picture = decoded(image)
            if picture.mode == "F":
                low, high = pixel_range or extremes(picture)
                picture = scaled(picture, (low, high if high > low else low + 1))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a readable image: {error or type(error).__name__}") from error
    if picture.mode != "F":
        picture = picture.convert("L" if in_chans == 1 else "RGB")
    pixels = np.array(picture.resize(size[::-1], Image.Resampling.BILINEAR), dtype=np.float32)
    tensor = torch.from_numpy(pixels if picture.mode == "F" else pixels / 255)
    return tensor.view(*size, -1).permute(2, 0, 1).expand(in_chans, -1, -1).contiguous()
