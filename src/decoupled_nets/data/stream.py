"""Splits that are decoded batch by batch, in worker processes."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .batches import Batch, Labelled
from .sampling import generator
from .split import Split
from .transform import Transform
from .unreadable import listed


class StreamStore:
    """A split whose images are read when they are needed.

    Args:
        split: Where the images are.
        transform: How batches are made of them.
        workers: Processes that decode; 0: decode in this one.
    """

    def __init__(self, split: Split, transform: Transform, workers: int) -> None:
        self.labels = split.labels
        self.blocks, self.window = split.blocks, split.reader.window
        self.transform = transform
        self._images = _Images(split, transform)
        self._workers = workers

    def raw(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, uint8 or float32 as prepared.

        Raises:
            ValueError: an image that cannot be read; names the file.
        """
        one = isinstance(plan, list) and len(plan) == 1  # not worth starting processes for
        loader = DataLoader(
            self._images,
            batch_sampler=_Samples(plan, self.transform),
            collate_fn=self._images.stack,
            num_workers=0 if one else self._workers,
            worker_init_fn=_leave_interrupts_to_the_trainer,
            pin_memory=torch.cuda.is_available(),
            generator=generator("workers"),  # else starting an epoch would draw from the global generator
        )
        for batch in loader:
            if isinstance(batch, _Damaged):
                raise batch.kind(batch.message) from _InWorker(batch.trace)
            yield batch

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan.

        Raises:
            ValueError: an image that cannot be read; names the file.
        """
        for images, labels in self.raw(plan):
            yield self.transform.pair(images, labels)


def _leave_interrupts_to_the_trainer(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the trainer still needs the batches of its last step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class _Damaged:
    """An image that could not be read.

    A DataLoader would put a worker's whole traceback into the message of the error it raises; this comes as
    an ordinary batch instead, and is raised here.
    """

    kind: type[Exception]
    message: str
    trace: str


class _InWorker(Exception):
    """Where an image could not be read: the cause of the error that is raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Samples:
    """The samples of each batch, each with where it is cut."""

    def __init__(self, plan: Iterable[Batch], transform: Transform) -> None:
        self._plan, self._transform = plan, transform

    def __iter__(self) -> Iterator[list[tuple[int, Tensor | None]]]:
        for batch in self._plan:
            places = self._transform.places(batch)
            own = batch.own.tolist()
            yield [(index, None if places is None else places[k]) for k, index in enumerate(own)]


class _Images(Dataset[Any]):
    """Decodes and cuts one image at a time: (C, H, W), and its label."""

    def __init__(self, split: Split, transform: Transform) -> None:
        self.split, self.transform = split, transform

    def stack(self, samples: list[tuple[Tensor, int] | _Damaged]) -> Labelled | _Damaged:
        """Make a batch, which has no samples when there are fewer than processes."""
        if damaged := [sample for sample in samples if isinstance(sample, _Damaged)]:
            one, *more = damaged
            messages = [sample.message for sample in damaged]
            return _Damaged(ValueError, listed(messages, len(messages)), one.trace) if more else one
        whole = [sample for sample in samples if not isinstance(sample, _Damaged)]
        images, labels = [image for image, _ in whole], [label for _, label in whole]
        transform = self.transform
        if not images:
            return torch.empty(0, *transform.made, dtype=transform.dtype), torch.empty(0).long()
        return transform.stack(images), torch.tensor(labels, dtype=torch.int64)

    def __getitem__(self, sample: tuple[int, Tensor | None]) -> tuple[Tensor, int] | _Damaged:
        index, place = sample
        try:
            prepared = torch.from_numpy(
                np.array(self.split.read(index, self.transform.prepare)[None], order="C")
            )
        except (ValueError, OSError) as error:
            return _Damaged(type(error), str(error), traceback.format_exc())
        finished = self.transform.finish(prepared, None if place is None else place[None])
        return finished[0], int(self.split.labels[index])
