"""Engines, one file each; every file here is found.

An engine decides how many workers there are, and where. What a worker does is the same everywhere, and it
finds out from the folders alone what is left to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from ..._discover import classes_of

if TYPE_CHECKING:
    from ...training import MachineConfig
    from ..config import EngineConfig
    from ..worker import Worker


class Started(ABC):
    """A worker that was started, or waits for its turn."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether it has come to an end, whatever kind of."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to save what it has and to end."""

    def trouble(self) -> str:
        """Why it ended, if not because nothing was left to do."""
        return ""


class Engine(ABC):
    """Starts workers; a context manager.

    Attributes:
        name: What the option ``engine`` calls it.
        alone: Whether a worker does one job and ends, so that there is one for each.

    Args:
        config: The options.
        machine: What the runs need.
        jobs: Runs at the same time.
    """

    name: ClassVar[str]
    alone: ClassVar[bool] = False

    def __init__(self, config: EngineConfig, machine: MachineConfig, jobs: int) -> None:
        self.config = config
        self.machine = machine
        self.jobs = jobs

    @abstractmethod
    def start(self, worker: Worker, count: int) -> list[Started]:
        """Start so many workers."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027  (most have nothing to end)
        """End what the engine itself has started; no worker is left by then."""


@cache
def engines() -> dict[str, type[Engine]]:
    """Every engine by its name."""
    return {engine.name: engine for engine in classes_of(__name__, Engine)}  # type: ignore[type-abstract]


def needs(module: str, extra: str) -> ValueError:
    """The error of an engine whose library is not there."""
    return ValueError(f'{module} is not installed; needed: pip install "decoupled-nets[{extra}]"')
