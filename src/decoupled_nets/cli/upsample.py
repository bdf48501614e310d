"""``decoupled upsample``: one small depth map made larger by a trained network and an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from .._files import write_atomically
from ..data import decode
from ..data.depth_look import MISSING
from ..data.depth_transform import known_of
from ..data.depth_values import Stored, Values, filled, finite, stored_depth
from ..evaluation.trained import load_trained
from ..models.joint import JointUpsampler
from .options import Options

_TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class UpsampleConfig:
    """What makes the map larger.

    Args:
        weights: A trained network: a checkpoint, a training run's folder, or a folder of `save_pretrained`.
        tile: Height and width of the parts that it is made in, in pixels of the image; without it, all at
            once. For images that are too large for the memory.
        plugin: Python file or module that registers operators or upsamplers; imported first.
    """

    weights: str
    tile: int | None = None
    plugin: str | None = None


def main(argv: Sequence[str]) -> None:
    """Read an image and a depth map, and write a map of the image's size."""
    options = Options(
        "upsample",
        "Make a small depth map as large as an image of the same scene.",
        UpsampleConfig,
        out="File to write, .png, .tif or .npy (default: beside the depth map, of the same kind).",
    )
    options.parser.add_argument("image", type=str, help="Image file.")
    options.parser.add_argument("depth", type=str, help="Depth map with fewer samples: .png, .tif or .npy.")
    given = options.parse(argv)
    config = options.build(given, argv)
    whole = load_trained(config.weights).network
    network = getattr(whole, "network", whole)
    if not isinstance(network, JointUpsampler):
        raise ValueError(
            f"{config.weights} holds a {type(network).__name__}; needed: a network of task=depth"
        )
    place = Path(given.depth)
    stored = _stored(place)
    depth, told = _depth(place, finite(stored), network.zeros)
    image = _image(Path(given.image), network.in_chans - 1)
    _check_sizes(Path(given.image), place, image, depth, network.scale)
    found = upsampled(whole, network, image, torch.from_numpy(depth), config.tile)
    path = Path(given.out) if given.out else place.with_name(f"{place.stem}_x{network.scale}{place.suffix}")
    written = write_depth(path, found.numpy(), stored.dtype)
    height, width = written.shape
    Console().print(
        f"Written to {path}: {height}×{width}, {network.scale} times {depth.shape[0]}×{depth.shape[1]}, from"
        f" {float(written.min()):g} to {float(written.max()):g}{told}",
        soft_wrap=True,
        highlight=False,
    )


@torch.no_grad()
def upsampled(
    whole: torch.nn.Module, network: JointUpsampler, image: Tensor, depth: Tensor, tile: int | None = None
) -> Tensor:
    """An image (C, s·h, s·w), pixels in [0, 1], and a map (h, w) to a map (s·h, s·w), in parts if `tile`."""
    inputs = torch.cat([image, network.held(depth[None])])[None]
    whole.eval()
    if tile is None:
        return whole(inputs)[0, 0].float()
    return whole.tiled(inputs, tile)[0, 0].float()  # type: ignore[operator]


def _stored(path: Path) -> Stored:
    """The map as the file has it."""
    if not path.is_file():
        raise FileNotFoundError(f"depth map {path} does not exist")
    try:
        return stored_depth(path)
    except Exception as error:
        raise ValueError(f"cannot read the depth map {path}: {error or type(error).__name__}") from error


def _depth(path: Path, depth: Values, zeros: bool | None) -> tuple[Values, str]:
    """The map without gaps, and what is to be said of them; `zeros`: whether 0 is one (None: by share)."""
    known = known_of(depth, bool((depth == 0).mean() > MISSING) if zeros is None else zeros)
    share = float(np.isnan(known).mean())
    if share == 1:
        raise ValueError(f"{path} has no depth anywhere; needed: finite numbers other than 0")
    told = f"; {100 * share:.2g} % of the small map had no depth and was filled" if share else ""
    return filled(torch.from_numpy(known)).numpy(), told


def _image(path: Path, channels: int) -> Tensor:
    """(C, H, W), pixels in [0, 1], of the image's own size."""
    if not path.is_file():
        raise FileNotFoundError(f"image {path} does not exist")
    try:
        with Image.open(path) as opened:
            picture = decode.decoded(opened)
    except Exception as error:
        raise ValueError(f"{path} is not a readable image: {error or type(error).__name__}") from error
    if picture.mode == "F":
        raise ValueError(f"{path} has 16 or 32 bits a pixel; needed: 8 a channel")
    pixels = np.array(picture.convert("L" if channels == 1 else "RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).view(picture.height, picture.width, channels).permute(2, 0, 1)


def _check_sizes(image_path: Path, depth_path: Path, image: Tensor, depth: Values, scale: int) -> None:
    (height, width), (h, w) = image.shape[1:], depth.shape
    if (height, width) != (scale * h, scale * w):
        raise ValueError(
            f"{image_path} has {height}×{width} pixels and {depth_path} {h}×{w} values; needed: an image of"
            f" {scale * h}×{scale * w}, as the network makes maps {scale} times larger; cut or scale one of"
            " them"
        )


def write_depth(path: Path, depth: Values, like: np.dtype[np.generic]) -> npt.NDArray[Any]:
    """Write a map; a PNG has whole numbers of 8 bits if the small map had, else of 16.

    Args:
        path: its ending says what kind of file.
        depth: the map.
        like: type that the small map is stored in.

    Returns:
        What was written.

    Raises:
        ValueError: a name that says of no kind, or values that the kind does not hold.
    """
    kind = path.suffix.lower()
    values: npt.NDArray[Any]
    if kind == ".npy":
        values = depth.astype(like if np.issubdtype(like, np.floating) else np.float32)
        write_atomically(path, lambda file: np.save(file, values))
        return values
    if kind not in (".png", *_TIFF):
        raise ValueError(f"out = {path} received; needed: a name that ends in .png, .tif or .npy")
    if kind in _TIFF and np.issubdtype(like, np.floating):
        values = depth.astype(np.float32)
    else:
        most = 255 if like == np.uint8 else 65535
        if float(depth.max()) > 1.1 * most or (np.issubdtype(like, np.floating) and float(depth.max()) < 255):
            raise ValueError(
                f"depth from {depth.min():g} to {depth.max():g} is to be written to {path}, in whole numbers"
                f" from 0 to {most}; needed: a name that ends in .npy, which keeps it as it is"
            )
        values = depth.round().clip(0, most).astype(np.uint8 if most == 255 else np.uint16)
    picture = Image.fromarray(values)
    write_atomically(path, lambda file: picture.save(file, "PNG" if kind == ".png" else "TIFF"))
    return values
