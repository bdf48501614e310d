"""Progress on anything that takes longer than a few seconds: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_INTERVAL = 10.0  # seconds between plain lines


class Progress:
    """A context manager that counts `total` steps and estimates the time left.

    Args:
        total: number of steps.
        label: what is being done.
        console: where to draw; None takes standard error.
        quiet: draw nothing (a process that is not the first, a call from another program).
    """

    def __init__(
        self, total: int, label: str, *, console: Console | None = None, quiet: bool = False
    ) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)
        self.total = total
        self.done = 0
        self.label = label
        self._skipped = 0
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        self._start = self._spoken = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Bar(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=self.console)
            self._task = self._bar.add_task(self.label, total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def describe(self, label: str) -> None:
        """Say what is being done now."""
        self.label = label
        if self._bar is not None:
            self._bar.update(self._task, description=label)

    def advance(self, steps: int = 1) -> None:
        """Count steps that were done."""
        self.done += steps
        if self._bar is not None:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._spoken >= PLAIN_INTERVAL:
            self._spoken = time.monotonic()
            percent = min(100 * self.done // max(self.total, 1), 100)
            # More steps than were expected: how many are left is not known.
            left = f"about {self._left()} left" if self.done < self.total else "nearly done"
            self.console.print(f"{self.label}: {percent} %, {left}", highlight=False)

    def skip(self, steps: int) -> None:
        """Count steps that an earlier run did; they say nothing about speed."""
        self.done += steps
        self._skipped += steps
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        rate = (self.done - self._skipped) / (time.monotonic() - self._start)
        return duration((self.total - self.done) / rate) if rate > 0 else "?"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(9.6), duration(150), duration(8000)
        ('10 s', '2 min 30 s', '2 h 13 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
