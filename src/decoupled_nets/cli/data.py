"""``decoupled data``: what a data set is, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import DataConfig, describe_data
from .options import Options


def main(argv: Sequence[str]) -> None:
    """Print splits, classes, sizes, what is left out, and what was decided for the user."""
    options = Options(
        "data",
        "Say what a data set is: splits, classes, sizes, what is left out. PATH stands for --data PATH.",
        DataConfig,
        out=None,
    )
    first = argv[:1]
    words = ["--data", *argv] if first and not first[0].startswith("-") else list(argv)
    print(describe_data(options.build(options.parse(words), words)))
