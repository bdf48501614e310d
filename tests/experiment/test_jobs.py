"""One job in its folder: done once, gone on with, failing with a log, given up when another has it."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import pytest
import torch
from job_cases import job, note, workers

from decoupled_nets import _claims
from decoupled_nets._files import clock
from decoupled_nets.experiment import check_result, check_threads, devices, result_of, run_one
from decoupled_nets.experiment.job import failure_of, state_of
from decoupled_nets.experiment.status import read_status
from decoupled_nets.training import callbacks, load_checkpoint


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_job_is_plain_values() -> None:
    one = job("a", x=1)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.function is note
    assert one.title == "a"


def test_a_job_is_done_once(tmp_path: Path) -> None:
    one = job("a", x=[1.5, None])
    assert state_of(one, tmp_path) is None
    assert [run_one(one, tmp_path) for _ in range(2)] == ["done", "done"]
    assert len(workers(tmp_path, "a")) == 1
    assert result_of(one, tmp_path) == {"name": "runs/a", "x": [1.5, None]}
    assert names(tmp_path / "runs" / "a") == {"done.txt", "result.json"}


def test_a_held_job_is_left_alone(tmp_path: Path) -> None:
    claim = _claims.take(tmp_path / "runs" / "a")
    assert claim is not None
    assert run_one(job("a"), tmp_path) == "held"
    claim.release()
    assert run_one(job("a"), tmp_path) == "done"


def test_a_failing_job_leaves_a_log_and_is_tried_again_by_the_next_call(tmp_path: Path) -> None:
    needed = tmp_path / "needed"
    one, start = job("a", "fail_unless", path=str(needed)), clock(tmp_path)
    assert run_one(one, tmp_path, start) == "failed"
    assert failure_of(one, tmp_path, start) == f"OSError: {needed} is missing"
    log = (tmp_path / "runs" / "a" / "log.txt").read_text()
    assert "Traceback" in log
    assert "fail_unless" in log
    needed.touch()
    assert run_one(one, tmp_path, start) == "failed"  # others of this call leave it alone
    later = clock(tmp_path) + 1
    assert run_one(one, tmp_path, later) == "done"
    assert names(tmp_path / "runs" / "a") == {"done.txt", "result.json"}


def test_the_last_line_of_a_log_is_one_line(tmp_path: Path) -> None:
    run_one(job("a", "fail"), tmp_path)
    assert failure_of(job("a", "fail"), tmp_path) == "ZeroDivisionError: of no use"


def test_an_interrupt_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(work, **arguments):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("job_cases.note", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_one(job("a"), tmp_path)
    assert names(tmp_path / "runs" / "a") == set()
    assert run_one(job("a"), tmp_path) == "done"


@pytest.mark.parametrize("kind", ["advance", "end"])
def test_who_lost_the_claim_stops_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "runs" / "a"

    def overtaken(work, **arguments):  # type: ignore[no-untyped-def]
        work.reporter.claim.path.unlink()
        assert _claims.take(folder) is not None
        (folder / "result.json.of-another").touch()
        if kind == "advance":
            work.reporter.claim._renewed -= 40
            work.reporter.advance()
            raise AssertionError("went on")
        return {}

    monkeypatch.setattr("job_cases.note", overtaken)
    assert run_one(job("a"), tmp_path) == "held"
    assert {name.partition(".0")[0] for name in names(folder)} - {"status.json"} == {
        "claim", "result.json.of-another"
    }  # fmt: skip


def test_a_job_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job("a", "trained")
    run_one(one, tmp_path / "whole")
    saved = callbacks.LastCheckpoint.on_train_epoch_end
    seen: list[int] = []

    def end(self, trainer, module, *more):  # type: ignore[no-untyped-def]
        saved(self, trainer, module, *more)
        seen.append(trainer.current_epoch)
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_end", end)
    with pytest.raises(KeyboardInterrupt):
        run_one(one, tmp_path)
    assert run_one(one, tmp_path) == "done"
    assert seen == [0, 1]
    assert result_of(one, tmp_path) == result_of(one, tmp_path / "whole")
    ours, theirs = (
        load_checkpoint(f / "runs/a/last.ckpt")["state_dict"] for f in (tmp_path, tmp_path / "whole")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def end(self, trainer, module, *more):  # type: ignore[no-untyped-def]
        seen.append(read_status(tmp_path / "runs" / "a"))

    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_end", end)
    run_one(job("a", "trained"), tmp_path)
    assert [(one.done, one.total, one.lines, one.fraction) for one in seen] == [
        (4, 8, 1, 0.5),
        (8, 8, 2, 1.0),
    ]
    assert seen[0].said.startswith("a: epoch 1 of 2, training loss")
    assert read_status(tmp_path / "runs" / "a") is None  # it is done


def test_workers_that_die_one_after_the_other_make_a_failure(tmp_path: Path) -> None:
    one, folder = job("a"), tmp_path / "runs" / "a"
    for _ in range(3):
        claim = _claims.take(folder)
        assert claim is not None
        claim.path.write_text(
            claim.path.read_text().replace(f'"pid": {claim.holder.pid}', '"pid": 999999999')
        )
    assert run_one(one, tmp_path) == "failed"
    assert "3 workers in a row died here without an error" in str(failure_of(one, tmp_path))
    assert run_one(one, tmp_path, clock(tmp_path) + 1) == "done"


def test_other_data_than_the_experiments_is_refused(tmp_path: Path) -> None:
    one = job("a")
    run_one(one, tmp_path)
    kept = json.loads((tmp_path / "runs/a/result.json").read_text())
    check_result(one, tmp_path, kept["origin"])
    other = {**kept["origin"], "version": "99"}
    with pytest.raises(ValueError, match=r"result\.json belongs to something else: version: 99 now"):
        check_result(one, tmp_path, other)
    (tmp_path / "data.json").write_text(json.dumps(other))
    assert run_one(job("b"), tmp_path) == "failed"
    assert "this worker would work on something else: version" in str(failure_of(job("b"), tmp_path))


def test_a_failure_in_the_same_moment_counts(tmp_path: Path) -> None:
    start = clock(tmp_path)
    time.sleep(0.01)
    run_one(job("a", "fail"), tmp_path, start)
    assert state_of(job("a"), tmp_path, start) == "failed"
    assert state_of(job("a"), tmp_path, clock(tmp_path) + 0.01) is None


OTHER_THREADS = r"threads = 2 received, and .*runs.a had 1: .*; needed: threads=1; --restart"


def test_a_result_knows_its_threads_and_no_others_join_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    run_one(job("a"), tmp_path)
    both = [job("b"), job("a")]
    check_threads(both, tmp_path, 1)
    with pytest.raises(ValueError, match=OTHER_THREADS):
        check_threads(both, tmp_path, 2)
    monkeypatch.setattr(devices, "on_processor", lambda machine: False)
    monkeypatch.setattr("decoupled_nets.experiment.job.on_processor", lambda machine: False)
    check_threads(both, tmp_path, 2)
    run_one(job("b"), tmp_path)
    assert json.loads((tmp_path / "runs/b/result.json").read_text())["threads"] is None


def test_a_run_that_is_begun_goes_on_with_the_same_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(self, trainer, module, *more):  # type: ignore[no-untyped-def]
        with pytest.raises(ValueError, match=OTHER_THREADS):  # at work, and nothing saved yet
            check_threads([job("a")], tmp_path, 2)
        saved(self, trainer, module, *more)
        raise KeyboardInterrupt

    torch.set_num_threads(1)
    saved = callbacks.LastCheckpoint.on_train_epoch_end
    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_end", end)
    with pytest.raises(KeyboardInterrupt):
        run_one(job("a", "trained"), tmp_path)
    assert (tmp_path / "runs/a/last.ckpt").exists()
    assert _claims.holder_of(tmp_path / "runs/a") is None
    check_threads([job("a")], tmp_path, 1)
    with pytest.raises(ValueError, match=OTHER_THREADS):
        check_threads([job("a")], tmp_path, 2)


def test_what_left_nothing_to_go_on_with_binds_nobody(tmp_path: Path) -> None:
    run_one(job("a", "fail"), tmp_path)
    check_threads([job("a")], tmp_path, 2)
