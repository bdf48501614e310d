"""Splits that are decoded batch by batch, in worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from .batches import Batch, Labelled, to_float
from .memory import fit
from .sampling import generator, seed_of
from .split import Split

# The share of an image's side that the central crop keeps: 224 of 256 pixels, as is usual for ImageNet.
CROP = 0.875


class StreamStore:
    """A split whose images are read when they are needed.

    Args:
        split: Where the images are.
        in_chans: 1 or 3.
        size: (H, W) of the images it gives.
        workers: Processes that decode; 0: decode in this one.
        mirror: Whether augmentation mirrors images.
    """

    def __init__(
        self, split: Split, in_chans: int, size: tuple[int, int], workers: int, mirror: bool
    ) -> None:
        self.labels = split.labels
        self._images = _Images(split, in_chans, size, mirror)
        self._workers = workers

    @property
    def blocks(self) -> Tensor | None:
        """Which block of storage has each sample."""
        return self._images.split.blocks

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan."""
        loader = DataLoader(
            self._images,
            batch_sampler=_Samples(plan),
            collate_fn=self._images.stack,
            num_workers=self._workers,
            worker_init_fn=_leave_interrupts_to_the_trainer,
            pin_memory=torch.cuda.is_available(),
            generator=generator("workers"),  # else starting an epoch would draw from the global generator
        )
        for images, labels in loader:
            yield to_float(images), labels


def _leave_interrupts_to_the_trainer(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the trainer still needs the batches of its last step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Samples:
    """The samples of each batch, with the seed of each sample's augmentation."""

    def __init__(self, plan: Iterable[Batch]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[list[tuple[int, int | None]]]:
        for batch in self._plan:
            key = batch.key
            yield [
                (index, None if key is None else seed_of("augment", key[0], key[1], index))
                for index in batch.own.tolist()
            ]


class _Images(Dataset[tuple[Tensor, int]]):
    """Decodes and transforms one image at a time: uint8 (C, H, W), and its label."""

    def __init__(self, split: Split, in_chans: int, size: tuple[int, int], mirror: bool) -> None:
        self.split = split
        self.shape = (in_chans, *size)
        self.mode = "L" if in_chans == 1 else "RGB"
        larger = (round(size[0] / CROP), round(size[1] / CROP))
        self.test = v2.Compose([fit(larger), v2.CenterCrop(size), v2.PILToTensor()])
        flip = [v2.RandomHorizontalFlip()] if mirror else []
        self.train = v2.Compose([v2.RandomResizedCrop(size), *flip, v2.PILToTensor()])

    def stack(self, samples: list[tuple[Tensor, int]]) -> Labelled:
        """Make a batch, which has no samples when there are fewer than processes."""
        images = [image for image, _ in samples]
        labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
        return torch.stack(images) if images else torch.empty(0, *self.shape, dtype=torch.uint8), labels

    def __getitem__(self, sample: tuple[int, int | None]) -> tuple[Tensor, int]:
        index, seed = sample
        image = self.split.read(index).convert(self.mode)
        label = int(self.split.labels[index])
        if seed is None:
            return self.test(image), label
        # The transforms draw from the global generator, which may be the training process's own.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.train(image), label
