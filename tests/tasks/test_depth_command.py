"""``decoupled upsample``: a map made larger, gaps that are filled, what is wrong."""

import numpy as np
import pytest
import torch
from joint_cases import SMALL, inputs
from pairs import depth_of as depth_map
from pairs import write_pair
from PIL import Image

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.ops.resample import hold
from decoupled_nets.training import TrainConfig, load_network, train


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
