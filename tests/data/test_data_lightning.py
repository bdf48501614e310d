"""The training loader inside pytorch-lightning: any checkpoint continues with the next batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from decoupled_nets.data import DataConfig, load_data

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # pytorch-lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Skipping val loop.*"),
]


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3 * 16 * 16, 4)
        self.seen: list[float] = []

    def loss(self, batch):
        images, labels = batch
        return F.cross_entropy(self.linear(images.flatten(1)), labels)

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0].double().sum().item())
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAlways(pl.Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trainer, when):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}-{when}.ckpt")

    def on_train_batch_end(self, trainer, *_):
        self.save(trainer, "batch")

    def on_validation_end(self, trainer, *_):
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self.save(trainer, "epoch")


def fit(data, validate, callbacks=(), checkpoint=None, **options):
    torch.manual_seed(0)
    model = Model()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **options,
    )
    test = data.test_loader(8) if validate else None
    trainer.fit(model, data.train_loader(8, 3), test, ckpt_path=checkpoint, weights_only=True)
    return model


@pytest.mark.parametrize(
    ("memory", "validate", "options"),
    [
        (2, True, {"val_check_interval": 2}),
        (2, False, {"limit_train_batches": 3}),
        (0, False, {}),
    ],
)
def test_resume_continues_with_the_next_batch(tmp_path, memory, validate, options):
    config = DataConfig("synthetic", train_size=32, test_size=8, memory=memory, workers=0, image_size=16)
    data = load_data(config)
    whole = fit(data, validate, [SaveAlways(tmp_path)], **options)
    assert len(set(whole.seen)) == len(whole.seen) >= 6
    checkpoints = sorted(tmp_path.iterdir())
    assert len(checkpoints) >= 8
    for checkpoint in checkpoints:
        resumed = fit(data, validate, checkpoint=checkpoint, **options)
        steps = int(checkpoint.name.split("-")[0])
        assert resumed.seen == whole.seen[steps:], checkpoint.name
        assert torch.equal(resumed.linear.weight, whole.linear.weight), checkpoint.name
