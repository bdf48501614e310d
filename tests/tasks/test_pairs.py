"""Images with depth maps: layouts, pairing, values, gaps, and what is refused."""

import json

import numpy as np
import pytest
import torch
from pairs import depth_of, image_of, load, write_map, write_pair, write_set
from PIL import Image

from decoupled_nets.data import DataConfig, describe_depth, load_depth
from decoupled_nets.data.depth_values import filled
from decoupled_nets.ops.resample import degrade, hold
from decoupled_nets.tasks import find_task
from decoupled_nets.tasks.metrics.mae import mae


def words(data) -> str:
    return " ".join(str(data.found).split())


def truths(loader) -> list[np.ndarray]:
    return [target[0, 0].numpy() for _, target in loader]


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "set", {"train": 6, "val": 3, "test": 4})


@pytest.mark.parametrize(
    ("rgb", "depth"),
    [
        ("{}/RGB", "{}/Depth"),
        ("rgb/{}", "depth/{}"),
        ("x/{}/Images", "x/{}/DEPTHS"),
        ("Color/{}", "disparity/{}"),
    ],
)
def test_layouts(rgb, depth, tmp_path):
    for split, number in {"train": 5, "val": 2, "test": 3}.items():
        for n in range(number):
            write_pair(tmp_path, n, rgb=rgb.format(split), depth=depth.format(split))
    data = load(tmp_path)
    assert (data.train_size, data.val_size, data.test_size) == (5, 2, 3)
    for n, truth in enumerate(truths(data.test_loader(8))):
        np.testing.assert_array_equal(truth, depth_of(n))


@pytest.mark.parametrize("ending", ["png", "npy", "deep png", "tif"])
def test_every_kind_of_map_keeps_its_values(ending, tmp_path):
    for n in range(8):
        values = depth_of(n) + (0.25 if ending in ("npy", "tif") else 900 if "deep" in ending else 0)
        _, path = write_pair(tmp_path, n, names=("{:02}.png", f"{{:02}}.{ending.split()[-1]}"), values=values)
        if ending == "tif":
            Image.fromarray(values.astype(np.float32)).save(path)
        if ending == "npy" and n == 0:
            np.save(path, values[..., None])  # one channel
    data = load(tmp_path, test_split=None)
    found = {float(truth[0, 0]) for truth in truths(data.test_loader(8)) + truths(data.val_loader(8))}
    assert found == {float(values[0, 0])}


@pytest.mark.parametrize("memory", [0.0, 2.0])
@pytest.mark.parametrize("degradation", ["pick", "area", "bicubic"])
def test_inputs_and_targets_are_what_they_are_said_to_be(root, memory, degradation):
    data = load(root, memory=memory, degradation=degradation, scale=5)
    assert data.network_options == {"scale": 5, "offset": 2.0, "zeros": False}
    assert (data.in_chans, data.mean[-1], data.std[-1]) == (4, 0.0, 1.0)
    for n, (inputs, targets) in enumerate(data.test_loader(8)):
        depth = torch.from_numpy(depth_of(n)[:35, :40]).float()  # cut to multiples
        small = degrade(depth[None, None], 5, degradation)
        assert torch.equal(targets[0, 0], depth)
        assert torch.equal(inputs[0, 3], hold(small, 5)[0, 0])
        assert torch.equal(targets[0, 1], inputs[0, 3])
        torch.testing.assert_close(inputs[0, 0] * 255, depth.clamp(max=255).floor())


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_crops_and_mirrors_belong_to_seed_epoch_and_image(root, memory):
    config = DataConfig(data=str(root), workers=0, memory=memory, crop=20)

    def epoch(seed, number, **options):
        loader = load_depth(DataConfig(**{**vars(config), **options})).train_loader(3, seed)
        loader.set_epoch(number)
        return torch.cat([torch.cat([x, t], 1) for x, t in loader])

    first = epoch(0, 0)
    assert first.shape == (6, 6, 20, 20)
    assert torch.equal(first, epoch(0, 0))
    assert torch.equal(first, epoch(0, 0, memory=2.0 - memory))
    assert not torch.equal(first, epoch(0, 1))
    assert not torch.equal(first, epoch(1, 0))
    torch.testing.assert_close((first[:, 0] * 255), first[:, 4])  # the image moved with its map
    rising = first[:, 4, 0, -1] > first[:, 4, 0, 0]
    every = torch.cat([epoch(seed, 0) for seed in range(4)])
    turned = (every[:, 4, 0, -1] < every[:, 4, 0, 0]).float().mean()
    assert 0.2 < turned < 0.8
    assert (epoch(0, 0, mirror=False)[:, 4, 0, -1] > 0).all()
    assert rising.any()
    assert (epoch(0, 0, mirror=False)[:, 4].diff(dim=-1) > 0).all()
    parts = [load_depth(config).train_loader(6, 0, rank=rank, world_size=2) for rank in (0, 1)]
    shared = torch.cat([next(iter(part))[0] for part in parts])
    assert torch.equal(shared, next(iter(load_depth(config).train_loader(6, 0)))[0])


