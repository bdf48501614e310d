"""Which names mean training, validation and test."""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = ("train", "val", "test")
WORDS = {"train": "training", "val": "validation", "test": "test"}  # as people say it

# Those that Hugging Face's `datasets` knows, and what else is met in archives.
_KEYWORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "tr", "trainset", "trainval", "trainvalid"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "development"), "val"),
    **dict.fromkeys(("eval", "evaluation"), "val"),  # the test, where nothing else is one
    **dict.fromkeys(("test", "testing", "tst", "ts", "testset"), "test"),
}  # fmt: skip


def role_of(name: str) -> Role | None:
    """The role that the name of a split stands for, in any case and between any separators.

    Example:
        >>> role_of("seg_train"), role_of("train2017"), role_of("Images-VAL"), role_of("imagesTs")
        ('train', 'train', 'val', 'test')
        >>> role_of("trainers"), role_of("train_test_split")
        (None, None)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    roles = {_KEYWORDS[word] for word in re.split(r"[^a-z]+", spaced.lower()) if word in _KEYWORDS}
    if roles == {"train", "val"}:
        return "train"  # train_val: what is trained on in the end
    return roles.pop() if len(roles) == 1 else None
