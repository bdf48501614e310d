"""Joint depth upsampling from the command to the page: networks, learning, runs that go on, files."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pairs import depth_of as depth_map
from pairs import write_pair
from PIL import Image

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.data import DataConfig
from decoupled_nets.models.joint import JointUpsampler, extent
from decoupled_nets.networks import build_joint
from decoupled_nets.nn.upsamplers import list_upsamplers, register_upsampler, unregister_upsampler
from decoupled_nets.ops.resample import hold, interpolate_at
from decoupled_nets.reports.figures.depths import depth_of
from decoupled_nets.reports.page import render
from decoupled_nets.reports.results import Results, Score
from decoupled_nets.reports.summary import summarise
from decoupled_nets.reports.untrained import no_better, untrained_tables
from decoupled_nets.tasks import find_task
from decoupled_nets.tasks._examples import deep_picture
from decoupled_nets.tasks.interpolations import Interpolations
from decoupled_nets.training import (
    NetworkConfig,
    TrainConfig,
    callbacks,
    load_checkpoint,
    load_network,
    train,
)

SMALL = {
    "task": "depth", "data": "sample", "width": 0.125, "epochs": 2, "batch_size": 4, "train_size": 12,
    "val_size": 4, "test_size": 6, "lr": 3e-3, "workers": 0, "crop": 32, "operator": "conv",
}  # fmt: skip

PICKED = {"scale": 4, "offset": 1.0}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "last.ckpt")["state_dict"]


def rest(options: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in options.items() if name not in names}


def inputs(scale: int, height: int = 5, width: int = 6, size: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    depth = 40 + 100 * torch.rand(size, 1, height, width)
    image = torch.rand(size, 3, scale * height, scale * width)
    return torch.cat([image, hold(depth, scale)], 1)


@pytest.mark.parametrize("scale", [2, 3, 4, 6, 8])
def test_it_starts_as_interpolation_with_known_sample_positions(scale):
    for offset in (0.0, (scale - 1) / 2):
        network = JointUpsampler(scale, offset, width=0.125)
        x = inputs(scale)
        expected = interpolate_at(x[:, -1:, ::scale, ::scale], scale, offset, "bicubic")
        torch.testing.assert_close(network(x), expected)
    assert JointUpsampler(4).offset == 1.0
    assert len(JointUpsampler(6, width=0.125).steps) == 2


def test_mixed_precision_does_not_round_depth():
    network, x = JointUpsampler(4, width=0.125), inputs(4)
    x[:, 3] += 60_000
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(x), atol=0.1, rtol=0)


@pytest.mark.parametrize("name", list_upsamplers())
def test_every_upsampler_gets_image_and_map(name):
    network = JointUpsampler(4, upsample=name, width=0.25)
    for parameter in network.parameters():  # where upsamplers begin, some look at no guidance yet
        torch.nn.init.normal_(parameter, std=0.1)
    x = inputs(4).requires_grad_()
    found = network(x)
    assert found.shape == (2, 1, 20, 24)
    found.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert x.grad[:, :3].abs().sum() > 0  # the image counts
    # Beyond what is added to the interpolation, the unit and the zero of depth change nothing.
    shifted = x.detach().clone()
    shifted[:, 3] = 3 * shifted[:, 3] + 1000
    network.double()
    torch.testing.assert_close(network(shifted.double()), 3 * network(x.detach().double()) + 1000)


@pytest.mark.parametrize("says", [False, True])
def test_an_upsampler_that_says_it_is_guided_gets_the_image(says):
    """Others get it behind them, by a convolution."""
    seen = []

    class Mine(torch.nn.Module):
        guided = says

        def __init__(self, channels, scale_factor, guidance_channels=None):
            super().__init__()
            self.own, self.scale = guidance_channels, scale_factor

        def forward(self, input, guidance=None, size=None):
            seen.append((self.own, None if guidance is None else guidance.shape[1:]))
            return input.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)

    register_upsampler("mine", Mine)
    try:
        network = JointUpsampler(4, upsample="mine", width=0.25)
        network(inputs(4))
    finally:
        unregister_upsampler("mine")
    sizes = [(4, 10, 12), (4, 20, 24)]
    assert seen == [(4, size) if says else (None, None) for size in sizes]
    assert [step.mix is None for step in network.steps] == [says, says]


@pytest.mark.parametrize("name", list_upsamplers())
def test_whether_an_upsampler_is_guided_is_asked_in_one_way(name):
    """By what it does with one: its attribute is no claim."""
    layer = dn.upsampler(name, 8, 2, 4)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, guidance = torch.rand(1, 8, 4, 4), torch.rand(1, 4, 8, 8)
    looks = not torch.equal(layer(x, guidance), layer(x, guidance.flip(2)))
    assert (JointUpsampler(2, upsample=name, width=0.25).steps[0].mix is None) == looks


def test_the_papers_counts():
    """Three and three 5×5 convolutions, two more, and two octaves of DDF-Up."""
    network = JointUpsampler(4)
    convolutions = [
        m for m in [*network.target, *network.guide, *network.tail] if isinstance(m, torch.nn.Conv2d)
    ]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [
        (1, 32), (32, 32), (32, 32), (3, 32), (32, 32), (32, 32), (32, 32), (32, 1),
    ]  # fmt: skip
    assert {m.kernel_size for m in convolutions} == {(5, 5)}
    assert [step.up.guidance_channels for step in network.steps] == [16, 16]
    counts = [
        sum(isinstance(m, torch.nn.LeakyReLU) for m in JointUpsampler(4, relu=relu).modules())
        for relu in (False, True)
    ]
    assert counts == [0, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: JointUpsampler(1), "scale = 1 received; needed: a whole number from 2 on"),
        (lambda: JointUpsampler(4, in_chans=1), "in_chans = 1 received; needed: an image's channels and one"),
        (lambda: JointUpsampler(4, width=0), "width = 0 received; needed: a positive number"),
        (lambda: JointUpsampler(4, upsample="lanczos"), "unknown upsampler 'lanczos'"),
        (lambda: JointUpsampler(4)(torch.rand(1, 4, 9, 8)), "inputs of 4 channels, 9×8 received; needed: 4"),
        (lambda: build_joint(NetworkConfig(model="unet"), "conv", 4, **PICKED), "model 'unet' received"),
        (lambda: TrainConfig.of(task="classify", upsample="pac"), "upsample = pac received for the task cl"),
        (lambda: TrainConfig.of(scale=8), "scale = 8 received for the task classify; needed: 4, which only"),
        (lambda: TrainConfig.of(task="depth", label_smoothing=0.1), "label_smoothing = 0.1 received for"),
        (lambda: TrainConfig.of(task="depth", upsample="nothing"), "unknown upsampler 'nothing'"),
    ],
)  # fmt: skip
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_operators_take_the_place_of_all_convolutions_but_the_last():
    options = {"scale": 4, "offset": 1.0}
    config = NetworkConfig(model="joint", width=0.25, upsample="transposed", radius=2.0)
    network = build_joint(config, "tanh-cos", 4, **options)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, dn.DecoupledConv2d)}
    assert {layer.radius for layer in layers.values()} == {2.0}
    assert {"target.0", "guide.4", "tail.0"} <= set(layers)
    assert "tail.2" not in layers
    some = build_joint(NetworkConfig(model="joint", select="target.*"), "tanh-cos", 4, **options)
    assert {n.split(".")[0] for n, m in some.named_modules() if isinstance(m, dn.DecoupledConv2d)} == {
        "target"
    }


def test_the_loss_is_that_of_maps_from_0_to_1():
    task, x = find_task("depth")(()), inputs(4)
    truth = x[:, 3:] + torch.randn(2, 1, 20, 24)
    outputs, targets = truth + torch.randn(2, 1, 20, 24), torch.cat([truth, x[:, 3:]], 1)
    low, high = (getattr(x[:, 3], name)((1, 2)).view(2, 1, 1, 1) for name in ("amin", "amax"))
    expected = F.mse_loss((outputs - low) / (high - low), (truth - low) / (high - low))
    torch.testing.assert_close(task.loss(outputs, targets), expected)
    flat = torch.full((1, 1, 5, 6), 200.0)
    assert [float(end) for end in extent(flat)] == [200.0, 2.0]  # not a division by 0
    dark = torch.cat([torch.ones(1, 1, 20, 24), torch.zeros(1, 1, 20, 24)], 1)
    assert float(task.loss(torch.full((1, 1, 20, 24), 9.0), dark)) == 0


def test_a_network_that_diverged_has_a_finite_bad_score():
    task, x = find_task("depth")(()), inputs(4)
    bad = task.outcomes(torch.full((2, 1, 20, 24), torch.nan), torch.cat([x[:, 3:], x[:, 3:]], 1))
    assert task.value(bad.sum(0), 2) > 1e8


def test_interpolations_and_the_choice_of_deviations():
    data = find_task("depth").load(DataConfig(data="sample", workers=0, test_size=3))
    task = find_task("depth")(())
    found = {name: float(some.double().mean()) for name, some in task.baselines(data).items()}
    assert [name.split(" (")[0] for name in found] == [
        "nearest", "bilinear", "bicubic", "bicubic, known sample positions", "joint bilateral",
    ]  # fmt: skip
    assert found["bicubic, known sample positions"] < found["bicubic"] < found["nearest"]
    ways = Interpolations(4, "pick")
    pairs = data.train_subset(4)
    ways.choose(pairs, task)
    chosen = float(task.outcomes(ways._bilateral(pairs[0], ways.spatial, ways.range), pairs[1]).sum())
    for spatial, range_ in ((0.5, 0.4), (1.0, 0.1), (0.5, 0.02)):
        assert chosen <= float(task.outcomes(ways._bilateral(pairs[0], spatial, range_), pairs[1]).sum())
    known = ways.spatial, ways.range = 1.0, 0.4
    ways.choose((pairs[0], torch.full_like(pairs[1], torch.nan)), task)
    assert (ways.spatial, ways.range) == known
    # Where the middle is known, it is not said twice.
    assert "bicubic, known sample positions" not in Interpolations(4, "area")(pairs[0])
    known = ways(pairs[0])["bicubic, known sample positions"]
    assert torch.equal(known, interpolate_at(pairs[0][:, 3:, ::4, ::4], 4, 1.0, "bicubic"))


@pytest.mark.parametrize(
    ("upsample", "epochs", "share"),
    [("ddf", 16, 0.9), pytest.param("transposed", 24, 0.8, marks=pytest.mark.long)],
)
def test_it_learns_more_than_interpolation_and_by_the_image(upsample, epochs, share, tmp_path):
    options = {**SMALL, "width": 0.25, "train_size": 40, "crop": 48, "crops": 2, "batch_size": 8, "lr": 4e-3}
    config = TrainConfig.of(**{**options, "epochs": epochs, "warmup": 0.3}, upsample=upsample)
    module = train(config, tmp_path, quiet=True)
    task, data = module.task, module.trainer.datamodule.data
    best = float(task.baselines(data)["bicubic, known sample positions"].double().mean()) / 1e6
    assert module.tested["rmse"] < share * best
    # With another's image it does worse: it looks at it.
    network, own, other = module.network.eval(), [], []
    with torch.no_grad():
        images = [pair[0] for pair in data.test_loader(1)]
        for k, (x, target) in enumerate(data.test_loader(1)):
            swapped = torch.cat([images[k - 1][:, :3], x[:, 3:]], 1)
            own.append(task.outcomes(network(x), target))
            other.append(task.outcomes(network(swapped), target))
    assert float(torch.cat(other).double().mean()) > 1.05 * float(torch.cat(own).double().mean())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, train(TrainConfig.of(**SMALL), folder, quiet=True)


def test_a_run_and_what_it_keeps(finished):
    folder, module = finished
    tested = json.loads((folder / "test.json").read_text())
    assert {"epoch", "loss", "rmse", "images", "metrics"} == set(tested)
    assert set(tested["metrics"]) == {"mae"}
    assert 0 < tested["metrics"]["mae"] < tested["rmse"]
    assert module.outcomes.shape == (6, 1)
    assert module.task.value(module.outcomes.sum(0), 6) == tested["rmse"]
    again = train(TrainConfig.of(**SMALL), folder, resume=True, quiet=True)
    assert torch.equal(again.outcomes, module.outcomes)
    network = load_network(folder / "last.ckpt")
    assert torch.equal(network(inputs(4)), module.network.eval()(inputs(4)))
    with pytest.raises(ValueError, match="scale: 8 now, 4 then"):
        train(TrainConfig.of(**SMALL, scale=8), folder, resume=True, quiet=True)
    with pytest.raises(ValueError, match="degradation: 'area' now, 'pick' then"):
        train(TrainConfig.of(**SMALL, degradation="area"), folder, resume=True, quiet=True)


def test_an_interrupted_run_ends_with_the_same_bits(finished, tmp_path, monkeypatch):
    count = callbacks.StepProgress.on_train_batch_end

    def interrupt(self, trainer, *args):
        count(self, trainer, *args)
        if trainer.global_step == 2:  # in mid-epoch
            callbacks.signal.raise_signal(callbacks.signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(TrainConfig.of(**SMALL), tmp_path, quiet=True)
    train(TrainConfig.of(**SMALL), tmp_path, resume=True, quiet=True)
    ours, theirs = weights(tmp_path), weights(finished[0])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    options = {**rest(SMALL, "operator"), "epochs": 1, "operators": "conv"}
    results, paths = compare(CompareConfig.of(**options), folder, quiet=True)
    return folder, options, results, paths


def test_compare_shows_maps_errors_and_what_needs_no_training(compared):
    tmp_path, options, results, paths = compared
    assert (results.metric.name, results.metric.better, results.margin) == ("rmse", "lower", 0.01)
    assert "depths.png" in {path.name for path in paths}
    for score in [run.test for run in results.runs] + list(results.baselines.values()):
        assert score.low <= score.value <= score.high
    again, _ = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert again == results == Results.load(tmp_path / "results.json")
    page = (tmp_path / "report.html").read_text()
    for text in (
        "on generated scenes, depth ×4 (pick)</", "Test RMSE, units", "MAE, units", "Without training",
        "bicubic, known sample positions", "joint bilateral", "Depth maps", "upsampling by ddf",
    ):  # fmt: skip
        assert text in page, text
    assert "BatchNorm" not in page.split("<h2")[0]
    assert "--task depth --train-size 12" in results.config["command"]
    # What is shown is what the network of the run makes of the test images, and where it errs.
    given, made = results.examples["given"], results.examples["made"]
    network = load_network(tmp_path / "runs" / "conv-seed0" / "last.ckpt")
    data = find_task("depth").load(CompareConfig.of(**options).data)
    x, target = data.test_image(0)
    low, high = map(float, given["range"][0].split())
    with torch.no_grad():
        found = network(x)[0, 0]
    shown = depth_of(made["conv"][0], low, high)
    np.testing.assert_allclose(shown, found.clamp(low, high), atol=2 * (high - low) / 65535)
    np.testing.assert_allclose(depth_of(given["truth"][0], low, high), target[0], atol=(high - low) / 65535)


def test_pictures_of_depth_have_gaps():
    values = torch.tensor([[1.0, torch.nan], [2.0, 5.0]])
    found = depth_of(deep_picture(values, 1.0, 5.0), 1.0, 5.0)
    np.testing.assert_allclose(found, values, atol=1e-4)


def test_networks_that_learned_nothing_are_named(compared):
    results = dataclasses.replace(compared[2])
    (table,) = untrained_tables(results)
    assert [row[0] for row in table.rows] == list(results.baselines)
    own = results.runs[0].test
    known, name = "bicubic, known sample positions", "joint bilateral (deviations 1 samples, 0.1 of white)"

    def beside(**factors):
        """Rows that have so much of the network's value and interval."""
        results.baselines = {
            row.replace("_", " "): Score(f[0] * own.value, 6, f[-1] * own.low, f[-1] * own.high)
            for row, f in factors.items()
        }
        return no_better(results)

    text = f"Nothing learned: conv (seed 0) did as {known} does, from which networks start."
    assert beside(bicubic=(2,), **{known: (1.0005,)}).startswith(text)
    assert text in render(results, summarise(results), {})
    assert "did as bicubic does" in beside(bicubic=(1.0005,))
    # Where it did not start, it may end; and a mean may be alike where the images are not.
    assert beside(bicubic=(1.0005,), nearest=(1,), **{known: (1.002,), name: (1,)}) == ""
    assert beside(**{known: (1.0005, 1.01)}) == ""
    assert untrained_tables(dataclasses.replace(results, baselines={})) == []


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """An image, and its small map in three kinds of file."""
    folder = tmp_path_factory.mktemp("pair")
    x = inputs(4, size=1)[0]
    Image.fromarray((x[:3] * 255).round().byte().permute(1, 2, 0).numpy()).save(folder / "image.png")
    small = x[3, ::4, ::4].numpy()
    np.save(folder / "small.npy", small)
    Image.fromarray(small.round().astype(np.uint8)).save(folder / "small8.png")
    Image.fromarray((100 * small).round().astype(np.uint16)).save(folder / "small16.png")
    return folder