def test_several_crops_of_each_image(root):
    data = load_depth(DataConfig(data=str(root), workers=0, crop=20, crops=3))
    assert data.train_size == 6
    batches = [x for x, _ in data.train_loader(6, 0)]
    assert len(batches) == 3
    assert len({x.numpy().tobytes() for x in torch.cat(batches)}) == 18


def test_images_of_unlike_sizes_stay_whole(tmp_path):
    for n in range(10):
        write_pair(tmp_path, n, size=(36 + n, 50 - n))
    data = load(tmp_path)
    shapes = {tuple(x.shape[2:]) for x, _ in data.test_loader(8)} | {
        tuple(x.shape[2:]) for x, _ in data.val_loader(8)
    }
    assert len(shapes) > 1
    assert all(height % 4 == width % 4 == 0 for height, width in shapes)
    images, targets = data.test_subset(2)
    assert images.shape[2:] == targets.shape[2:]
    assert "training images are cut to 36×" in words(data)
    assert data.image_size == next(iter(data.train_loader(2, 0)))[0].shape[2:]


def test_parts_of_training_images_are_as_large_as_these_allow(root):
    """A small image of another split, which is seen whole, makes them no smaller."""
    for split in ("val", "test"):
        write_pair(root / split, 0, size=(32, 33))
    data = load(root)
    assert data.image_size == next(iter(data.train_loader(2, 0)))[0].shape[2:] == (36, 44)
    assert "training images are cut to 36×44: the smallest has 36 pixels" in words(data)
    write_pair(root / "test", 0, size=(31, 44))
    with pytest.raises(ValueError, match="an image of 31 pixels along one side found; needed: 32 or more"):
        load(root)


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_zeros_and_nan_are_no_depth(tmp_path, memory):
    for n in range(8):
        values = depth_of(n).astype(np.float32)
        values[5:9, 5:9] = 0
        values[0, 0], values[1, 1] = np.nan, np.inf
        write_pair(tmp_path, n, names=("{}.png", "{}.npy"), values=values)
    data = load(tmp_path, memory=memory)
    assert "no depth (0 or no finite number) at 1.1 % of the training pixels" in words(data)
    inputs, targets = next(iter(data.test_loader(8)))
    assert torch.isfinite(inputs).all()
    gaps = targets[0, 0].isnan()
    assert int(gaps.sum()) == 18
    assert gaps[5:9, 5:9].all()
    task = find_task("depth")(())
    outputs = targets[:, :1].nan_to_num(1e6)  # wrong only where nothing counts
    assert int(task.outcomes(outputs, targets)) == 0
    assert float(task.loss(outputs, targets)) == 0


