"""Cutting missing sets out of the training images, and limiting sets."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import DataConfig
from .roles import ROLES, WORDS, Role
from .sampling import balanced_subset, hold_out
from .split import Split

TEST_FIRST: tuple[Role, ...] = ("test", "val")
TEST_SHARE, VALIDATION_SHARE, VALIDATION_MOST = 0.2, 0.1, 10_000


def cut_out(
    splits: dict[Role, Split], sources: dict[Role, str], classes: tuple[str, ...], config: DataConfig,
    notes: list[str],
) -> None:  # fmt: skip
    """Cut a missing test set, then a missing validation set, out of the training images; in place.

    Raises:
        ValueError: a class has too few images, or `val_size` is out of range.
    """
    missing: list[Role] = [role for role in TEST_FIRST if role not in splits]
    if not missing:
        return
    source = sources["train"]
    _check_large_enough(splits["train"].labels, source, classes, [WORDS[role] for role in missing])
    for role in missing:
        train = splits["train"]
        if role == "test":
            stays, cut = hold_out(train.labels, TEST_SHARE, f"test {config.split_seed}")
            share = "a fifth of each class"
        else:
            stays, cut = _cut_validation(train.labels, config)
            share = "a tenth of each class" if config.val_size is None else f"val_size={config.val_size}"
        splits["train"], splits[role] = train.select(stays), train.select(cut)
        sources[role] = f"cut out of {source}: {share}"
    sources["train"] = f"{source}, the rest"
    words = " and ".join(f"{WORDS[role]} images" for role in missing)
    notes.append(f"{words} are cut out of the training images at random, by split_seed={config.split_seed}")


def _check_large_enough(labels: Tensor, source: str, classes: tuple[str, ...], missing: list[str]) -> None:
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    small = [f"{name!r} ({n})" for name, n in zip(classes, counts, strict=True) if 0 < n <= len(missing)]
    if small:
        raise ValueError(
            f"{source} has too few images of {', '.join(small[:10])} to cut out a {' and a '.join(missing)}"
            f" set; needed: {len(missing) + 1} or more of each class, or splits of their own"
        )


def _cut_validation(labels: Tensor, config: DataConfig) -> tuple[Tensor, Tensor]:
    key = f"val {config.split_seed}"
    size = config.val_size
    if size is not None:
        present = len(labels.unique())
        if not present <= size <= len(labels) - present:
            raise ValueError(
                f"val_size = {size} received; needed: {present} to {len(labels) - present}, so that of the"
                f" {len(labels):,} images each class has one or more for validation and for training"
            )
    elif len(labels) * VALIDATION_SHARE > VALIDATION_MOST:
        size = VALIDATION_MOST
    return hold_out(labels, VALIDATION_SHARE, key, size)


def limit(splits: dict[Role, Split], sources: dict[Role, str], config: DataConfig, *, cut: bool) -> None:
    """Keep as many images as the options say, as many of each class as possible; in place.

    Args:
        splits: Images of each role.
        sources: Where they come from, in words.
        config: The options.
        cut: Whether the validation set was cut out, by its size already.

    Raises:
        ValueError: there are fewer.
    """
    for role in ROLES:
        size, total = getattr(config, f"{role}_size"), len(splits[role])
        if size is None or (role == "val" and cut):
            continue
        if size > total:
            raise ValueError(f"{role}_size = {size} received; needed: at most {total}, the images there are")
        splits[role] = splits[role].select(balanced_subset(splits[role].labels, size, role))
        if size < total:
            sources[role] += f": {size:,} of {total:,}"