def test_upsample_writes_what_the_network_says(finished, pair, tmp_path, capsys):
    folder, _ = finished
    call = ["upsample", str(pair / "image.png"), str(pair / "small.npy"), "--weights"]
    assert main([*call, str(folder)]) == 0
    assert "small_x4.npy: 20×24, 4 times 5×6, from " in capsys.readouterr().out
    image = torch.from_numpy(np.array(Image.open(pair / "image.png"))).permute(2, 0, 1)[None] / 255
    small = torch.from_numpy(np.load(pair / "small.npy"))[None, None]
    with torch.no_grad():
        expected = load_network(folder / "best.ckpt")(torch.cat([image, hold(small, 4)], 1))[0, 0]
    np.testing.assert_array_equal(np.load(pair / "small_x4.npy"), expected.numpy())
    saved = dn.save_pretrained(load_network(folder / "best.ckpt"), tmp_path / "saved")
    assert main([*call, str(saved), "--out", str(tmp_path / "other.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "other.npy"), expected.numpy())
    for name, kind in (("small8", np.uint8), ("small16", np.uint16)):
        words = ["upsample", str(pair / "image.png"), str(pair / f"{name}.png"), "--weights", str(folder)]
        assert main([*words, "--out", str(tmp_path / f"{name}.png")]) == 0
        found = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert found.dtype == kind
        scale = 1 if kind == np.uint8 else 100
        assert np.abs(found / scale - expected.numpy().clip(0, 255)).max() < 3


@pytest.mark.parametrize(
    ("image", "depth", "more", "message"),
    [
        ("image.png", "image.png", [], "it has colours (mode RGB); needed: one number for each pixel"),
        ("small8.png", "small8.png", [], "has 5×6 pixels and"),
        (
            "small8.png",
            "small8.png",
            [],
            "needed: an image of 20×24, as the network makes maps 4 times larger",
        ),
        ("none.png", "small8.png", [], "none.png does not exist"),
        ("image.png", "none.npy", [], "none.npy does not exist"),
        ("small.npy", "small8.png", [], "small.npy is not a readable image"),
        ("small16.png", "small8.png", [], "has 16 or 32 bits a pixel; needed: 8 a channel"),
        ("image.png", "small8.png", ["--out", "x.jpg"], "out x.jpg received; needed: a name that ends in"),
        ("image.png", "small.npy", ["--out", "x.png"], "needed: a name that ends in .npy, which keeps it"),
    ],
)
def test_upsample_says_what_is_wrong(finished, pair, image, depth, more, message, capsys):
    call = ["upsample", str(pair / image), str(pair / depth), "--weights", str(finished[0]), *more]
    assert main(call) == 2
    assert message in capsys.readouterr().err


def test_upsample_takes_no_classifier(pair, tmp_path, capsys):
    saved = dn.save_pretrained(dn.create_model("cnn9", 3, 3, operator="conv", width=0.125), tmp_path)
    call = ["upsample", str(pair / "image.png"), str(pair / "small8.png"), "--weights", str(saved)]
    assert main(call) == 2
    assert "holds a CNN9; needed: a network of task=depth" in capsys.readouterr().err


def test_gaps_in_a_small_map_are_filled_and_told(finished, pair, tmp_path, capsys):
    gaps = np.load(pair / "small.npy")
    gaps[2, 3] = np.nan
    np.save(tmp_path / "gaps.npy", gaps)
    call = ["upsample", str(pair / "image.png"), str(tmp_path / "gaps.npy"), "--weights", str(finished[0])]
    assert main(call) == 0
    assert "3.3 % of the small map had no depth and was filled" in capsys.readouterr().out
    assert np.isfinite(np.load(tmp_path / "gaps_x4.npy")).all()
    np.save(tmp_path / "gaps.npy", np.full((5, 6), np.nan))
    assert main(call) == 2
    assert "has no depth anywhere" in capsys.readouterr().err


@pytest.mark.parametrize("zeros", [True, False])
def test_what_0_says_is_said_by_the_training_maps(zeros, pair, tmp_path, capsys):
    """A tenth of the training maps is 0, or nothing of them; the small map is unlike them."""
    for n in range(8):
        values = depth_map(n)
        values[:4, :8] = 0 if zeros else 9
        write_pair(tmp_path / "set", n, values=values)
    small = np.load(pair / "small.npy")
    small[2, 3] = 0
    if zeros:  # less of it than would tell
        small = np.tile(small, (10, 10))
        small[small == 0] = 50
        small[22, 33] = 0
    shape = 4 * small.shape[0], 4 * small.shape[1]
    image = tmp_path / "image.png"
    Image.open(pair / "image.png").resize(shape[::-1]).save(image)
    np.save(tmp_path / "map.npy", small)
    options = {"data": str(tmp_path / "set"), "train_size": None, "val_size": None, "test_size": None}
    network = train(
        TrainConfig.of(**{**SMALL, **options, "epochs": 1, "lr": 1e-12}), tmp_path / "run", quiet=True
    )
    assert network.network.network.zeros is zeros
    dn.save_pretrained(load_network(tmp_path / "run" / "last.ckpt"), tmp_path / "saved")
    for place in ("run", "saved"):
        call = ["upsample", str(image), str(tmp_path / "map.npy"), "--weights", str(tmp_path / place)]
        assert main([*call, "--out", str(tmp_path / "out.npy")]) == 0
        assert ("had no depth and was filled" in capsys.readouterr().out) == zeros
        row, column = (22, 33) if zeros else (2, 3)
        found = np.load(tmp_path / "out.npy")[4 * row + 1, 4 * column + 1]
        assert (abs(found) < 1e-3) == (not zeros)


@pytest.mark.parametrize(("scale", "operator"), [(4, "conv"), (3, "tanh-cos")])
def test_it_is_saved_and_loaded(scale, operator, tmp_path):
    config = NetworkConfig(model="joint", width=0.125, upsample="dysample")
    network = build_joint(config, operator, 4, scale=scale, offset=0.5).eval()
    torch.nn.init.normal_(network.tail[-1].weight)
    dn.save_pretrained(network, tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(inputs(scale)), network(inputs(scale)))
