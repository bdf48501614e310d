"""``decoupled data``: what a data set is, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._options import Flat
from ..data import DataConfig
from ..tasks import DEFAULT, find_task
from .options import Options


@dataclass(frozen=True)
class ShowConfig(Flat):
    """A data set, as a task sees it.

    Args:
        task: What it is for: `classify` (a label an image) or another task.
        data: The images.

    Raises:
        ValueError: there is no such task.
    """

    task: str = DEFAULT
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        find_task(self.task)


def main(argv: Sequence[str]) -> None:
    """Print splits, classes, sizes, what is left out, and what was decided for the user."""
    options = Options(
        "data",
        "Say what a data set is: splits, classes, sizes, what is left out. PATH stands for --data PATH.",
        ShowConfig,
        out=None,
    )
    words = _with_path(options.spelled_out(argv))
    config = options.build(options.parse(words), words)
    print(find_task(config.task).describe(config.data))


def _with_path(words: Sequence[str]) -> list[str]:
    """The words, with a path that stands by itself as the value of ``--data``, where it stands.

    Raises:
        ValueError: several stand by themselves, or ``--data`` is there as well.
    """
    alone = [
        i
        for i, word in enumerate(words)
        if not word.startswith("-") and not (i and words[i - 1].startswith("--") and "=" not in words[i - 1])
    ]
    named = [
        value if equals else " ".join(words[i + 1 : i + 2])
        for i, word in enumerate(words)
        for name, equals, value in [word.partition("=")]
        if name == "--data"
    ]
    if alone and len(given := [*(words[i] for i in alone), *named]) > 1:
        raise ValueError(f"{', '.join(given)} received; needed: one data set")
    # In its place, for what comes later goes before what a file of options says.
    return [f"--data={word}" if i in alone else word for i, word in enumerate(words)]
