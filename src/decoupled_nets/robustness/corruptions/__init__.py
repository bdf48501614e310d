"""Corruptions of images by noise, blur, weather and digital processing, each at five severities.

The fifteen of ImageNet-C and CIFAR-10-C, and the four held back for validation (Hendrycks and Dietterich,
2019), one file a kind or a family; every file here is found. The two data sets have *different constants*:
at the same severity those of ImageNet-C are far stronger. Randomness belongs to the image
(:mod:`decoupled_nets.robustness.draws`), and no sum's order depends on the batch: an image is corrupted to
the same bits whatever it is corrupted with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from ..._discover import modules_of
from ..._registry import unknown
from ..draws import Draws, keys_of
from ._levels import LEAST_SIDE, levels_of, to_levels

Constants = Literal["auto", "cifar", "imagenet"]
Corruption = Callable[[Tensor, Any, Draws], Tensor]
GROUPS = ("noise", "blur", "weather", "digital")
SEVERITIES = (1, 2, 3, 4, 5)
#: Images up to this side, in pixels, get CIFAR-10-C's constants.
LARGEST_SMALL = 64
_CHUNK = 2**21  # values corrupted at once


@dataclass(frozen=True)
class Known:
    """A corruption.

    Attributes:
        name: As the published files are called.
        title: In text.
        place: Corruptions stand in the order of these numbers.
        group: noise, blur, weather or digital.
        run: ``run(images, constant, draws)``: (B, C, H, W), float32 multiples of 1/255 in [0, 1], to what
            becomes of them, which may leave [0, 1].
        constants: ``cifar`` and ``imagenet`` to one constant a severity.
        held_back: Whether it is one of the four kept for validation, which are not among the fifteen.
        grey: Whether it does anything to an image of one channel.
    """

    name: str
    title: str
    place: int
    group: str
    run: Corruption
    constants: dict[str, Sequence[Any]]
    held_back: bool
    grey: bool


_FOUND: dict[str, Known] = {}


def corruption(
    name: str,
    title: str,
    place: int,
    *,
    group: str,
    cifar: Sequence[Any],
    imagenet: Sequence[Any],
    held_back: bool = False,
    grey: bool = True,
) -> Callable[[Corruption], Corruption]:
    """Decorator: have a function known as a corruption; the arguments are those of :class:`Known`."""

    def noted(function: Corruption) -> Corruption:
        constants = {"cifar": cifar, "imagenet": imagenet}
        _FOUND[name] = Known(name, title, place, group, function, constants, held_back, grey)
        return function

    return noted


@cache
def corruptions() -> dict[str, Known]:
    """Every corruption by its name: first the fifteen, in the published order, then those held back."""
    modules_of(__name__)
    return {one.name: one for one in sorted(_FOUND.values(), key=lambda one: (one.place, one.name))}


def corruption_named(name: str) -> Known:
    """The corruption of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in corruptions():
        raise ValueError(unknown("corruption", name, list(corruptions())))
    return corruptions()[name]


def constants_for(height: int, width: int) -> Literal["cifar", "imagenet"]:
    """Whose constants ``auto`` takes: CIFAR-10-C's up to 64 pixels, ImageNet-C's above.

    Example:
        >>> constants_for(32, 32), constants_for(224, 224)
        ('cifar', 'imagenet')
    """
    return "cifar" if max(height, width) <= LARGEST_SMALL else "imagenet"


def corrupt(
    images: Tensor, name: str, severity: int, *, constants: Constants = "auto", seed: int = 0
) -> Tensor:
    """Images after a corruption.

    As for the published data sets, images go in and come out with 8 bits a value: pixels are rounded to
    multiples of 1/255 before, and truncated to them after. Lengths, such as the radius of a blur, are in
    pixels and as published, so that at 512² they are a smaller part of the image than at 224²; only the
    elastic transform's grow with the image. The random numbers of an image depend on its pixels, the
    corruption, the severity and the seed, and on nothing else.

    An image of one channel is corrupted as the colour image of three equal channels would be, with one noise
    in the place of three, and a coloured layer (frost, spatter) goes in with its luma. ``saturate`` leaves it
    as it is: it has no colour to saturate.

    Args:
        images: (B, C, H, W), floats in [0, 1]; 1 or 3 channels, at least 8 pixels high and wide.
        name: such as ``gaussian_noise``; :func:`corruptions` has all.
        severity: 1 to 5.
        constants: ``cifar``: those of CIFAR-10-C; ``imagenet``: those of ImageNet-C; ``auto``: the former for
            images of up to 64 pixels.
        seed: another seed, other random numbers.

    Returns:
        (B, C, H, W), of the type and on the device of `images`.

    Raises:
        ValueError: there is no such corruption, severity or choice of constants, or the images are not as
            they must be.
        TypeError: `images` is no tensor of floating-point numbers.

    Source:
        Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
        Perturbations, 2019, with the constants of the scripts that made CIFAR-10-C and ImageNet-C.

    Example:
        >>> corrupt(torch.full((1, 3, 32, 32), 0.5), "brightness", 5)[0, 0, 0, 0]  # 128/255 + 0.3
        tensor(0.8000)
    """
    known = corruption_named(name)
    _check(images, severity, constants)
    chosen = constants_for(*images.shape[2:]) if constants == "auto" else constants
    constant = known.constants[chosen][severity - 1]
    if not len(images):
        return images.clone()
    made = []
    for part in images.split(max(1, _CHUNK // images[0].numel())):
        plain = to_levels(part).contiguous()
        draws = Draws(keys_of(plain), f"corrupt/{name}/{severity}", seed)
        made.append(levels_of(known.run(plain, constant, draws)).to(images.dtype))
    return torch.cat(made)


def _check(images: Tensor, severity: int, constants: str) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        what = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images of {what} received; needed: a tensor of floats, pixels in [0, 1]")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < LEAST_SIDE:
        raise ValueError(
            f"images of shape {tuple(images.shape)} received; needed: (B, C, H, W) with 1 or 3 channels, at"
            f" least {LEAST_SIDE} pixels high and wide"
        )
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise ValueError(f"severity = {severity!r} received; needed: 1, 2, 3, 4 or 5")
    if constants not in ("auto", "cifar", "imagenet"):
        raise ValueError(f"constants = {constants!r} received; needed: 'auto', 'cifar' or 'imagenet'")
    if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):  # NaN is neither
        low, high = images.min().item(), images.max().item()
        raise ValueError(
            f"pixels from {low:g} to {high:g} received; needed: from 0 to 1, before normalisation"
        )


__all__ = [
    "GROUPS",
    "SEVERITIES",
    "Constants",
    "Known",
    "constants_for",
    "corrupt",
    "corruption",
    "corruption_named",
    "corruptions",
]