def test_few_zeros_are_values(tmp_path):
    for n in range(8):
        values = depth_of(n)
        values[20, 20] = 0
        write_pair(tmp_path, n, values=values)
    data = load(tmp_path)
    assert "no depth" not in words(data)
    assert "depth from 0 to" in words(data)
    assert not next(iter(data.test_loader(8)))[1].isnan().any()


def test_gaps_are_filled_from_their_rims():
    depth = torch.full((7, 9), 5.0)
    depth[2:5, 2:7] = float("nan")
    torch.testing.assert_close(filled(depth), torch.full((7, 9), 5.0))
    line = torch.tensor([[1.0, float("nan"), float("nan"), 9.0]])
    torch.testing.assert_close(filled(line), torch.tensor([[1.0, 1.0, 9.0, 9.0]]))
    assert filled(torch.full((2, 2), float("nan"))).tolist() == [[0.0, 0.0]] * 2


def test_maps_that_say_nothing_are_left_out_and_told(root):
    write_map(root / "train" / "Depth" / "01.png", np.full((36, 44), 7.0))
    empty = np.full((36, 44), np.nan)
    empty[0, 0] = 3
    (root / "train" / "Depth" / "02.png").unlink()
    np.save(root / "train" / "Depth" / "02.npy", empty)
    data = load(root)
    assert data.train_size == 4
    assert "depth maps of one value: 1, such as" in words(data)
    assert "less than a tenth of their pixels: 1, such as" in words(data)
    for n in range(4):
        write_map(root / "test" / "Depth" / f"{n:02}.png", np.full((36, 44), 7.0))
    with pytest.raises(ValueError, match="no test pair is of use: depth maps of one value, such as"):
        load(root)


def test_maps_without_a_value_where_errors_count_are_left_out(root):
    """At scale 8 the maps of 36×44 are cut to 32×40, of which 6 to 25 and 6 to 33 count."""
    for n, column in enumerate((33, 34)):
        values = depth_of(n)
        values[6:26, 6:column] = np.nan
        path = root / "test" / "Depth" / f"{n:02}.png"
        path.unlink()
        np.save(path.with_suffix(".npy"), values)
    data = load(root, scale=8)
    assert data.test_size == 3
    assert "without a value inside a border of 6 pixels: 1, such as" in words(data)
    task, metric = find_task("depth")(()), mae(())
    for _, targets in data.test_loader(1):
        assert int(task.outcomes(targets[:, 1:], targets)) > 0
        metric.update(targets[:, 1:], targets)
    assert load(root).test_size == 4  # at scale 4 they are whole
    # Of a map without one, nothing is counted.
    expected = float(metric.compute())
    metric.update(targets[:, 1:], torch.full_like(targets, torch.nan))
    assert float(metric.compute()) == expected
    metric.update(torch.full_like(targets[:, 1:], torch.nan), targets)
    assert np.isnan(float(metric.compute()))


@pytest.mark.parametrize("memory", [0.0, 2.0])
def test_sizes_that_differ_are_named(root, memory):
    write_map(root / "test" / "Depth" / "01.png", depth_of(1, (36, 45)))
    with pytest.raises(ValueError, match=r"Depth/01\.png: it has 36×45 values and its image 36×44 pixels"):
        list(load(root, memory=memory).test_loader(8))
    with pytest.raises(ValueError, match="needed: the same, as the small maps are made here, of whole ones"):
        describe_depth(DataConfig(data=str(root)))  # what `decoupled data` says


def test_bad_files_are_named(root):
    path = root / "test" / "Depth" / "01.png"
    image_of(depth_of(1)).save(path)
    with pytest.raises(ValueError, match=r"Depth/01\.png: it has colours"):
        load(root)
    Image.merge("RGB", [Image.fromarray(depth_of(1).astype(np.uint8))] * 3).save(
        path
    )  # grey in three channels
    np.testing.assert_array_equal(truths(load(root).test_loader(8))[1], depth_of(1))
    Image.fromarray(depth_of(1).astype(np.uint8)).save(path, "JPEG")
    with pytest.raises(ValueError, match=r"Depth/01\.png: it is a JPEG, which changes values"):
        load(root)
    Image.fromarray(depth_of(1).astype(np.uint8)).convert("P").save(path)
    with pytest.raises(ValueError, match=r"Depth/01\.png: it is of mode P; needed: grey"):
        load(root)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Depth/01\.png"):
        load(root)
    path.unlink()
    np.save(path.with_suffix(".npy"), np.zeros((36, 44, 2)))
    with pytest.raises(ValueError, match=r"01\.npy: it is an array of float64 of shape \(36, 44, 2\)"):
        load(root)


