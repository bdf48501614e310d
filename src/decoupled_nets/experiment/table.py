"""Progress of all jobs of an experiment, whoever does them: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid

from .. import _claims
from .._progress import PLAIN_INTERVAL, duration
from .job import Job, failure_of, state_of
from .status import Status, read_status

LOOK = 1.0  # seconds between two looks at the folders


@dataclass(frozen=True)
class Row:
    """One job as it stands."""

    job: Job
    state: str  # waiting, running, done, failed
    status: Status | None = None

    @property
    def fraction(self) -> float:
        """How much of it is done."""
        if self.state in ("done", "failed"):
            return 1.0
        return self.status.fraction if self.status else 0.0


def look(jobs: Sequence[Job], folder: Path, since: float) -> list[Row]:
    """How all jobs stand."""
    return [_row(job, folder, since) for job in jobs]


def _row(job: Job, folder: Path, since: float) -> Row:
    if (state := state_of(job, folder, since)) is not None:
        return Row(job, state)
    own = folder / job.name
    status = read_status(own)
    if not own.is_dir() or _claims.holder_of(own) is None:
        return Row(job, "waiting", None)
    return Row(job, "running", status)


class Table:
    """A context manager that watches the folders in a thread, and draws.

    Args:
        jobs: all jobs.
        folder: of the experiment.
        since: failures from before that time do not count.
        title: what they are.
        console: where to draw; None takes standard error.
        quiet: draw nothing.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        since: float,
        *,
        title: str = "runs",
        console: Console | None = None,
        quiet: bool = False,
    ) -> None:
        self.jobs, self.folder, self.since, self.title = jobs, folder, since, title
        self.console = console or Console(stderr=True, quiet=quiet)
        self.quiet = quiet
        self.rows: list[Row] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._live: Live | None = None
        self._said: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Table:
        self._start = self._spoken = time.monotonic()
        self.rows = look(self.jobs, self.folder, self.since)
        self._at_start = self._work_done()
        self._said = {row.job.name: (row.state, "") for row in self.rows if row.state == "done"}
        if self.quiet:
            return self
        if self.console.is_terminal:
            self._live = Live(self.drawn(), console=self.console, refresh_per_second=2)
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.quiet:
            return
        self._ended.set()
        self._thread.join()
        self._update()
        if self._live is not None:
            self._live.stop()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                self._update()
            except OSError:  # a folder that somebody else is changing: the next look will do
                continue

    def _update(self) -> None:
        self.rows = look(self.jobs, self.folder, self.since)
        if self._live is not None:
            self._live.update(self.drawn())
        else:
            self._speak()

    def drawn(self) -> Grid:
        """The table as it stands."""
        grid = Grid(title=f"{self.title}: {self.summary()}", title_justify="left")
        for heading in ("run", "state", "steps", "where", "last"):
            grid.add_column(heading, overflow="fold" if heading == "last" else "ellipsis")
        shown = self._shown()
        for row in shown:
            grid.add_row(row.job.title, row.state, *_cells(row.status))
        if hidden := len(self.rows) - len(shown):
            grid.add_row("…", f"{hidden} more")
        return grid

    def _shown(self) -> list[Row]:
        """As many as the terminal is high, in order; those that run or failed before all others."""
        room = max(self.console.height - 7, 3)
        urgent = sorted(self.rows, key=lambda row: row.state not in ("running", "failed"))[:room]
        return [row for row in self.rows if row in urgent]

    def summary(self) -> str:
        """How many are done, and the time left."""
        ended = [row for row in self.rows if row.state in ("done", "failed")]
        failed = sum(row.state == "failed" for row in ended)
        text = f"{len(ended) - failed} of {len(self.rows)} done" + (f", {failed} failed" if failed else "")
        if len(ended) == len(self.rows):
            return text
        return f"{text}, about {left} left" if (left := self.left()) else text

    def left(self) -> str:
        """Time left, from what was done since we look, by all who work; empty before anything was."""
        done = self._work_done()
        rate = (done - self._at_start) / max(time.monotonic() - self._start, 1e-9)
        whole = sum(_work(row.job) for row in self.rows)
        return duration((whole - done) / rate) if rate > 0 else ""

    def _work_done(self) -> float:
        return sum(_work(row.job) * row.fraction for row in self.rows)

    def _speak(self) -> None:
        """Plain lines: what is new of each run, and now and then of all."""
        for row in self.rows:
            text = row.status.said if row.status else ""
            before = self._said.get(row.job.name, ("waiting", ""))
            if text and text != before[1]:
                self._say(text)
            if row.state != before[0] and row.state in ("done", "failed"):
                log = f": {failure_of(row.job, self.folder, self.since)}" if row.state == "failed" else ""
                self._say(f"{row.job.title}: {row.state}{log}; {self.title}: {self.summary()}")
            self._said[row.job.name] = (row.state, text or before[1])
        if time.monotonic() - self._spoken >= PLAIN_INTERVAL:
            self._say(f"{self.title}: {self.summary()}")

    def _say(self, text: str) -> None:
        self._spoken = time.monotonic()
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def _work(job: Job) -> float:
    """How long a job takes, beside the others: by its epochs."""
    return job.config.optim.epochs


def _cells(status: Status | None) -> tuple[str, str, str]:
    if status is None:
        return "", "", ""
    steps = f"{status.done} of {status.total}" if status.total else ""
    return steps, f"{status.host} ({status.pid})", status.said.partition(": ")[2]
