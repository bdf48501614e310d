"""What a worker says of its run, in a small file of the run's folder that every shell can read."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .._claims import Claim, ClaimLostError
from .._files import write_text
from .._progress import Progress

STATUS = "status.json"
INTERVAL = 2.0  # seconds between two writings that are due to steps


@dataclass(frozen=True)
class Status:
    """How far a run is: `said` is its last line, `lines` how many there were.

    `threads` are those of the processor that it has; None: it is on another device.
    """

    host: str
    pid: int
    done: int = 0
    total: int = 0
    doing: str = ""
    said: str = ""
    lines: int = 0
    threads: int | None = None

    @property
    def fraction(self) -> float:
        """How much of the training is done, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


def read_status(folder: Path) -> Status | None:
    """What the worker of a folder said last; None: nothing."""
    try:
        return Status(**json.loads((folder / STATUS).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Reporter(Progress):
    """Counts steps as a :class:`Progress` does, for the run's file; each count asks whether we still hold it.

    Args:
        folder: of the run.
        claim: on the folder.
        threads: of the processor that the run has; None: it is on another device.
    """

    def __init__(self, folder: Path, claim: Claim, threads: int | None = None) -> None:
        super().__init__(0, "", quiet=True)
        self.folder = folder
        self.claim = claim
        self.threads = threads
        self.said = ""
        self.lines = 0
        self._written = 0.0
        self._closed = False
        self._lock = threading.Lock()  # the claim's thread writes, too

    def write(self) -> None:
        """Write the file."""
        with self._lock:
            if self._closed:
                return
            self._written = time.monotonic()
            holder = self.claim.holder
            so_far = (self.done, self.total, self.label, self.said, self.lines)
            status = Status(holder.host, holder.pid, *so_far, self.threads)
            write_text(self.folder / STATUS, json.dumps(asdict(status)))

    def close(self) -> None:
        """Take the file away, unless the folder is another's by now; nothing is written any more."""
        with self._lock, suppress(ClaimLostError, OSError):
            self._closed = True
            self.claim.check(now=True)
            (self.folder / STATUS).unlink(missing_ok=True)

    def describe(self, label: str) -> None:
        """Say what is being done now."""
        self.label = label

    def advance(self, steps: int = 1) -> None:
        """Count steps that were done.

        Raises:
            ClaimLostError: another worker has taken over.
        """
        self.claim.check()
        self.done += steps
        if time.monotonic() - self._written > INTERVAL:
            self.write()

    def skip(self, steps: int) -> None:
        """Count steps that an earlier worker did."""
        self.claim.check()
        self.done += steps

    def say(self, text: str) -> None:
        """Keep a line for whoever watches.

        Raises:
            ClaimLostError: another worker has taken over.
        """
        self.claim.check()
        self.said = text
        self.lines += 1
        self.write()