def test_deep_guidance_is_refused(root):
    Image.fromarray(np.full((36, 44), 900, dtype=np.uint16)).save(root / "test" / "RGB" / "01.png")
    with pytest.raises(ValueError, match="needed: "):
        list(load(root).test_loader(8))


def test_grey_guidance(tmp_path):
    for n in range(8):
        image, _ = write_pair(tmp_path, n)
        Image.open(image).convert("L").save(image)
    data = load(tmp_path)
    assert data.in_chans == 2
    assert next(iter(data.test_loader(8)))[0].shape[1] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 32}, "image_size = 32 received, which is of use for images with one"),
        ({"color_jitter": 0.2, "augment": True}, "color_jitter = 0.2 received, which is of use for"),
        ({"class_names": "a,b"}, "class_names = a,b received, which is of use for masks"),
        ({"crop": 15}, "crop = 15 received; needed: 16 or more: twice the scale, and more than the border"),
        ({"crop": 12, "scale": 2}, "crop = 12 received; needed: 14 or more"),
        ({"crop": 17, "scale": 9}, "crop = 17 received; needed: 18 or more"),
        ({"scale": 32}, "an image of 36 pixels along one side found; needed: 64 or more"),
        ({"scale": 1}, "scale = 1 received; needed: at least 2"),
        ({"crops": 0}, "crops = 0 received; needed: at least 1"),
        ({"degradation": "blur"}, "blur"),
        ({"tile": 66}, "tile = 66 received for scale = 4; needed: a multiple of the scale, 64 or more"),
        ({"tile": 96, "scale": 8}, "tile = 96 received for scale = 8; needed: a multiple of the scale, 128"),
    ],
)
def test_options_that_do_not_fit(root, options, message):
    with pytest.raises(ValueError, match=message):
        load(root, **options)


def test_what_is_no_set_of_pairs(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; needed: a folder with RGB/ beside"):
        load("nowhere")
    write_pair(tmp_path, 0, depth="others")
    with pytest.raises(ValueError, match="no folder of images beside one of depth maps; needed: RGB/ beside"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"00\.png is a file; needed: a folder"):
        load(tmp_path / "RGB" / "00.png")


def test_the_protocol_belongs_to_the_data(root):
    plain = load(root)
    assert "depth ×4 (pick)" in plain.name
    assert "results of two ways are not to be compared" in words(plain)
    digests = {
        load(root, **options).digest for options in ({}, {"scale": 8}, {"degradation": "area"}, {"crop": 16})
    }
    assert len(digests) == 3  # what it is trained on parts of is no part of it
    data = type(plain.found).from_dict(json.loads(json.dumps(plain.found.to_dict())))
    assert data == plain.found == describe_depth(DataConfig(data=str(root), augment=False, workers=0))
    assert "Classes" not in str(plain.found)


def test_generated_scenes():
    data = load("sample", train_size=8)
    assert data.test_size == 24
    inputs, targets = data.test_subset(24)
    assert inputs.shape == (24, 4, 64, 80)
    assert 10 < float(targets[:, 0].min()) < float(targets[:, 0].max()) < 260
    # Where depth jumps, the image mostly does, too; and the image jumps elsewhere.
    jump, edge = targets[:, 0].diff(dim=-1).abs() > 10, inputs[:, :3].diff(dim=-1).abs().sum(1) > 0.15
    assert edge[jump].float().mean() > 2 * edge[~jump].float().mean()
