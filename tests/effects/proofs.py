"""Which test shows the effect of which option: every option of every command needs one.

A test says by ``@proves(OptimConfig, "lr")`` that it fails when this field of the configuration has no
effect, and by ``@proves("train", "out")`` likewise of an option that is a command's own.
test_effects_complete.py compares this with what the commands take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., None])
#: (configuration or command, field or option) to the names of the tests.
PROVEN: dict[tuple[str, str], list[str]] = {}


def proves(owner: type | str, *names: str) -> Callable[[Test], Test]:
    """Decorator of a test that shows the effect of these fields, or of these options of a command."""

    def noted(test: Test) -> Test:
        for name in names:
            key = (owner if isinstance(owner, str) else owner.__name__, name)
            PROVEN.setdefault(key, []).append(test.__name__)
        return test

    return noted
