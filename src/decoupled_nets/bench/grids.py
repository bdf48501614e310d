"""Which cases are measured together, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from .cases import Case, LayerCase, NetworkCase

Grid = Callable[[int, float], Sequence[Case]]

CNN9_STAGES = ((32, 128), (16, 192), (8, 256))
IMAGENET_STAGES = ((56, 128), (28, 256), (14, 512))


def cnn9(batch: int, width: float) -> list[LayerCase]:
    """The nine 3×3 layers of CNN-9 on 32² images."""
    cases: list[LayerCase] = []
    channels = 3
    for size, base in CNN9_STAGES:
        out = _scaled(base, width)
        for _ in range(3):
            cases.append(LayerCase(batch, channels, out, size, input_gradient=bool(cases)))
            channels = out
    return cases


def imagenet(batch: int, width: float) -> list[LayerCase]:
    """The 3×3 layers of a network on 224² images; an eighth of the batch."""
    channels = [(size, _scaled(base, width)) for size, base in IMAGENET_STAGES]
    return [LayerCase(_share(batch, 8), c, c, size) for size, c in channels]


def shapes(batch: int, width: float) -> list[LayerCase]:
    """Other geometries, memory formats and types, on ImageNet's sizes; an eighth of the batch."""
    b = _share(batch, 8)
    narrow, middle, wide = (_scaled(base, width) for base in (64, 128, 256))
    grouped = 4 * _scaled(32, width)
    return [
        LayerCase(b, narrow, wide, 56, kernel=1, padding=0),
        LayerCase(b, middle, wide, 56, stride=2),
        LayerCase(b, grouped, grouped, 56, groups=4),
        LayerCase(b, middle, middle, 56, memory_format="channels_last"),
        LayerCase(b, middle, middle, 56, dtype="bfloat16"),
    ]


def batch1(batch: int, width: float) -> list[LayerCase]:
    """One image through the shapes of CNN-9 and of the ImageNet network, each shape once: inference."""
    layers = [*cnn9(1, width), *imagenet(1, width)]
    once = {dataclasses.replace(case, training=False, input_gradient=False): None for case in layers}
    return list(once)


def growth(batch: int, width: float) -> list[LayerCase]:
    """One layer as its channels, its resolution and its batch grow; a quarter of the batch in between."""
    b, c = _share(batch, 4), _scaled(64, width)
    by_channels = [LayerCase(b, n, n, 28, sweep="channels") for n in _around(c, (0.25, 0.5, 1, 2, 4))]
    by_size = [LayerCase(b, c, c, size, sweep="resolution") for size in (7, 14, 28, 56)]
    by_batch = [LayerCase(n, c, c, 28, sweep="batch") for n in _around(b, (0.0625, 0.25, 1, 4))]
    return [*by_channels, *by_size, *by_batch]


def networks(batch: int, width: float) -> list[NetworkCase]:
    """CNN-9 as a whole: training step and inference."""
    return [NetworkCase("cnn9", batch, width, training=training) for training in (True, False)]


GRIDS: dict[str, Grid] = {
    "cnn9": cnn9,
    "imagenet": imagenet,
    "shapes": shapes,
    "batch1": batch1,
    "growth": growth,
    "networks": networks,
}


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _share(batch: int, part: int) -> int:
    return max(1, batch // part)


def _around(middle: int, factors: Sequence[float]) -> list[int]:
    """Different whole numbers, at least 1."""
    return sorted({max(1, round(middle * factor)) for factor in factors})
