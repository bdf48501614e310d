"""What the user says about distilling the operators that a trained network has learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .._options import Flat, check_choices
from ..data import DataConfig
from ..distillation.reading import pairs_of
from ..robustness.victim import BATCH_SIZE


@dataclass(frozen=True)
class DistilConfig(Flat):
    """Learned operators of a trained network, and the named ones they have become.

    Args:
        data: The images; without `data` those that the network was trained on.
        candidates: Operators to choose from, separated by commas; without it all that learn nothing.
        images: Training images on which the network is read, as many of each class; 0 all of them.
        exchange: Also give every layer the nearest operator, and measure the network with them.
        split: The images on which accuracy is measured: the validation images or the test images, which are
            to be read once, at the end.
        save: Also write the exchanged network, as `exchanged/` in the folder for results.
        batch_size: Images that a network sees at once.
        theme: Colours of the picture.
        accelerator: `auto`, `cpu` or `gpu`.
        plugin: Python file or module that registers operators or makes the network; imported first.

    Raises:
        ValueError: a candidate is unknown or learned itself, a number is out of range, or a network is to be
            saved that is not exchanged.
    """

    data: DataConfig = field(default_factory=DataConfig)
    candidates: str | None = None
    images: int = 512
    exchange: bool = True
    split: Literal["val", "test"] = "val"
    save: bool = False
    batch_size: int = BATCH_SIZE
    theme: Literal["light", "dark"] = "light"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    plugin: str | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        pairs_of(self.names)
        for name, least in (("images", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")
        if self.save and not self.exchange:
            raise ValueError(
                "save = True received with exchange = False; needed: an exchange, whose network is saved"
            )

    @property
    def names(self) -> list[str] | None:
        """The candidates."""
        return None if self.candidates is None else [name.strip() for name in self.candidates.split(",")]
