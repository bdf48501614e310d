"""What training runs on: every option by what the trainer is, or does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from proofs import proves
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from small import network, trained
from torch import nn

from decoupled_nets._progress import Progress
from decoupled_nets.training import MachineConfig, TrainConfig, callbacks, run, trainer

CPU = {"accelerator": "cpu"}


class Made(Exception):
    """Brings the trainer out before it trains."""


@pytest.fixture
def trainer_of(monkeypatch, tmp_path):
    """The trainer that a configuration makes."""

    def stop(self, *args, **kwargs):
        raise Made(self)

    def make(**options):
        with monkeypatch.context() as patch:
            patch.setattr(trainer.pl.Trainer, "fit", stop)
            with pytest.raises(Made) as made:
                trained(tmp_path, machine=MachineConfig(**{**CPU, **options}))
        return made.value.args[0]

    return make


@proves(MachineConfig, "accelerator")
def test_accelerator(trainer_of, tmp_path):
    assert isinstance(trainer_of().accelerator, CPUAccelerator)
    if torch.cuda.is_available():
        assert isinstance(trainer_of(accelerator="gpu").accelerator, CUDAAccelerator)
    else:
        with pytest.raises(MisconfigurationException):
            trained(tmp_path, machine=MachineConfig(accelerator="gpu"))


@proves(MachineConfig, "devices", "num_nodes", "strategy")
def test_devices_nodes_and_strategy(trainer_of):
    one = trainer_of()
    assert isinstance(one.strategy, SingleDeviceStrategy)
    assert (one.num_devices, one.num_nodes, one.world_size) == (1, 1, 1)
    several = trainer_of(devices=2, num_nodes=3, strategy="ddp")
    assert isinstance(several.strategy, DDPStrategy)
    assert (several.num_devices, several.num_nodes, several.world_size) == (2, 3, 6)


@proves(MachineConfig, "sync_batchnorm")
def test_sync_batchnorm(trainer_of):
    assert trainer_of(strategy="ddp").strategy._layer_sync is None
    sync = trainer_of(strategy="ddp", sync_batchnorm=True).strategy._layer_sync
    assert isinstance(sync.apply(nn.Sequential(nn.BatchNorm2d(2)))[0], nn.SyncBatchNorm)


@proves(MachineConfig, "precision")
@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("64-true", torch.float64)])
def test_precision(precision, dtype, tmp_path):
    seen = set()
    net = network()
    net.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    trained(tmp_path, net, MachineConfig(**CPU, precision=precision))
    assert seen == {dtype}


@proves(MachineConfig, "seed")
def test_the_seed_decides_order_and_augmentation(tmp_path):
    def seen(seed: int) -> torch.Tensor:
        batches = []
        net = network()
        net.register_forward_pre_hook(
            lambda module, args: batches.append(args[0].clone()) if module.training else None
        )
        trained(tmp_path / str(len(list(tmp_path.iterdir()))), net, MachineConfig(**CPU, seed=seed))
        return torch.stack(batches)

    assert torch.equal(seen(0), seen(0))
    assert not torch.equal(seen(0), seen(1))


@proves(MachineConfig, "seed")
def test_the_seed_decides_the_first_weights(tmp_path, monkeypatch):
    def start(task, *args, **kwargs):
        return [p.detach().clone() for p in task.network.parameters()]

    monkeypatch.setattr(run, "fit", start)
    options = {"data": "synthetic", "train_size": 8, "val_size": 4, "test_size": 4, "width": 1 / 16, **CPU}
    zero, again, one = (
        run.train(TrainConfig.of(**options, seed=seed), tmp_path / str(n), quiet=True)
        for n, seed in enumerate((0, 0, 1))
    )
    assert all(map(torch.equal, zero, again))
    assert not all(map(torch.equal, zero, one))


@proves(MachineConfig, "checkpoint_minutes")
def test_checkpoints_within_an_epoch_once_the_minutes_have_passed(tmp_path, monkeypatch):
    saved = []
    trainer = SimpleNamespace(
        is_last_batch=False, world_size=1, accumulate_grad_batches=1, save_checkpoint=saved.append
    )
    now = 1000.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    callback = callbacks.LastCheckpoint(tmp_path, minutes=2)
    callback._saved = now
    for seconds, expected in ((119, 0), (121, 1), (200, 1), (250, 2)):
        now = 1000.0 + seconds
        callback.on_train_batch_end(trainer, None, None, None, 0)
        assert len(saved) == expected


@proves(MachineConfig, "checkpoint_minutes")
@pytest.mark.parametrize(("minutes", "within"), [(0.0, 3), (10.0, 0)])
def test_checkpoints_of_one_epoch_of_four_steps(minutes, within, tmp_path, monkeypatch):
    steps = []
    save = callbacks.LastCheckpoint._save

    def noted(self, trainer):
        steps.append(trainer.global_step)
        save(self, trainer)

    monkeypatch.setattr(callbacks.LastCheckpoint, "_save", noted)
    trained(tmp_path, machine=MachineConfig(**CPU, checkpoint_minutes=minutes))
    assert steps == [*[1, 2, 3][:within], 4]


def test_a_line_an_epoch(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(Progress, "say", lambda self, text: said.append(text))
    (epoch,) = trained(tmp_path).history
    assert said == [
        f"small: epoch 1 of 1, training loss {epoch['train_loss']:.3f}, "
        f"validation accuracy {epoch['val_accuracy']:.1%}"
    ]
