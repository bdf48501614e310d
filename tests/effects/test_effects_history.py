"""What a run tells of its epochs: each for itself, and what earlier calls did counted in."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from small import SIZES, classify, images, module_of, trained

from decoupled_nets._progress import Progress
from decoupled_nets.training import MachineConfig, TrainConfig, fit, train
from decoupled_nets.training import module as modules
from decoupled_nets.training.callbacks import StepProgress


def test_every_epoch_has_its_own_seconds_and_counts(tmp_path, monkeypatch):
    """By a clock that moves by one whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(modules, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    history = trained(tmp_path, epochs=3).history
    assert history[0]["seconds"] > 0
    assert [epoch["seconds"] for epoch in history] == [history[0]["seconds"]] * 3
    assert [epoch["val_images"] for epoch in history] == [8] * 3
    assert all((8 * epoch["val_accuracy"]).is_integer() for epoch in history)


def test_progress_goes_on_where_training_does(tmp_path):
    for epochs in (1, 2):
        with Progress(4 * epochs, "", quiet=True) as progress:
            module = module_of(epochs=epochs, batch_size=4)
            machine = MachineConfig(accelerator="cpu")
            fit(module, images(), machine, tmp_path, progress, "", keep_best=False)
        assert progress.done == progress.total
    assert (progress.total, progress._skipped) == (8, 4)


def test_the_line_of_an_epoch():
    said: list[str] = []
    progress = SimpleNamespace(say=said.append)
    trainer = SimpleNamespace(callback_metrics={"val/accuracy": 0.75}, current_epoch=1, max_epochs=5)
    module = SimpleNamespace(mean_train_loss=lambda: 1.25, task=classify(), watched={})
    StepProgress(progress, "mine").on_validation_end(trainer, module)
    assert said == ["mine: epoch 2 of 5, training loss 1.250, validation accuracy 75.0%"]
    module.watched = {"val_fgsm": 0.5, "val_pgd": 0.25}
    StepProgress(progress, "mine").on_validation_end(trainer, module)
    assert said[1] == f"{said[0]}, under FGSM 50.0%, under PGD-10 25.0%"


def test_options_without_a_use_are_named(tmp_path):
    options = {**SIZES, "image_size": 25, "data": "synthetic", "width": 0.03, "epochs": 1, "batch_size": 8}
    with pytest.warns(
        UserWarning, match=r"^conv ignores weighting, project_every; optimizer=adam ignores momentum$"
    ):
        train(
            TrainConfig.of(operator="conv", weighting="linear", project_every=3, momentum=0.5, **options),
            tmp_path, quiet=True,
        )  # fmt: skip
