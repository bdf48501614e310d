"""Random numbers that belong to an image: neither the batch it is in nor an interruption changes them.

A generator draws in the order of the calls, so what an image gets depends on its neighbours. Here every
number is a function of a key, of the number of the draw and of its place: a counter, hashed. The hash is the
finaliser of SplitMix64 (Steele, Lea and Flood, 2014), which wraps in 64 bits on every device alike.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def keys_of(images: Tensor) -> Tensor:
    """A number for each image, of its pixels: (B, C, H, W) to (B,) int64, on the processor."""
    plain = images.detach().to("cpu", torch.float32).contiguous()
    digests = [hashlib.sha256(image.numpy().tobytes()).digest()[:8] for image in plain]
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)


class Draws:
    """A stream of random numbers for each image.

    Args:
        keys: (B,) int64, what tells the images apart; see :func:`keys_of`.
        name: what the numbers are for: an attack, and its restart. Streams of two names have nothing in
            common.
        seed: another seed, other numbers.
    """

    def __init__(self, keys: Tensor, name: str = "", seed: int = 0) -> None:
        stream = hashlib.sha256(f"{name}\0{seed}".encode()).digest()[:8]
        self.keys = _hash(keys ^ int.from_bytes(stream, "little", signed=True))
        self._count = 0

    def keep(self, mask: Tensor) -> None:
        """Forget the streams of the other images; `mask`: (B,) bool."""
        self.keys = self.keys[mask.to(self.keys.device)]

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers in [0, 1), multiples of 2^-24: (B, *shape), of the device and type of `like`."""
        return (self._bits(shape, like.device, 24).to(torch.float32) * 2.0**-24).to(like.dtype)

    def signs(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """-1 or 1: (B, *shape)."""
        return (2 * self._bits(shape, like.device, 1) - 1).to(like.dtype)

    def integers(self, high: int | Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Whole numbers from 0 to below `high`, which may be one number an image: (B, *shape) int64."""
        device = high.device if isinstance(high, Tensor) else self.keys.device
        return self._bits(shape, device, 31) * high >> 31

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers of a standard normal distribution: (B, *shape)."""
        wide = like.new_empty(0, dtype=torch.float64)
        angle = 2 * math.pi * self.uniform(shape, wide)
        chance = self.uniform(shape, wide) + 2.0**-25  # not 0
        return ((-2 * chance.log()).sqrt() * angle.cos()).to(like.dtype)

    def _bits(self, shape: Sequence[int], device: torch.device, bits: int) -> Tensor:
        """Whole numbers of so many bits."""
        self._count += 1
        self.keys = self.keys.to(device)
        place = torch.arange(math.prod(shape), device=device, dtype=torch.int64)
        draw = _hash(self.keys ^ _hash(torch.tensor(self._count, device=device) * _GOLDEN))
        numbers = _hash(draw[:, None] + (place + 1) * _GOLDEN)
        return _right(numbers, 64 - bits).reshape(-1, *shape)


def _right(numbers: Tensor, by: int) -> Tensor:
    """A shift to the right that fills up with zeros."""
    return (numbers >> by) & ((1 << (64 - by)) - 1)


def _hash(numbers: Tensor) -> Tensor:
    numbers = (numbers ^ _right(numbers, 30)) * _MIX[0]
    numbers = (numbers ^ _right(numbers, 27)) * _MIX[1]
    return numbers ^ _right(numbers, 31)
