"""Every option that is for depth, by the inputs, the network or the file that comes out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from proofs import proves

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.cli.upsample import UpsampleConfig
from decoupled_nets.compare import CompareConfig
from decoupled_nets.data import DataConfig
from decoupled_nets.models import NetworkConfig
from decoupled_nets.models.joint import JointUpsampler
from decoupled_nets.nn.upsamplers import unregister_upsampler
from decoupled_nets.ops.resample import degrade
from decoupled_nets.tasks import find_task
from decoupled_nets.training import TrainConfig, train


def loaded(**options):
    task = find_task("depth")
    return task.load(DataConfig(data="sample", workers=0, train_size=6, test_size=2, **options))


def small(data) -> torch.Tensor:
    return next(iter(data.test_loader(1)))[0][0, 3]


@proves(DataConfig, "scale")
def test_scale():
    for scale in (4, 8):
        data = loaded(scale=scale)
        assert data.network_options["scale"] == scale
        held = small(data)
        assert torch.equal(
            held, held[::scale, ::scale].repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        )
        network = find_task("depth")(()).network(
            NetworkConfig(model="joint"), "conv", 4, **data.network_options
        )
        assert len(network.steps) == {4: 2, 8: 3}[scale]


@proves(DataConfig, "degradation")
def test_degradation():
    depth = next(iter(loaded().test_loader(1)))[1][:, :1]
    offsets = {}
    for how in ("pick", "area", "bicubic"):
        data = loaded(degradation=how)
        torch.testing.assert_close(small(data)[::4, ::4], degrade(depth, 4, how)[0, 0])
        offsets[how] = data.network_options["offset"]
        assert f"({how})" in data.name
    for task in ("classify", "segment"):
        with pytest.raises(ValueError, match="degradation = area received, which is of use for depth maps"):
            find_task(task).load(DataConfig(data="synthetic", degradation="area"))
    assert offsets == {"pick": 1.0, "area": 1.5, "bicubic": 1.5}


@proves(DataConfig, "crop", "crops")
def test_crop_and_crops():
    for options, shape, batches in (({}, (64, 80), 3), ({"crop": 32, "crops": 4}, (32, 32), 12)):
        found = [inputs.shape for inputs, _ in loaded(**options).train_loader(2, 0)]
        assert found == [(2, 4, *shape)] * batches


TILED = {
    "task": "depth", "width": 0.25, "epochs": 1, "batch_size": 4, "val_size": 1, "workers": 0, "crop": 32,
    "scale": 2, "crops": 5, "lr": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Pairs of 128 × 160 pixels, of which the depth is in the image's brightness."""
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    for split, number in (("train", 9), ("test", 2)):
        for kind in ("RGB", "Depth"):
            (folder / split / kind).mkdir(parents=True)
        for n in range(number):
            values = rng.integers(20, 230, (16, 20), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(values).save(folder / split / "Depth" / f"{n}.png")
            Image.fromarray(np.stack([values, 255 - values, values // 2], -1)).save(
                folder / split / "RGB" / f"{n}.png"
            )
    return str(folder)


@pytest.fixture
def seen(monkeypatch):
    """The sizes of images that networks get while they are judged, and while they learn."""
    found: dict[bool, set[tuple[int, int]]] = {False: set(), True: set()}
    detail = JointUpsampler._detail

    def noted(self, image, unit):
        assert (2 * unit.shape[2], 2 * unit.shape[3]) == tuple(image.shape[2:])
        found[self.training].add(tuple(image.shape[2:]))
        return detail(self, image, unit)

    monkeypatch.setattr(JointUpsampler, "_detail", noted)
    return found


@proves(DataConfig, "tile")
@pytest.mark.parametrize("upsample", ["transposed", "ddf"])
def test_tile(upsample, large, seen, tmp_path):
    """Validation and test images are seen in parts: the same errors, but of filters that look at a mean."""
    options = {**TILED, "data": large, "upsample": upsample, "operator": "conv"}
    whole = train(TrainConfig.of(**options), tmp_path / "whole", quiet=True)
    assert (128, 160) in seen[False]
    seen[False].clear()
    parts = train(TrainConfig.of(**options, tile=32), tmp_path / "parts", quiet=True)
    # 32 and a margin of 32 to one side or both; 32 × 32 is the trial before the training.
    assert seen == {False: {(h, w) for h in (64, 96) for w in (64, 96)} | {(32, 32)}, True: {(32, 32)}}
    (one,), (other,) = whole.history, parts.history
    assert one["train_loss"] == other["train_loss"]
    for first, second in ((one["val_rmse"], other["val_rmse"]), (whole.tested["rmse"], parts.tested["rmse"])):
        assert (abs(first - second) < 1e-5) == (upsample == "transposed")
        assert second == pytest.approx(first, rel=0.05)
    start = whole.task.baselines(whole.trainer.datamodule.data)["bicubic, known sample positions"]
    assert abs(parts.tested["rmse"] - float(start.double().mean()) / 1e6) > 1e-3  # there is something to see
    with pytest.raises(ValueError, match="tile: None now, 32 then"):
        train(TrainConfig.of(**options), tmp_path / "parts", resume=True, quiet=True)


def test_a_comparison_in_tiles_says_so(large, seen, tmp_path, capsys):
    words = ["compare", "--data", large, "--upsamplers", "ddf", "--out", str(tmp_path), "--jobs", "1"]
    words += [f"--{name.replace('_', '-')}={value}" for name, value in TILED.items()]
    assert main([*words, "--tile", "32"]) == 0
    assert max(max(size) for size in seen[False]) == 96  # pictures for the page are made in tiles, too
    told = "in tiles of 32×32 and a margin of 32: dynamic filters (ddf) then look at the mean of a tile"
    assert told in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "report.html").read_text()
    title = page.split("<h1>")[1].split("</h1>")[0]
    assert title.endswith("depth ×2 (pick), tiles of 32")
    assert told in page
    assert "--tile 32" in page
    for more, now in (([], "None"), (["--tile", "64"], "64")):
        assert main([*words, *more]) == 2
        assert f"--tile: {now} now, 32 then; needed: the same" in capsys.readouterr().err


def test_what_needs_no_training_is_the_same_in_tiles(large):
    task = find_task("depth")
    for how in ("pick", "bicubic"):
        made = []
        for tile in (None, 32):
            data = task.load(DataConfig(data=large, workers=0, scale=2, crop=32, degradation=how, tile=tile))
            made.append(task.of(data).baselines(data))
        assert list(made[0]) == list(made[1])
        for name, outcomes in made[0].items():
            assert (outcomes - made[1][name]).abs().max() <= 10, name  # millionths


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_other_tasks_take_no_tile(task, capsys):
    for command in ("train", "compare"):
        assert main([command, "--task", task, "--tile", "64"]) == 2
        assert f"--tile 64 received for the task {task}; needed: None, which only" in capsys.readouterr().err
    assert main(["data", "--task", task, "--tile", "64"]) == 2
    assert "--tile 64 received, which is of use for depth maps only" in capsys.readouterr().err
    assert main(["train", "--task", "depth", "--tile", "30"]) == 2
    said = "--tile 30 received for --scale 4; needed: a multiple of the scale, 64 or more"
    assert said in capsys.readouterr().err


@proves(NetworkConfig, "upsample")
def test_upsample():
    kinds = {}
    for name in ("ddf", "transposed", "pac"):
        config = NetworkConfig(model="joint", width=0.125, upsample=name)
        network = find_task("depth")(()).network(config, "conv", 4, scale=4, offset=1.0)
        kinds[name] = type(network.steps[0].up).__name__
    assert kinds == {"ddf": "DDF", "transposed": "Transposed", "pac": "PAC"}


@proves(NetworkConfig, "batch_norm")
def test_batch_norm_is_none_that_could_be_left_out():
    for refusing in (
        lambda: TrainConfig.of(task="depth", batch_norm=False),
        lambda: CompareConfig.of(task="depth", variants="a: ; b: batch_norm=false"),
        lambda: find_task("depth")(()).network(
            NetworkConfig(model="joint", batch_norm=False), "conv", 4, scale=4, offset=1.0
        ),
    ):
        with pytest.raises(ValueError, match="batch_norm = False received for model joint, which has"):
            refusing()


@pytest.fixture
def files(tmp_path):
    """A network that is bicubic interpolation, an image, and a map."""
    dn.save_pretrained(saved(4), tmp_path / "network")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    np.save(tmp_path / "map.npy", rng.random((5, 6), dtype=np.float32))
    return tmp_path


def saved(scale: int, upsample: str = "ddf", **options) -> JointUpsampler:
    config = NetworkConfig(model="joint", width=0.125, upsample=upsample)
    return find_task("depth")(()).network(config, "conv", 4, scale=scale, offset=1.0, **options)


@proves("upsample", "image", "depth", "out")
@proves(UpsampleConfig, "weights")
def test_image_depth_weights_and_out(files, capsys):
    words = ["upsample", str(files / "image.png"), str(files / "map.npy"), "--weights"]
    assert main([*words, str(files / "network")]) == 0
    first = np.load(files / "map_x4.npy")
    assert first.shape == (20, 24)
    np.testing.assert_allclose(first[1::4, 1::4], np.load(files / "map.npy"), atol=1e-6)
    assert main([*words, str(files / "network"), "--out", str(files / "other.npy")]) == 0
    np.testing.assert_array_equal(np.load(files / "other.npy"), first)
    dn.save_pretrained(saved(2), files / "twice")
    assert main([*words, str(files / "twice")]) == 2
    assert "needed: an image of 10×12" in capsys.readouterr().err
    Image.open(files / "image.png").resize((12, 10)).save(files / "less.png")
    assert main(["upsample", str(files / "less.png"), *words[2:], str(files / "twice")]) == 0
    assert np.load(files / "map_x2.npy").shape == (10, 12)


@proves(UpsampleConfig, "tile")
def test_a_map_is_made_in_parts(files, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (160, 180, 3), dtype=np.uint8)).save(files / "image.png")
    np.save(files / "map.npy", rng.random((40, 45), dtype=np.float32))
    seen = []
    whole = JointUpsampler._detail
    monkeypatch.setattr(
        JointUpsampler,
        "_detail",
        lambda self, image, unit: seen.append(image.shape[2:]) or whole(self, image, unit),
    )
    words = [
        "upsample",
        str(files / "image.png"),
        str(files / "map.npy"),
        "--weights",
        str(files / "network"),
    ]
    assert main(words) == 0
    first = np.load(files / "map_x4.npy")
    assert seen == [(160, 180)]
    assert main([*words, "--tile", "16"]) == 0
    assert len(seen) == 1 + 10 * 12
    np.testing.assert_allclose(np.load(files / "map_x4.npy"), first, atol=1e-6)
    assert main([*words, "--tile", "2"]) == 2
    assert "--tile 2 received; needed: at least the scale, 4" in capsys.readouterr().err


@proves("upsample", "config")
def test_a_file_of_options(files):
    (files / "options.yaml").write_text(f"weights: {files / 'network'}\n")
    words = ["upsample", str(files / "image.png"), str(files / "map.npy")]
    assert main([*words, "--config", str(files / "options.yaml")]) == 0
    assert (files / "map_x4.npy").is_file()


@proves(UpsampleConfig, "plugin")
def test_a_plugin_registers_what_the_network_is_made_of(files, capsys):
    code = (
        "import decoupled_nets as dn\n"
        "dn.register_upsampler('mine', lambda c, s, g=None: dn.upsampler('bilinear', c, s))\n"
    )
    (files / "plugin.py").write_text(code)
    exec(code, {})
    dn.save_pretrained(saved(4, "mine"), files / "mine")
    unregister_upsampler("mine")
    words = ["upsample", str(files / "image.png"), str(files / "map.npy"), "--weights", str(files / "mine")]
    assert main(words) == 2
    assert "unknown upsampler 'mine'" in capsys.readouterr().err
    try:
        assert main([*words, "--plugin", str(files / "plugin.py")]) == 0
    finally:
        unregister_upsampler("mine")
