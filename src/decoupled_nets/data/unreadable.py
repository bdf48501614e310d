"""Images that cannot be read: all of them are looked for, and told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MOST = 10  # so many are listed


class Unreadable:
    """Collects what goes wrong with single images."""

    def __init__(self) -> None:
        self._first: list[Exception] = []  # not all: each holds what it was raised from
        self._count = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error that an image gives, and go on with the next."""
        try:
            yield
        except (ValueError, OSError) as error:
            self._count += 1
            if self._count <= MOST:
                self._first.append(error)

    def tell(self) -> None:
        """Raise what was kept.

        Raises:
            ValueError: some images cannot be read; lists up to ten of them, and says how many there are. A
                single error is raised as it is.
        """
        if self._count == 1:
            raise self._first[0]
        if self._first:
            raise ValueError(listed(list(map(str, self._first)), self._count)) from self._first[0]


def listed(messages: list[str], count: int) -> str:
    """One message of many, the first ones on lines of their own."""
    lines = [*messages[:MOST], *([f"and {count - MOST:,} more"] if count > MOST else [])]
    return "\n  ".join(
        [f"{count:,} images cannot be read; needed: whole image files, or none in their places:", *lines]
    )
