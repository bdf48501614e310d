"""Claims: one holder at a time, taken over when it is gone, whatever the machines' clocks say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from decoupled_nets import _claims
from decoupled_nets._claims import Claim, ClaimLostError, Holder, hold, holder_of, take


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_by(folder: Path, *, seconds_ago: float = 0.0, **changes: object) -> Holder:
    """A claim that somebody left, by default a process of another machine."""
    given = {"host": "far", "place": "elsewhere", "pid": 7, "started": 0, "token": "their", **changes}
    holder = Holder(**given)  # type: ignore[arg-type]
    path = folder / "claim.000003"
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))
    stamp = path.stat().st_mtime - seconds_ago
    os.utime(path, (stamp, stamp))
    return holder


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_has_it_until_it_is_released(tmp_path: Path) -> None:
    first = take(tmp_path / "run")
    assert first is not None
    assert take(tmp_path / "run") is None
    held = holder_of(tmp_path / "run")
    assert held == first.holder
    assert str(held) == f"process {os.getpid()} on {held.host}"
    first.release()
    first.release()
    assert holder_of(tmp_path / "run") is None
    assert files(tmp_path / "run") == []
    assert take(tmp_path / "run") is not None


def test_of_many_that_try_one_has_it(tmp_path: Path) -> None:
    for name, silent in (("new", False), ("left", True)):
        for turn in range(20):
            folder = tmp_path / f"{name}{turn}"
            if silent:
                left_by(folder, seconds_ago=100)
            start, got = threading.Barrier(8), []

            def attempt(start=start, got=got, folder=folder) -> None:  # type: ignore[no-untyped-def]
                start.wait()
                if (claim := take(folder)) is not None:
                    got.append(claim)

            threads = [threading.Thread(target=attempt) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(got) <= 1  # several may see each other, and all step back
            assert files(folder) == [claim.path.name for claim in got]


@pytest.mark.parametrize(("seconds", "gone"), [(50, False), (70, True)])
def test_another_machine_counts_as_gone_after_silence(tmp_path: Path, seconds: float, gone: bool) -> None:
    left_by(tmp_path, seconds_ago=seconds)
    assert (take(tmp_path) is not None) == gone


def test_ages_are_by_the_clock_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is wrong
    assert holder_of(tmp_path) is not None
    left_by(tmp_path, seconds_ago=1000)
    monkeypatch.setattr(_claims, "clock", lambda folder: (folder / "claim.000003").stat().st_mtime)
    assert holder_of(tmp_path) is not None


def test_a_dead_process_of_this_machine_is_gone_at_once(tmp_path: Path) -> None:
    here, pid = _claims._place(), dead_process()
    left_by(tmp_path, place=here, pid=pid)
    assert holder_of(tmp_path) is None
    left_by(tmp_path, place="elsewhere", pid=pid)  # a number says nothing of another machine's processes
    assert holder_of(tmp_path) is not None


def test_another_process_with_the_number_of_the_dead_one_is_not_it(tmp_path: Path) -> None:
    own = _claims._started(os.getpid())
    left_by(tmp_path, place=_claims._place(), pid=os.getpid(), started=own)
    assert holder_of(tmp_path) is not None
    left_by(tmp_path, place=_claims._place(), pid=os.getpid(), started=own - 1)
    assert (holder_of(tmp_path) is None) == (own > 0)


def test_who_lost_it_is_told_and_touches_nothing(tmp_path: Path) -> None:
    lost = take(tmp_path, silent=0.05)
    assert lost is not None
    time.sleep(0.1)
    new = take(tmp_path, silent=0.05)
    assert new is not None
    with pytest.raises(ClaimLostError, match="taken over by another worker"):
        lost.check(now=True)
    lost.release()
    assert files(tmp_path) == [new.path.name]
    new.check(now=True)


def test_after_a_sleep_the_disk_is_asked(tmp_path: Path) -> None:
    claim = take(tmp_path, silent=0.1)
    assert claim is not None
    claim.check()
    time.sleep(0.15)
    assert take(tmp_path, silent=0.1) is not None
    with pytest.raises(ClaimLostError):
        claim.check()


def test_a_renewed_claim_is_never_silent(tmp_path: Path) -> None:
    beats: list[int] = []
    claim = take(tmp_path, silent=0.2, beat=0.02)
    assert claim is not None
    with claim.start(lambda: beats.append(1)):
        for _ in range(20):
            time.sleep(0.03)
            assert take(tmp_path, silent=0.2) is None
    assert len(beats) > 5


def test_a_holder_that_wakes_up_in_time_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(tmp_path, seconds_ago=100)
    make = _claims._make

    def woken(path: Path, holder: Holder) -> bool:
        os.utime(tmp_path / "claim.000003")
        return make(path, holder)

    monkeypatch.setattr(_claims, "_make", woken)
    assert take(tmp_path) is None
    assert files(tmp_path) == ["claim.000003"]


def test_who_comes_late_to_a_takeover_steps_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw the silent claim, was slow, and two others have taken over one after the other since."""
    left_by(tmp_path, seconds_ago=100)
    make, second = _claims._make, []

    def slow(path: Path, holder: Holder) -> bool:
        monkeypatch.setattr(_claims, "_make", make)
        first = take(tmp_path)
        assert first is not None
        os.utime(first.path, (1, 1))
        second.append(take(tmp_path))
        return make(path, holder)

    monkeypatch.setattr(_claims, "_make", slow)
    assert take(tmp_path) is None
    assert isinstance(second[0], Claim)
    second[0].check(now=True)
    assert files(tmp_path) == [second[0].path.name]


def test_a_claim_that_is_being_written_is_one(tmp_path: Path) -> None:
    path = tmp_path / "claim.000001"
    path.touch()
    assert take(tmp_path) is None
    os.utime(path, (1, 1))
    assert take(tmp_path) is not None


def test_deaths_in_a_row_are_counted_until_there_is_progress(tmp_path: Path) -> None:
    for deaths in (1, 2, 3):
        claim = take(tmp_path, mark=5) if deaths > 1 else None
        if claim is None:
            left_by(tmp_path, seconds_ago=100, mark=5)
            claim = take(tmp_path, mark=5)
        assert claim is not None
        assert claim.holder.deaths == deaths
        os.utime(claim.path, (1, 1))
    progress = take(tmp_path, mark=6)
    assert progress is not None
    assert progress.holder.deaths == 1
    progress.release()
    fresh = take(tmp_path, mark=6)
    assert fresh is not None
    assert fresh.holder.deaths == 0


def test_holding_waits(tmp_path: Path) -> None:
    claim = take(tmp_path)
    assert claim is not None
    threading.Timer(0.2, claim.release).start()
    start = time.monotonic()
    with hold(tmp_path):
        assert time.monotonic() - start > 0.15
        with pytest.raises(TimeoutError, match=r"is held by process \d+"), hold(tmp_path, patience=0.1):
            pass


def test_a_disk_that_stumbles_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = take(tmp_path)
    assert claim is not None

    def broken(path: Path) -> None:
        raise OSError("stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(_claims, "_read", broken)
        claim.check(now=True)
    claim.check(now=True)
    assert replace(claim.holder) == claim.holder
