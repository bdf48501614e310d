"""What the user says about corruptions of the test images."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .._options import Flat, check_choices, defaults, words_of
from .._registry import unknown
from ..data import DataConfig
from ..robustness.corruptions import GROUPS, SEVERITIES, Known, corruptions
from ..robustness.victim import BATCH_SIZE

ALL, HELD_BACK = "all", "held-back"


@dataclass(frozen=True)
class CorruptConfig(Flat):
    """Trained networks on corrupted test images.

    Args:
        data: The images; without `data` those that the first network was trained on.
        corruptions: `all` (the fifteen of CIFAR-10-C and ImageNet-C), `held-back` (the four kept for
            validation), `noise`, `blur`, `weather`, `digital`, or names such as `fog`; several separated by
            commas.
        severities: Numbers from 1 to 5 separated by commas.
        constants: How strong a severity is: as in CIFAR-10-C (`cifar`), as in ImageNet-C (`imagenet`, far
            stronger), or (`auto`) the former for images of up to 64 pixels.
        images: Test images that are corrupted, as many of each class; 0 all of them.
        batch_size: Images that a network sees at once.
        seed: Seed of the corruptions' random numbers.
        accelerator: `auto`, `cpu` or `gpu`, for the networks; images are corrupted on the processor.
        plugin: Python file or module that registers operators or makes the network; imported first.

    Raises:
        ValueError: there is no such corruption or severity, or a number is out of range.
    """

    data: DataConfig = field(default_factory=DataConfig)
    corruptions: str = ALL
    severities: str = "1,2,3,4,5"
    constants: Literal["auto", "cifar", "imagenet"] = "auto"
    images: int = 1000
    batch_size: int = BATCH_SIZE
    seed: int = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    plugin: str | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        assert self.chosen  # checks the names
        assert self.levels
        for name, least in (("images", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")

    @property
    def chosen(self) -> list[Known]:
        """The corruptions, in the published order.

        Raises:
            ValueError: there is no such name.
        """
        names = {name.strip() for name in self.corruptions.split(",")}
        every = corruptions()
        known = [ALL, HELD_BACK, *GROUPS, *every]
        if strange := sorted(names - set(known)):
            raise ValueError(unknown("corruption", strange[0], known))
        return [one for one in every.values() if names & _names(one)]

    @property
    def levels(self) -> list[int]:
        """The severities, in order.

        Raises:
            ValueError: one is none.
        """
        words = [word.strip() for word in str(self.severities).split(",")]
        if not all(word.isdigit() and int(word) in SEVERITIES for word in words) or len(set(words)) != len(
            words
        ):
            raise ValueError(
                f"severities = {self.severities!r} received; needed: numbers from 1 to 5, each once,"
                " separated by commas"
            )
        return sorted(int(word) for word in words)

    def command(self, places: Sequence[str], published: str | None) -> str:
        """The command line: options that are not the defaults, and the data, which the others refer to."""
        own = words_of(self.flat(), defaults(CorruptConfig), always=("data",))
        return shlex.join(
            ["decoupled", "corrupt", *places, *(["--from", published] if published else []), *own]
        )


def _names(one: Known) -> set[str]:
    """What stands for it: its name, and its group or `all`, or what is held back."""
    return {one.name, HELD_BACK} if one.held_back else {one.name, one.group, ALL}
