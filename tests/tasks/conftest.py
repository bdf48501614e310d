"""A short run of each task, finished once, and interrupted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from decoupled_nets.training import TaskModule, TrainConfig, callbacks, load_checkpoint, train

Run = tuple[Path, TaskModule]


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """``run_of(**options)``: a finished run's folder, and what was trained; once for the same options."""

    @functools.cache
    def run(**options: Any) -> Run:
        folder = tmp_path_factory.mktemp("run")
        return folder, train(TrainConfig.of(**options), folder, quiet=True)

    return run


@pytest.fixture(scope="module")
def finished(request: pytest.FixtureRequest, run_of: Callable[..., Run]) -> Run:
    """The run of a file's own options, its ``SMALL``."""
    return run_of(**request.module.SMALL)


@pytest.fixture
def check_interrupted(
    request: pytest.FixtureRequest, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    """``check_interrupted(step)``: stopped there and gone on with, a run ends with the bits of `finished`."""
    small = request.module.SMALL

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return load_checkpoint(folder / "last.ckpt")["state_dict"]

    def check(step: int) -> None:
        count = callbacks.StepProgress.on_train_batch_end

        def interrupt(self, trainer, *args):
            count(self, trainer, *args)
            if trainer.global_step == step:
                callbacks.signal.raise_signal(callbacks.signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
            with pytest.raises(KeyboardInterrupt):
                train(TrainConfig.of(**small), tmp_path, quiet=True)
        train(TrainConfig.of(**small), tmp_path, resume=True, quiet=True)
        ours, theirs = weights(tmp_path), weights(finished[0])
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    return check
