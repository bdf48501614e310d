"""A number that networks are judged by: its name, its unit, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """What a measured number means.

    Attributes:
        name: Its key in files: an identifier.
        title: Its name in a sentence.
        unit: ``%`` (the number itself is a fraction), or the unit that the number is in.
        better: Whether a better network has a higher or a lower one.
    """

    name: str
    title: str
    unit: str = "%"
    better: Literal["higher", "lower"] = "higher"

    @property
    def scale(self) -> float:
        """What the number is multiplied by where it is shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def digits(self) -> int:
        """Decimals where it is shown."""
        return 1 if self.unit == "%" else 3

    @property
    def difference_unit(self) -> str:
        """The unit of a difference."""
        return "points" if self.unit == "%" else self.unit

    @property
    def heading(self) -> str:
        """Title and unit, as a table's or an axis's heading ends."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def capitalised(self) -> str:
        """The title at the start of a sentence: ``Accuracy``, but ``mIoU``."""
        first = self.title.split()[0]
        return self.title[:1].upper() + self.title[1:] if first.islower() else self.title

    def text(self, value: float) -> str:
        """A value with its unit.

        Example:
            >>> Metric("accuracy", "accuracy").text(0.8125), Metric("rmse", "RMSE", "cm", "lower").text(2.5)
            ('81.2%', '2.500 cm')
        """
        space = "" if self.unit in ("%", "") else " "
        return f"{self.scale * value:.{self.digits}f}{space}{self.unit}"

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another one."""
        return value > other if self.better == "higher" else value < other

    def reaches(self, value: float, target: float) -> bool:
        """Whether a value is as good as the target, or better."""
        return value == target or self.is_better(value, target)

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None: there are none."""
        return (max if self.better == "higher" else min)(values, default=None)
