"""A dictionary of named functions that explains itself when a name is unknown or taken."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HYPHENED = re.compile(r"[a-z][a-z0-9_-]*")


class Registry(Generic[T]):
    """Entries by name, in the order in which they were registered."""

    def __init__(self, kind: str, *, hyphens: bool = False) -> None:
        self.kind = kind
        self._form = _HYPHENED if hyphens else _NAME
        self._signs = "letters, digits, '_' and '-'" if hyphens else "letters, digits, '_'"
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Register `entry`.

        Raises:
            ValueError: the name is taken, or is not a lower-case identifier (a hyphen separates the two
                halves of an operator's shorthand, so it cannot be part of a name there).
        """
        if not isinstance(name, str) or not self._form.fullmatch(name):
            raise ValueError(
                f"{self.kind} name {name!r} received; needed: a lower-case identifier ({self._signs})"
            )
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is already registered; needed: another name")
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Forget an entry."""
        self[name]
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise ValueError(unknown(self.kind, name, list(self._entries))) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def unknown(kind: str, name: object, known: list[str]) -> str:
    """The message for a name that is not among `known`, with the nearest one suggested."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {kind} {name!r}{hint}; known: {', '.join(known)}"
