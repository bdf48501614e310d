"""Stronger augmentation and balanced epochs, by what the batches are."""

from __future__ import annotations

import pytest
import torch
from proofs import proves
from small import SIZES, images
from torchvision.transforms import v2

from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.data.augment import strong
from decoupled_nets.data.loaders import TrainLoader
from decoupled_nets.data.sampling import epoch_order


def pixels(epoch: int = 0, **options) -> torch.Tensor:
    loader = images(**options).train_loader(16, 0)
    loader.set_epoch(epoch)
    return next(iter(loader))[0]


@proves(DataConfig, "color_jitter", "randaugment", "random_erasing")
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"color_jitter": 0.5}, v2.ColorJitter),
        ({"randaugment": 5}, v2.RandAugment),
        ({"random_erasing": 1.0}, v2.RandomErasing),
    ],
)
def test_each_changes_training_images_behind_crop_and_mirror(options, kind, monkeypatch):
    plain, changed = pixels(), pixels(**options)
    assert (plain != changed).flatten(1).any(1).float().mean() > 0.7
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(pixels(**options), changed)
    assert not torch.equal(pixels(1, **options), changed)
    for split in ("val", "test"):
        batches = (getattr(images(**more), f"{split}_loader")(8) for more in ({}, options))
        assert torch.equal(*(next(iter(batch))[0] for batch in batches))
    # Crop and mirror are drawn as without: an identity in the place of the transform gives the plain images.
    monkeypatch.setattr(kind, "forward", lambda self, image: image)
    assert torch.equal(pixels(**options), plain)


@proves(DataConfig, "color_jitter", "randaugment", "random_erasing")
def test_strengths():
    jitter, randaugment, erasing = (
        strong(DataConfig(**options)).transform.transforms[0]
        for options in ({"color_jitter": 0.5}, {"randaugment": 7}, {"random_erasing": 0.3})
    )
    assert (jitter.brightness, jitter.contrast, jitter.saturation) == ((0.5, 1.5),) * 3
    # Of ten levels, on torchvision's scale of so many bins and one; a level is a tenth of the strongest.
    assert (randaugment.num_ops, randaugment.magnitude, randaugment.num_magnitude_bins) == (2, 7, 11)
    assert erasing.p == 0.3
    assert strong(DataConfig()) is None


def test_a_store_on_disk_gives_the_same_images_and_processes_share_them():
    options = {"color_jitter": 0.5, "randaugment": 5, "random_erasing": 0.5}
    kept, streamed = images(**options), images(**options, memory=0.0)
    whole = next(iter(kept.train_loader(8, 3)))[0]
    assert torch.equal(whole, next(iter(streamed.train_loader(8, 3)))[0])
    parts = [next(iter(kept.train_loader(8, 3, rank=rank, world_size=2)))[0] for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)


def test_it_is_said():
    found = str(images(color_jitter=0.5, randaugment=7, random_erasing=0.25, sampling="balanced").found)
    said = " ".join(found.split())
    assert "brightness, contrast and saturation by up to 0.5" in said
    assert "RandAugment (2 operations of magnitude 7 of 10)" in said
    assert "a rectangle blackened with probability 0.25" in said
    assert "as many training images of each class" in said


def test_grey_and_deep_images_go_through_it(tmp_path):
    for image in (torch.rand(1, 16, 16), (255 * torch.rand(1, 16, 16)).byte(), torch.rand(3, 16, 16)):
        every = strong(DataConfig(color_jitter=0.5, randaugment=10, random_erasing=1.0))
        batch = every.each(image.expand(40, *image.shape), torch.arange(40))
        assert (batch.dtype, batch.shape) == (image.dtype, (40, *image.shape))


class Store:
    """Labels alone; a batch is its samples."""

    window, blocks = 1, None

    def __init__(self, labels: torch.Tensor) -> None:
        self.labels = labels

    def batches(self, plan):
        return (batch.own for batch in plan)


@proves(DataConfig, "sampling")
def test_balanced_epochs():
    labels = torch.tensor([0] * 90 + [1] * 9 + [3] * 21)  # and none of class 2
    order = epoch_order(120, 0, 0, balance=labels)
    assert labels[order].bincount().tolist() == [40, 40, 0, 40]
    counts = order.bincount(minlength=120)
    assert set(counts[labels == 0].tolist()) == {0, 1}
    assert set(counts[labels == 1].tolist()) == {4, 5}  # each comes again only after all others
    assert set(counts[labels == 3].tolist()) == {1, 2}
    assert torch.equal(order, epoch_order(120, 0, 0, balance=labels))
    assert not torch.equal(order, epoch_order(120, 0, 1, balance=labels))
    assert not torch.equal(labels[order], labels[order].sort().values)
    assert (
        sorted(epoch_order(7, 0, 0, balance=torch.tensor([0, 0, 0, 0, 0, 1, 1])).bincount(minlength=7))
        != [1] * 7
    )


@proves(DataConfig, "sampling")
def test_processes_share_balanced_epochs_and_go_on_in_the_middle():
    store = Store(torch.tensor([0] * 50 + [1] * 14))

    def batches(state=None, **more):
        loader = TrainLoader(store, 8, 5, balanced=True, **more)
        if state:
            loader.load_state_dict(state)
        return loader, iter(loader)

    whole = torch.stack(list(batches()[1]))
    parts = [torch.stack(list(batches(rank=rank, world_size=2)[1])) for rank in range(2)]
    assert torch.equal(torch.cat(parts, 1), whole)
    loader, some = batches()
    for _ in range(3):
        next(some)
    assert torch.equal(torch.stack(list(batches(loader.state_dict())[1])), whole[3:])


@proves(DataConfig, "sampling")
def test_sampling_is_that_of_the_data(tmp_path):
    data = load_data(DataConfig(data="synthetic", **{**SIZES, "train_size": 16}, sampling="balanced"))
    assert data.balanced
    assert data.train_loader(4, 0)._balanced
    assert not images().balanced


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"randaugment": 11}, "randaugment = 11 received; needed: 0 to 10"),
        ({"random_erasing": 1.5}, r"random_erasing = 1\.5 received; needed: 0 to 1"),
        ({"color_jitter": -0.5}, r"color_jitter = -0\.5 received; needed: 0 to 1"),
        (
            {"randaugment": 3, "augment": False},
            "randaugment = 3 and augment = False received; needed: augment",
        ),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**options)
