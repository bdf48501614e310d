"""All jobs are done by whoever is there, whatever becomes of single workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from job_cases import _Thread, job, workers

from decoupled_nets import _claims
from decoupled_nets.experiment import EngineConfig, Job, execute, result_of, run_one
from decoupled_nets.experiment import job as experiment_job
from decoupled_nets.experiment.worker import Worker

TWO = EngineConfig(jobs=2)


def test_jobs_are_done_in_order_in_this_process(tmp_path: Path) -> None:
    jobs, ended = [job(name, x=name) for name in "bac"], []
    outcome = execute(jobs, tmp_path, quiet=True, at_end_of=lambda one: ended.append(one.name))
    assert (outcome.done, outcome.failed) == (jobs, [])
    assert ended == ["runs/b", "runs/a", "runs/c"]
    assert [result_of(one, tmp_path)["x"] for one in jobs] == ["b", "a", "c"]
    assert workers(tmp_path, "a") == [os.getpid()]
    before = (tmp_path / "runs/a/result.json").stat().st_mtime_ns
    execute([*jobs, job("d")], tmp_path, quiet=True)
    assert (tmp_path / "runs/a/result.json").stat().st_mtime_ns == before
    assert execute([], tmp_path, quiet=True).done == []


def test_a_failure_does_not_keep_others_from_being_done(tmp_path: Path) -> None:
    jobs = [job("a"), job("b", "fail"), job("c")]
    outcome = execute(jobs, tmp_path, quiet=True)
    assert [one.name for one in outcome.done] == ["runs/a", "runs/c"]
    (failure,) = outcome.failed
    assert (failure.job.name, failure.error) == ("runs/b", "ZeroDivisionError: of no use")
    assert "Traceback" in failure.log.read_text()
    needed = tmp_path / "needed"
    again = [job("a"), job("e", "fail_unless", path=str(needed))]
    assert len(execute(again, tmp_path, quiet=True).failed) == 1
    needed.touch()
    assert execute(again, tmp_path, quiet=True).failed == []


@pytest.mark.parametrize("succeeds", [False, True])
def test_a_failure_that_another_shell_tries_again_is_no_success(tmp_path: Path, succeeds: bool) -> None:
    """Their attempt removes what says that it failed, while ours still has other jobs to do."""
    jobs, own = [job("a", "fail"), job("b")], tmp_path / "runs" / "a"

    def at_end(one: Job) -> None:
        if one.name == "runs/b":
            (own / "failed.json").unlink()
            if succeeds:
                (own / "result.json").write_text("{}")

    outcome = execute(jobs, tmp_path, quiet=True, at_end_of=at_end)
    assert outcome.done == (jobs if succeeds else jobs[1:])
    assert [one.error for one in outcome.failed] == ["ZeroDivisionError: of no use"] * (not succeeds)


def test_a_failure_that_is_gone_while_it_is_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_one(job("a", "fail"), tmp_path)
    path = tmp_path / "runs" / "a" / "failed.json"

    def late(*args: object) -> str:
        path.unlink()
        return "failed"

    monkeypatch.setattr(experiment_job, "state_of", late)
    assert experiment_job.failure_of(job("a", "fail"), tmp_path) is None


def test_runs_have_their_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watch(work):  # type: ignore[no-untyped-def]
        seen.append(torch.get_num_threads())
        return {}

    monkeypatch.setattr("job_cases.note", watch)
    torch.set_num_threads(3)
    execute([job("a")], tmp_path, quiet=True)
    execute([job("b")], tmp_path, EngineConfig(threads=2), quiet=True)
    assert seen == [1, 2]
    assert torch.get_num_threads() == 3


def test_workers_share_the_jobs(tmp_path: Path, threads: list[int]) -> None:
    go = tmp_path / "go"
    jobs = [job(str(n), "wait", path=str(go)) for n in range(5)]
    threading.Timer(0.5, go.touch).start()
    assert execute(jobs, tmp_path, TWO, quiet=True).done == jobs
    assert threads == [2]
    assert all(len(workers(tmp_path, str(n))) == 1 for n in range(5))


def test_what_another_shell_does_is_waited_for(tmp_path: Path, threads: list[int]) -> None:
    go = tmp_path / "go"
    jobs = [job("a", "wait", path=str(go)), job("b")]
    other = threading.Thread(target=execute, args=(jobs[:1], tmp_path), kwargs={"quiet": True})
    other.start()
    while _claims.holder_of(tmp_path / "runs/a") is None:
        time.sleep(0.01)
    threading.Timer(0.5, go.touch).start()
    for engine in (EngineConfig(), TWO):
        assert execute(jobs, tmp_path, engine, quiet=True).done == jobs
    other.join()
    assert len(workers(tmp_path, "a")) == 1
    assert threads == []  # nobody was started for what was left to wait for


def test_what_a_dead_worker_leaves_is_taken_up(tmp_path: Path) -> None:
    claim = _claims.take(tmp_path / "runs/a")
    assert claim is not None
    claim.path.write_text(claim.path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
    execute([job("a")], tmp_path, quiet=True)
    assert len(workers(tmp_path, "a")) == 1


def test_workers_that_come_to_nothing_are_an_error(
    tmp_path: Path, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "__call__", lambda self: None)
    monkeypatch.setattr(_Thread, "trouble", lambda self: "exit status 1; no such module", raising=False)
    with pytest.raises(
        RuntimeError, match="without having done anything; the last one: exit status 1; no such"
    ):
        execute([job("a"), job("b")], tmp_path, TWO, quiet=True)


def test_a_killed_process_is_replaced(tmp_path: Path, cases_elsewhere: None) -> None:
    jobs = [job("a", "die_once"), job("b")]
    assert execute(jobs, tmp_path, TWO, quiet=True).done == jobs
    assert os.getpid() not in workers(tmp_path, "a") + workers(tmp_path, "b")


@pytest.mark.long
def test_a_job_that_kills_its_workers_is_given_up(tmp_path: Path, cases_elsewhere: None) -> None:
    jobs = [job("a"), job("b", "die")]
    outcome = execute(jobs, tmp_path, TWO, quiet=True)
    assert outcome.done == jobs[:1]
    assert "3 workers in a row died here" in outcome.failed[0].error


SCRIPT = """
import signal
from pathlib import Path
from job_cases import job
from decoupled_nets.experiment import EngineConfig, execute
folder = Path({folder!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would ignore it
try:
    execute([job(n, "wait", path=str(folder / "go")) for n in "ab"], folder, EngineConfig(jobs={jobs}))
except KeyboardInterrupt:
    print("interrupted")
"""


def end(number: signal.Signals, jobs: int, *marks: pytest.MarkDecorator):  # type: ignore[no-untyped-def]
    return pytest.param(number, jobs, marks=marks, id=f"{number.name}-{jobs}")


@pytest.mark.parametrize(
    ("number", "jobs"),
    [
        end(signal.SIGKILL, 2),
        end(signal.SIGTERM, 2, pytest.mark.long),
        end(signal.SIGINT, 2, pytest.mark.long),
        end(signal.SIGKILL, 1, pytest.mark.sweep),
        *(end(number, 1, pytest.mark.long) for number in (signal.SIGTERM, signal.SIGINT)),
    ],
)
def test_an_end_of_any_kind_blocks_nothing(
    tmp_path: Path, cases_elsewhere: None, number: signal.Signals, jobs: int
) -> None:
    script = SCRIPT.format(folder=str(tmp_path), jobs=jobs)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    names = "ab"[:jobs]
    while not all(_claims.holder_of(tmp_path / "runs" / name) for name in names):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    if number != signal.SIGKILL:
        assert "interrupted" in output
        assert ("All workers stop after their step" in errors) == (jobs == 2)
    (tmp_path / "go").touch()
    start = time.monotonic()
    assert len(execute([job(n) for n in "ab"], tmp_path, quiet=True).done) == 2
    assert time.monotonic() - start < 30  # not the time after which silence counts
