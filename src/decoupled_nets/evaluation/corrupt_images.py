"""The images that networks are asked of: corrupted here, or published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from ..data import ImageData
from ..data.sampling import balanced_subset
from ..robustness.corruptions import Constants, Known, constants_for, corrupt
from .corrupt_config import CorruptConfig
from .corrupted import CLEAN, Cell
from .published import Published

_AT_ONCE = 256  # images corrupted before the networks see them


@dataclass
class Given:
    """The images that networks see: corrupted here, or published.

    Raises:
        ValueError: published images are not of the kind that the data has, or are to have other constants.
    """

    config: CorruptConfig
    data: ImageData
    files: Published | None

    def __post_init__(self) -> None:
        if self.files is None:
            return
        if self.config.constants != "auto":
            raise ValueError(
                f"constants = {self.config.constants!r} received with published images; needed: no such"
                " option, as they have been corrupted already"
            )
        own, theirs = (self.data.in_chans, *self.data.image_size), self.files.shape
        if own != theirs:
            raise ValueError(
                f"{self.files.folder} holds images of {_size(theirs)} and {self.data.name} of {_size(own)};"
                " needed: the data that the files were made from, in its own size"
            )
        if int(self.files.labels.max()) >= len(self.data.classes):
            raise ValueError(
                f"{self.files.folder} has labels up to {int(self.files.labels.max())} and {self.data.name}"
                f" {len(self.data.classes)} classes; needed: the data that the files were made from"
            )

    @cached_property
    def count(self) -> int:
        """How many images."""
        most = self.data.test_size if self.files is None else min(
            self.data.test_size, len(self.files.labels)
        )  # fmt: skip
        return min(self.config.images or most, most)

    @cached_property
    def _subset(self) -> tuple[Tensor, Tensor]:
        images, labels = self.data.test_subset(self.count)
        return images, labels

    @cached_property
    def places(self) -> Tensor:
        """Numbers of the published images: of the same test images, if they stand in the same order."""
        assert self.files is not None
        return balanced_subset(self.files.labels, self.count, "test subset")

    @property
    def same_order(self) -> bool:
        """Whether published images have the labels of the test images, one by one."""
        return self.files is None or torch.equal(self.files.labels, self.data.test.labels)

    @property
    def clean_labels(self) -> Tensor:
        """(n,), of the images as they are."""
        return self._subset[1]

    @property
    def labels(self) -> Tensor:
        """(n,), of the corrupted images."""
        return self.clean_labels if self.files is None else self.files.labels[self.places]

    @property
    def constants(self) -> str:
        """Whose constants; empty for published images."""
        if self.files is not None:
            return ""
        auto = self.config.constants == "auto"
        return constants_for(*self.data.image_size) if auto else self.config.constants

    @property
    def kinds(self) -> list[Known]:
        """The corruptions: those asked for that do something to such images, or have a file."""
        chosen = self.config.chosen
        if self.files is not None:
            chosen = [one for one in chosen if one.name in self.files.names]
        elif self.data.in_chans == 1:
            chosen = [one for one in chosen if one.grey]
        if not chosen:
            raise ValueError(
                f"corruptions = {self.config.corruptions!r} received, of which none can be had of these"
                " images; needed: all, or others"
            )
        return chosen

    def parts(self, cell: Cell) -> Iterator[Tensor]:
        """The images, a few hundred at a time."""
        name, severity = cell
        for part in torch.arange(self.count).split(_AT_ONCE):
            if cell == CLEAN:
                yield self._subset[0][part]
            elif self.files is not None:
                yield self.files.images(name, severity, self.places[part])
            else:
                images = self._subset[0][part]
                own = cast(Constants, self.constants)
                yield corrupt(images, name, severity, constants=own, seed=self.config.seed)

    def example(self, cell: Cell) -> Tensor:
        """(C, H, W): the first image."""
        if cell == CLEAN and not self.same_order:
            return torch.full((self.data.in_chans, *self.data.image_size), 0.5)
        if cell == CLEAN or self.files is not None:
            first = (
                self._subset[0][0] if cell == CLEAN else self.files.images(*cell, self.places[:1])[0]  # type: ignore[union-attr]
            )
            return first
        own = cast(Constants, self.constants)
        return corrupt(self._subset[0][:1], *cell, constants=own, seed=self.config.seed)[0]

    def identity(self) -> dict[str, Any]:
        """What results belong to; corruptions and severities may be added later."""
        own = {"images": self.count, "constants": self.constants, "seed": self.config.seed}
        return own if self.files is None else {"images": self.count, "published": self.files.digest}

    @property
    def notes(self) -> list[str]:
        """What was decided, in words."""
        if self.files is not None:
            said = [f"the corrupted images are those of {self.files.folder}"]
            missing = [one.name for one in self.config.chosen if one.name not in self.files.names]
            said += [f"it has no files of {', '.join(missing)}"] if missing else []
            return said if self.same_order else [
                *said, "its images do not stand in the order of the test images: accuracy without corruption"
                " is that of other images",
            ]  # fmt: skip
        height, width = self.data.image_size
        whose = {"cifar": "CIFAR-10-C", "imagenet": "ImageNet-C"}[self.constants]
        why = "chosen by the size" if self.config.constants == "auto" else "as asked"
        said = [f"the corruptions have the constants of {whose}, {why} ({height} × {width} pixels)"]
        if any(one.name == "frost" for one in self.kinds):
            said.append(
                "frost is frost-like: the published photographs are not part of this package, so that its"
                " numbers compare within this package only"
            )
        idle = [one.name for one in self.config.chosen if one not in self.kinds]
        return [*said, *([f"{', '.join(idle)} left out, as it does nothing to grey images"] if idle else [])]


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} × {shape[2]} pixels in {shape[0]} channel{'s' if shape[0] > 1 else ''}"
