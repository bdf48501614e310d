"""Which samples are in which batch, on which process; and where training was when it stopped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from .batches import Batch, Labelled, Store
from .sampling import epoch_order


class TrainLoader:
    """Batches of the training split: shuffled, augmented, and resumable in mid-epoch.

    The global batch ``i`` of an epoch and its augmentation depend on the seed, the epoch and ``i`` only; each
    of `world_size` processes takes its slice. The last, incomplete batch is dropped, unless it is the only
    one.

    An iteration is one epoch, and the next iteration the next epoch; ``set_epoch`` chooses another. It is a
    stateful dataloader as pytorch-lightning knows them: it counts a batch when it hands it out.

    Args:
        store: The training split.
        batch_size: Samples in a global batch, of all processes together.
        seed: Seed of order and augmentation.
        augment: Whether to augment.
        balanced: Whether an epoch has as many samples of each class instead of each sample once.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: a batch size that the processes cannot share evenly, or more processes than samples.
    """

    def __init__(
        self,
        store: Store,
        batch_size: int,
        seed: int,
        *,
        augment: bool = True,
        balanced: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check(batch_size, rank, world_size)
        size = len(store.labels)
        if size < world_size:
            raise ValueError(
                f"{size} training samples received for {world_size} processes; needed: one or more for each"
            )
        self._store, self._seed, self._augment = store, int(seed), augment
        self._balanced = balanced
        self.batch_size = min(batch_size, size // world_size * world_size)
        each = self.batch_size // world_size
        self._shard = slice(rank * each, (rank + 1) * each)
        self._epoch = self._batch = 0
        self._start = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._store.labels) // self.batch_size

    def __iter__(self) -> Iterator[Labelled]:
        # A generator: it starts at the first batch, after the trainer has called load_state_dict and
        # set_epoch.
        start, self._start = self._start, 0
        self._batch = start
        for labelled in self._store.batches(self._plan(self._epoch, start)):
            self._batch += 1
            yield labelled
        self._epoch, self._batch = self._epoch + 1, 0

    def _plan(self, epoch: int, start: int) -> Iterator[Batch]:
        order = epoch_order(
            len(self._store.labels), self._seed, epoch, self._store.blocks, self._store.window,
            self._store.labels if self._balanced else None,
        )  # fmt: skip
        for number in range(start, len(self)):
            indices = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield Batch(indices, self._shard, (self._seed, epoch, number) if self._augment else None)

    @property
    def sampler(self) -> TrainLoader:
        """Where pytorch-lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; a position loaded for this epoch is kept."""
        if epoch != self._epoch:
            self._epoch, self._batch, self._start = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Give the epoch and the number of batches handed out, the same on each process."""
        return {"epoch": self._epoch, "batch": self._batch, "seed": self._seed, "batch_size": self.batch_size}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next iteration continue where ``state_dict`` was taken.

        Raises:
            ValueError: it was taken within an epoch of other batches (seed or batch size differ).
        """
        own = self.state_dict()
        for name in ("seed", "batch_size"):
            if state_dict["batch"] and state_dict[name] != own[name]:
                raise ValueError(
                    f"cannot continue after batch {state_dict['batch']} of an epoch with {name} {own[name]};"
                    f" needed: {state_dict[name]}, with which the epoch began"
                )
        self._epoch = state_dict["epoch"]
        self._batch = self._start = state_dict["batch"]


class TestLoader:
    """Batches of the test or the validation set, in order, each sample once.

    Batches differ in size by one sample at most, rather than leaving a small rest, so that each of
    `world_size` processes has as many batches and none has an empty one (unless there are too few samples to
    go round: a process may then get a batch of no samples). Sums over processes must weigh by the number of
    samples.

    Args:
        store: The set.
        batch_size: Upper limit to the samples in a global batch, of all processes together.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: a batch size that the processes cannot share evenly.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __init__(self, store: Store, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        _check(batch_size, rank, world_size)
        self._store, self._rank, self._world_size = store, rank, world_size
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches, the same on each process."""
        return -(-len(self._store.labels) // self.batch_size)

    def __iter__(self) -> Iterator[Labelled]:
        return self._store.batches(self._plan())

    def places(self, number: int) -> torch.Tensor:
        """Which samples this process has in batch `number`: (B,), int64."""
        return next(itertools.islice(self._plan(), number, None)).own

    def _plan(self) -> Iterator[Batch]:
        for indices in torch.arange(len(self._store.labels)).tensor_split(len(self)):
            first, last = (len(indices) * rank // self._world_size for rank in (self._rank, self._rank + 1))
            yield Batch(indices, slice(first, last))


def _check(batch_size: int, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} of {world_size} processes received; needed: 0 to {world_size - 1}")
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(
            f"batch_size = {batch_size} received, of all {world_size} processes together;"
            f" needed: a positive multiple of {world_size}"
        )
