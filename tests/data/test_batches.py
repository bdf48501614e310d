"""What the loaders give: order, augmentation, processes, resumption; in memory and streamed."""

from __future__ import annotations

import traceback
from collections import Counter

import pytest
import torch

from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.data.batches import Batch
from decoupled_nets.data.sampling import epoch_order, hold_out
from decoupled_nets.data.transform import Transform


@pytest.fixture(scope="module", params=["memory", "streamed"])
def data(request):
    """50 training and 21 test images."""
    memory = 2.0 if request.param == "memory" else 0.0
    return load_data(
        DataConfig("synthetic", train_size=50, test_size=21, memory=memory, workers=0, image_size=16)
    )


def equal(one, two):
    return len(one) == len(two) and all(
        torch.equal(a, b) and torch.equal(la, lb) for (a, la), (b, lb) in zip(one, two, strict=True)
    )


def test_batches_are_float_images_and_labels(data):
    images, labels = next(iter(data.train_loader(8, 0)))
    assert (images.shape, images.dtype) == ((8, 3, 16, 16), torch.float32)
    assert (labels.shape, labels.dtype) == ((8,), torch.int64)
    assert 0 <= images.min() < images.max() <= 1
    assert data.image_size == (16, 16)


def test_epochs_depend_on_seed_and_epoch_alone(data):
    loader, again = data.train_loader(8, 0), data.train_loader(8, 0)
    first, second = list(loader), list(loader)
    again.set_epoch(1)
    torch.manual_seed(5)
    assert equal(list(again), second)
    assert not equal(first, second)
    assert not equal(first, list(data.train_loader(8, 1)))


def test_global_generator_is_left_alone(data):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(data.train_loader(8, 0))
    list(data.test_loader(8))
    assert torch.equal(torch.rand(3), expected)


def test_training_drops_the_rest(data):
    loader = data.train_loader(8, 0)
    assert len(loader) == len(list(loader)) == 6
    only = data.train_loader(64, 0)
    assert [len(labels) for _, labels in only] == [50]
    assert [len(labels) for _, labels in data.train_loader(64, 0, rank=1, world_size=4)] == [12]


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_together_see_what_one_sees(data, world_size):
    one = list(data.train_loader(8, 0))
    ranks = [list(data.train_loader(8, 0, rank=rank, world_size=world_size)) for rank in range(world_size)]
    together = [
        tuple(torch.cat(part) for part in zip(*batches, strict=True)) for batches in zip(*ranks, strict=True)
    ]
    assert equal(together, one)


def test_test_batches_cover_each_sample_once_on_any_number_of_processes(data):
    one = list(data.test_loader(8))
    assert [len(labels) for _, labels in one] == [7, 7, 7]
    for world_size in (2, 4):
        loaders = [data.test_loader(8, rank=rank, world_size=world_size) for rank in range(world_size)]
        ranks = [list(loader) for loader in loaders]
        assert {len(loader) for loader in loaders} == {3}
        assert all(len(labels) for rank in ranks for _, labels in rank)
        together = [
            tuple(torch.cat(part) for part in zip(*batches, strict=True))
            for batches in zip(*ranks, strict=True)
        ]
        assert equal(together, one)


def test_more_processes_than_test_samples(data):
    sizes = [
        len(labels) for rank in range(32) for _, labels in data.test_loader(32, rank=rank, world_size=32)
    ]
    assert Counter(sizes) == {1: 21, 0: 11}


@pytest.mark.parametrize("done", [0, 1, 5, 6])
def test_resume_gives_the_rest_of_the_epoch_and_the_next(data, done):
    loader = data.train_loader(8, 0)
    loader.set_epoch(2)
    iterator = iter(loader)
    for _ in range(done):
        next(iterator)
    state = loader.state_dict()
    expected = [*iterator, *loader]
    resumed = data.train_loader(8, 0)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    resumed.sampler.set_epoch(2)
    assert equal([*resumed, *resumed], expected)
    assert len(resumed) == 6


def test_resume_with_other_processes(data):
    loader = data.train_loader(8, 0)
    iterator = iter(loader)
    next(iterator)
    resumed = data.train_loader(8, 0, rank=1, world_size=2)
    resumed.load_state_dict(loader.state_dict())
    assert torch.equal(next(iter(resumed))[0], next(iterator)[0][4:])


def test_another_epoch_forgets_the_position(data):
    loader = data.train_loader(8, 0)
    loader.load_state_dict({"epoch": 0, "batch": 4, "seed": 0, "batch_size": 8})
    loader.set_epoch(1)
    assert len(list(loader)) == 6


def test_a_broken_off_epoch_starts_again(data):
    loader = data.train_loader(8, 0)
    first = next(iter(loader))[0]
    assert torch.equal(next(iter(loader))[0], first)


