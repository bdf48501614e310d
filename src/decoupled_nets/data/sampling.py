"""Random choices that depend on their key alone: not on the process, nor on torch's global generator."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*key: int | str) -> int:
    """Hash a key to a 63-bit seed."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


def generator(*key: int | str) -> torch.Generator:
    """Make a CPU generator that depends on `key` alone."""
    return torch.Generator().manual_seed(seed_of(*key))


def epoch_order(
    size: int,
    seed: int,
    epoch: int,
    blocks: Tensor | None = None,
    window: int = 1,
    balance: Tensor | None = None,
) -> Tensor:
    """Order of the samples in an epoch: a permutation of ``range(size)``, shape (size,), int64.

    Args:
        size: Number of samples.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        blocks: (size,), int64: which block of storage (Parquet row group) has each sample. Then the order
            visits a few random blocks at a time instead of jumping between all of them.
        window: How many blocks at a time.
        balance: (size,), int64: the class of each sample. Then there are as many of each class, up to one; of
            a class with fewer, each comes again only after all others.
    """
    rng = generator("order", seed, epoch)
    order = torch.randperm(size, generator=rng)
    if balance is not None:
        order = _balanced(balance, rng)[order]
    if blocks is None:
        return order
    window_of_block = torch.randperm(int(blocks.max()) + 1, generator=rng) // window
    return order[window_of_block[blocks[order]].argsort(stable=True)]


def _balanced(labels: Tensor, rng: torch.Generator) -> Tensor:
    """As many samples as there are, those of each class alike: (N,) int64 to (N,) int64."""
    classes = labels.unique()
    shares = torch.full((len(classes),), len(labels) // len(classes))
    shares[torch.randperm(len(classes), generator=rng)[: len(labels) % len(classes)]] += 1
    found = []
    for label, share in zip(classes, shares.tolist(), strict=True):
        members = (labels == label).nonzero().flatten()
        rounds = -(-share // len(members))
        shuffled = [members[torch.randperm(len(members), generator=rng)] for _ in range(rounds)]
        found.append(torch.cat([*shuffled, members[:0]])[:share])
    return torch.cat(found)


def rank_in_class(labels: Tensor, key: str) -> Tensor:
    """Number the samples of each class from 0 in a random order; (N,) int64 to (N,) int64."""
    order = torch.randperm(len(labels), generator=generator(key))
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - starts[labels[order]]
    return ranks


def balanced_subset(labels: Tensor, size: int, key: str) -> Tensor:
    """Choose `size` samples, as many of each class as possible; gives sorted indices (size,), int64."""
    return rank_in_class(labels, key).argsort(stable=True)[:size].sort().values


def hold_out(labels: Tensor, fraction: float, key: str, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Cut a part out of a set, the same share of each class.

    Args:
        labels: (N,), int64.
        fraction: Share of each class that is cut out: at least one sample, and at least one stays.
        key: What the choice depends on, besides the labels.
        size: Cut out so many samples in all instead, at most all but one of each class.

    Returns:
        Sorted indices of what stays and of what is cut out, int64.
    """
    counts, rank = torch.bincount(labels), rank_in_class(labels, key)
    if size is None:
        held = (counts * fraction).round().clamp(min=1).minimum(counts - 1)
        is_held = rank < held[labels]
    else:
        # The same share of each class, but for the first sample, which goes first, and the last, which stays.
        place = (rank + 0.5) / counts[labels]
        place[rank == 0] = -1
        place[rank == counts[labels] - 1] = 2
        is_held = torch.zeros(len(labels), dtype=torch.bool)
        is_held[place.argsort(stable=True)[:size]] = True
    return (~is_held).nonzero().flatten(), is_held.nonzero().flatten()
