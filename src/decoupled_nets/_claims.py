"""Claims on folders: who works there, kept on disk, so that processes and machines can share the work.

A claim is a file ``claim.N`` in the folder, made by an exclusive create, whose time its holder renews. One
that has been silent for too long, or whose process is gone, is taken over by making ``claim.N+1`` and then
removing the old one: of several that try, one makes the new file, and the old holder finds that its own is
gone. Ages are counted by the clock of the file system alone, as those of machines differ.

What the file system has to do: an exclusive create succeeds once (NFS from version 3 on), opening a file
shows whether it was removed or renewed (close-to-open consistency), and a file's time is the server's.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

from ._files import clock

SILENT = 60.0  # seconds after which a holder that does not renew its claim counts as gone
BEAT = 5.0  # seconds between renewals
_NAME = re.compile(r"claim\.(\d+)")


class ClaimLostError(RuntimeError):
    """Another worker has taken over the folder: whoever meets this writes nothing more there."""


@dataclass(frozen=True)
class Holder:
    """Who holds a claim; `place` is a machine since its start, within one container.

    `deaths` counts those before it that went away without giving the folder back, in a row and with no
    `mark` (anything that shows progress) left in between.
    """

    host: str
    place: str
    pid: int
    started: int
    token: str
    deaths: int = 0
    mark: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class _Found:
    """A claim as it was read."""

    path: Path
    number: int
    holder: Holder | None  # None: not (yet) written
    time: float

    def alive(self, now: float, silent: float) -> bool:
        if now - self.time > silent:
            return False
        return self.holder is None or self.holder.place != _place() or _runs(self.holder)


class Claim:
    """A folder that this process holds; a context manager that gives it back.

    Make one by :func:`take`.

    Args:
        path: its file.
        holder: who holds it.
        silent: seconds after which others take it over.
        beat: seconds between renewals.
    """

    def __init__(self, path: Path, holder: Holder, silent: float = SILENT, beat: float = BEAT) -> None:
        self.path = path
        self.holder = holder
        self.silent = silent
        self.beat = beat
        self._lost = False
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, at_beat: Callable[[], object] | None = None) -> Claim:
        """Renew the claim from now on, in a thread, which also calls `at_beat` each time."""
        self._thread = threading.Thread(target=self._renew_on, args=(at_beat,), daemon=True)
        self._thread.start()
        return self

    def check(self, *, now: bool = False) -> None:
        """Ask whether the folder is still ours: from memory, or on disk with `now` or after a long sleep.

        Raises:
            ClaimLostError: it is not.
        """
        if now or time.monotonic() - self._renewed > self.silent / 2:
            self._renew()
        if self._lost:
            raise ClaimLostError(f"{self.path.parent} was taken over by another worker")

    def release(self) -> None:
        """Give the folder back, if it is still ours."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if not self._lost and self._is_ours():
            self.path.unlink(missing_ok=True)

    def _renew_on(self, at_beat: Callable[[], object] | None) -> None:
        while not self._ended.wait(self.beat):
            self._renew()
            if self._lost:
                return
            if at_beat is not None:
                with suppress(OSError):
                    at_beat()

    def _renew(self) -> None:
        try:
            if self._is_ours():
                os.utime(self.path)
                self._renewed = time.monotonic()
            else:
                self._lost = True
        except FileNotFoundError:
            self._lost = True
        except OSError:  # a disk that does not answer for a moment
            self._lost = self._lost or time.monotonic() - self._renewed > self.silent

    def _is_ours(self) -> bool:
        found = _read(self.path)
        return found is not None and found.holder == self.holder

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def take(folder: Path, *, mark: int = 0, silent: float = SILENT, beat: float = BEAT) -> Claim | None:
    """Claim a folder, if nobody alive holds it; None if somebody does, or was faster.

    Args:
        folder: is made if it is not there.
        mark: shows progress: a change of it since the last claim sets ``deaths`` to zero.
        silent: seconds without a renewal after which a holder counts as gone.
        beat: seconds between our own renewals.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _latest(folder)
    if before is not None and before.alive(clock(folder), silent):
        return None
    deaths = 0
    if before is not None and before.holder is not None:
        deaths = 1 + (before.holder.deaths if before.holder.mark == mark else 0)
    holder = Holder(
        socket.gethostname(), _place(), os.getpid(), _started(os.getpid()), secrets.token_hex(8), deaths, mark
    )
    path = folder / f"claim.{before.number + 1 if before else 1:06d}"
    if not _make(path, holder):
        return None
    if before is not None:
        # It may have woken up, or be gone: then somebody else has taken it over, and we come too late.
        if _read(before.path) != before:
            path.unlink(missing_ok=True)
            return None
        before.path.unlink(missing_ok=True)
    latest = _latest(folder)
    if latest is None or latest.path != path:
        path.unlink(missing_ok=True)
        return None
    return Claim(path, holder, silent, beat)


@contextmanager
def hold(folder: Path, *, patience: float = 2 * SILENT) -> Iterator[Claim]:
    """Claim a folder, waiting for whoever holds it; for what takes a moment.

    Raises:
        TimeoutError: it was not to be had within `patience` seconds.
    """
    end = time.monotonic() + patience
    while (claim := take(folder)) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"{folder} is held by {holder_of(folder)}; needed: that it ends")
        time.sleep(0.05)
    with claim.start():
        yield claim


def holder_of(folder: Path, silent: float = SILENT) -> Holder | None:
    """Who holds a folder and is alive; None: nobody."""
    found = _latest(folder)
    return found.holder if found is not None and found.alive(clock(folder), silent) else None


def _latest(folder: Path) -> _Found | None:
    """The claim with the highest number, as it is on disk."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return None
    for name in sorted((name for name in names if _NAME.fullmatch(name)), reverse=True):
        if (found := _read(folder / name)) is not None:
            return found
    return None


def _read(path: Path) -> _Found | None:
    """What a claim says; it is opened, as an open file's time is asked of the server."""
    number = int(path.name.rpartition(".")[2])
    try:
        with path.open("rb") as file:
            text, stamp = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    try:
        return _Found(path, number, Holder(**json.loads(text)), stamp)
    except (ValueError, TypeError):
        return _Found(path, number, None, stamp)


def _make(path: Path, holder: Holder) -> bool:
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(file, "wb") as opened:
        opened.write(json.dumps(asdict(holder)).encode())
        opened.flush()
        os.fsync(opened.fileno())
    return True


@cache
def _place() -> str:
    """This machine since it was started, and the container: where a process number means something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> int:
    """When a process was started, in the kernel's own unit; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _runs(holder: Holder) -> bool:
    """Whether a process of this place is alive, and not another one with its number."""
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state = _state(holder.pid)
    return state != "Z" and _started(holder.pid) == holder.started


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