def test_resume_needs_the_same_batches(data):
    state = {"epoch": 0, "batch": 2, "seed": 0, "batch_size": 8}
    with pytest.raises(ValueError, match=r"after batch 2 of an epoch with seed 1; needed: 0"):
        data.train_loader(8, 1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"with batch_size 4; needed: 8"):
        data.train_loader(4, 0).load_state_dict(state)
    data.train_loader(4, 0).load_state_dict({**state, "batch": 0})


def test_loader_errors(data):
    with pytest.raises(
        ValueError,
        match=r"batch_size = 9 received, of all 2 processes together; needed: a positive multiple of 2",
    ):
        data.train_loader(9, 0, world_size=2)
    with pytest.raises(ValueError, match=r"batch_size = 0 received"):
        data.test_loader(0)
    with pytest.raises(ValueError, match=r"rank 2 of 2 processes received; needed: 0 to 1"):
        data.test_loader(8, rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"50 training samples received for 64 processes"):
        data.train_loader(64, 0, world_size=64)
    with pytest.raises(ValueError, match=r"n = 0 received; needed: at least 1"):
        data.test_subset(0)


def test_without_augmentation_the_pixels_stay():
    data = load_data(DataConfig("synthetic", train_size=16, augment=False))
    images, labels = next(iter(data.train_loader(16, 0)))
    order = epoch_order(16, 0, 0)
    assert torch.equal(labels, data.train.labels[order])
    assert torch.equal((images * 255).round().byte(), data.train.images[order])


def test_augmentation_shifts_and_mirrors_within_bounds():
    height, width = 16, 24
    images = (
        torch.arange(1, height * width + 1)
        .remainder(251)
        .byte()
        .view(1, 1, height, width)
        .repeat(512, 1, 1, 1)
    )
    batch = Batch(torch.arange(512), slice(None), (0, 0, 0))
    padded = torch.nn.functional.pad(images[0], (3, 3, 2, 2))
    possible = {
        tuple(crop.flip(-1).flatten().tolist() if mirror else crop.flatten().tolist())
        for y in range(5)
        for x in range(7)
        for crop in [padded[:, y : y + height, x : x + width]]
        for mirror in (False, True)
    }

    def augment(mirror):
        transform = Transform(1, (height, width), margin=True, mirror=mirror)
        finished = transform.finish(images, transform.places(batch))
        return {tuple(image.flatten().tolist()) for image in finished}

    assert augment(True) == possible
    assert len(augment(False)) == 35


def test_statistics_are_those_of_the_training_pixels():
    data = load_data(DataConfig("synthetic"))
    pixels = data.train.images.double() / 255
    assert torch.allclose(torch.tensor(data.mean).double(), pixels.mean((0, 2, 3)))
    assert torch.allclose(torch.tensor(data.std).double(), pixels.std((0, 2, 3), correction=0))
    streamed = load_data(DataConfig("synthetic", train_size=200, memory=0, workers=0, image_size=16))
    assert streamed.mean == pytest.approx(data.mean, abs=0.02)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_make_no_difference(make_parquet):
    def batches(workers):
        config = DataConfig(str(make_parquet()), memory=0, workers=workers, image_size=8)
        loader = load_data(config).train_loader(4, 0)
        iterator = iter(loader)
        first = next(iterator)
        assert loader.state_dict()["batch"] == 1  # not what the workers have fetched ahead
        return [first, *iterator, *loader]

    assert equal(batches(0), batches(2))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_names_the_damaged_image(make_folder):
    root = make_folder(("train", "test"))
    data = load_data(DataConfig(str(root), memory=0, workers=1, image_size=8))
    path = root / "test" / "cat" / "03.png"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"cannot read the image .*test/cat/03.png") as caught:
        list(data.test_loader(4))
    traceback.clear_frames(caught.tb)  # ends the worker now; the garbage collector would wait for it


def test_streamed_parquet_reads_a_few_row_groups_at_a_time():
    blocks = torch.arange(100).repeat_interleave(10)
    order = epoch_order(1000, 0, 0, blocks, window=4)
    assert torch.equal(order.sort().values, torch.arange(1000))
    windows = blocks[order].split(40)
    assert all(len(window.unique()) == 4 for window in windows)
    assert not torch.equal(windows[0], windows[0].sort().values)
    assert not torch.equal(order, epoch_order(1000, 0, 1, blocks, window=4))


def test_hold_out_takes_a_fifth_of_each_class_and_at_least_one():
    labels = torch.tensor([0] * 50 + [1] * 2 + [3] * 10)
    train, test = hold_out(labels, 0.2, "test")
    assert labels[test].bincount().tolist() == [10, 1, 0, 2]
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(62))
