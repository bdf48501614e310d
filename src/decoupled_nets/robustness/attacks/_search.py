"""What iterative attacks keep of the images that still stand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..draws import Draws
from ..losses import margin
from . import Attacked


class Search:
    """Images under attack: those that are broken leave, the rest stay packed.

    A subclass or an attack keeps what it needs a row an image, and lets :meth:`broke` thin it out.

    Args:
        images: (B, C, H, W).
        labels: (B,).
        stop: whether an image leaves once it is broken. An attack whose images are tried on other networks
            goes on: what stops at the source's boundary transfers badly.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, stop: bool = True) -> None:
        self.stop = stop
        self.origin, self.labels = images, labels
        self.place = torch.arange(len(images), device=images.device)
        self._found = images.clone()
        self._ahead = images.new_full((len(images),), -math.inf, dtype=torch.float64)
        self._step = torch.full((len(images),), -1, dtype=torch.int64, device=images.device)

    def __len__(self) -> int:
        return len(self.place)

    def broke(
        self,
        now: Tensor,
        broken: Tensor,
        step: int,
        *rows: Tensor,
        draws: Sequence[Draws] = (),
        logits: Tensor | None = None,
    ) -> list[Tensor]:
        """Note the broken images and let them go.

        Args:
            now: (A, C, H, W), the images as they are at this step.
            broken: (A,) bool.
            step: that it is.
            *rows: (A, ...) each, thinned out alike.
            draws: streams, thinned out alike.
            logits: (A, K); of several broken images that of the largest margin is kept, else the last.

        Returns:
            `now` and `rows` of the images that stay.
        """
        first = broken & (self._step[self.place] < 0)
        kept = broken
        if logits is not None and not self.stop:
            ahead = margin(logits, self.labels)
            kept = broken & (ahead > self._ahead[self.place])
            self._ahead[self.place[kept]] = ahead[kept].double()
        self._found[self.place[kept]] = now[kept]
        self._step[self.place[first]] = step
        if not self.stop or not bool(broken.any()):
            return [now, *rows]
        stay = ~broken
        self.origin, self.labels, self.place = self.origin[stay], self.labels[stay], self.place[stay]
        for stream in draws:
            stream.keep(stay)
        return [tensor[stay] for tensor in (now, *rows)]

    def end(self, best: Tensor) -> Attacked:
        """What became of all images; `best`: (A, C, H, W), of those that still stand."""
        standing = self._step[self.place] < 0
        self._found[self.place[standing]] = best[standing]
        return Attacked(self._found, self._step)


class Best:
    """The image of the largest loss so far, for every image."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.most = images.new_full((len(images),), -math.inf, dtype=torch.float64)

    def note(self, place: Tensor, found: Tensor, losses: Tensor) -> None:
        """Keep what is better; `place`: (A,), of `found` (A, C, H, W) and `losses` (A,) among all images."""
        up = losses > self.most[place]
        self.images[place[up]], self.most[place[up]] = found[up], losses[up].double()


def check_steps(steps: int, *others: int) -> None:
    """Refuse numbers of steps, queries, restarts or targets below one.

    Raises:
        ValueError: one is.
    """
    numbers = (steps, *others)
    if min(numbers) < 1:
        given = ", ".join(map(str, numbers))
        raise ValueError(
            f"{given} received for steps, queries, restarts or targets; needed: at least 1 of each"
        )
