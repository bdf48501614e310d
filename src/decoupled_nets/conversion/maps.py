"""The maps that a module sees, of which one may guide an upsampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Tensors in lists, tuples and mappings, in their order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)


def is_map(value: Any) -> bool:
    """Whether something may guide: (B, P, H, W), floating point."""
    return isinstance(value, Tensor) and value.dim() == 4 and value.is_floating_point()


class Seen:
    """The maps that a module has seen so far, the last of each shape."""

    def __init__(self, channels: set[int] | None = None) -> None:
        self.channels = channels
        self.maps: list[Tensor] = []

    def add(self, value: Any) -> None:
        """Note one, if it is a map with channels that are asked for."""
        if is_map(value) and (self.channels is None or value.shape[1] in self.channels):
            self.maps = [one for one in self.maps if one.shape != value.shape]
            self.maps.append(value)

    def last(self, size: Sequence[int], batch: int, channels: int | None = None) -> Tensor | None:
        """The last one of this size."""
        for one in reversed(self.maps):
            fits = one.shape[2] == size[0] and one.shape[3] == size[1] and one.shape[0] == batch
            if fits and (channels is None or one.shape[1] == channels):
                return one
        return None
