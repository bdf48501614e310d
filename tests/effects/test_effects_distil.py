"""Every option of ``distil``, by what changes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image
from proofs import proves

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.data import load_data
from decoupled_nets.evaluation import distil as room
from decoupled_nets.evaluation.distil_config import DistilConfig
from decoupled_nets.evaluation.targets import Target
from decoupled_nets.reports.figures.style import THEMES

DATA = [
    *("--data", "synthetic", "--train-size", "16", "--val-size", "8", "--test-size", "24"),
    *("--image-size", "28"),
]


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """A network that needs no training, and what was asked for; no picture is drawn unless it is."""
    noted: dict = {"places": [], "seen": None, "operator": "spline-spline", "drawn": False}
    draw = room.learned_operators
    monkeypatch.setattr(
        room, "learned_operators", lambda *given: draw(*given) if noted["drawn"] else Figure((1, 1))
    )

    def load(data):
        torch.manual_seed(0)
        net = dn.create_model("cnn9", num_classes=4, in_chans=3, width=0.03, operator=noted["operator"])
        for m in net.modules():
            if getattr(m, "h_parameters", None) is not None:
                torch.nn.init.uniform_(m.h_parameters, 0.2, 1.5)
        if noted["seen"] is not None:  # hooks are not saved
            net.register_forward_pre_hook(lambda m, args: noted["seen"].append(len(args[0])))
        noted["network"] = net
        return net.eval()

    def find(places):
        noted.update(places=list(places))
        return [Target(place, place, f"digest {place}", load) for place in places]

    monkeypatch.setattr(room, "find_targets", find)
    return noted


def run(out: Path, *words: str) -> dict:
    assert main(["distil", "a", *DATA, "--out", str(out), *words]) == 0
    return json.loads((out / "distil.json").read_text())


@proves(DistilConfig, "candidates")
def test_candidates(tmp_path, capsys) -> None:
    found = run(tmp_path / "a", "--candidates", "sphere-cos, ball-cos")
    for layer in found["layers"]:
        assert {one["operator"] for one in layer["candidates"]} == {"sphere-cos", "ball-cos"}
    every = {one["operator"] for layer in run(tmp_path / "b")["layers"] for one in layer["candidates"]}
    assert every > {"sphere-cos", "ball-cos", "tanh-cos", "seg-sqcos"}
    for words, said in (("power", "candidate 'power' received"), ("tanh", "needed: '<magnitude>-<angle>'")):
        assert main(["distil", "a", *DATA, "--candidates", words]) == 2
        assert said in capsys.readouterr().err


@proves(DistilConfig, "images")
@pytest.mark.parametrize(("images", "taken"), [("8", 8), ("0", 16), ("1000", 16)])
def test_images(images, taken, tmp_path) -> None:
    found = run(tmp_path, "--images", images)
    assert found["read_on"] == taken
    assert found["layers"][0]["patches"] == taken * 28 * 28


@proves(DistilConfig, "exchange")
def test_exchange(tmp_path, capsys, asked) -> None:
    found = run(tmp_path / "a")
    assert found["exchanged"]
    assert found["change"]["mean"] == pytest.approx(found["after"] - found["before"])
    assert found["error"] > 0
    assert str(asked["network"].stages[0][0].operator) == found["layers"][0]["operator"]
    assert "exchanged everywhere (" in capsys.readouterr().out
    left = run(tmp_path / "b", "--no-exchange")
    assert (left["exchanged"], left["after"], left["before"]) == (False, None, found["before"])
    assert str(asked["network"].stages[0][0].operator) == "spline-spline"
    assert "exchanged" not in capsys.readouterr().out


@proves(DistilConfig, "split")
def test_split(tmp_path, asked, capsys) -> None:
    assert run(tmp_path / "a")["images"] == 8
    assert "on 8 validation images" in " ".join(capsys.readouterr().out.split())
    found = run(tmp_path / "b", "--split", "test", "--no-exchange")
    assert found["images"] == 24
    assert "on 24 test images" in " ".join(capsys.readouterr().out.split())
    config = DistilConfig.of(data="synthetic", train_size=16, val_size=8, test_size=24, image_size=28)
    images, labels = load_data(config.data).test_subset(24)
    with torch.no_grad():
        right = asked["network"](images).argmax(1) == labels
    assert found["before"] == pytest.approx(float(right.float().mean()))


@proves(DistilConfig, "save")
def test_save(tmp_path, asked, capsys) -> None:
    run(tmp_path / "a")
    assert not (tmp_path / "a" / "exchanged").exists()
    run(tmp_path / "b", "--save")
    loaded = dn.from_pretrained(tmp_path / "b" / "exchanged")
    x = torch.rand(4, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(loaded(x), asked["network"](x))
    assert "Validation accuracy" in (tmp_path / "b" / "exchanged" / "README.md").read_text()
    assert str(tmp_path / "b" / "exchanged") in " ".join(capsys.readouterr().out.split())
    assert main(["distil", "a", *DATA, "--save", "--no-exchange"]) == 2
    assert "--save received with --no-exchange; needed: an exchange" in capsys.readouterr().err


@proves(DistilConfig, "batch_size")
def test_batch_size(tmp_path, asked) -> None:
    asked["seen"] = []
    one = run(tmp_path / "a", "--batch-size", "4")
    assert max(asked["seen"]) <= 16  # accuracy is measured on multiples of 16
    assert asked["seen"].count(4) == 1 + 3 * 4
    asked["seen"].clear()
    other = run(tmp_path / "b")
    assert 4 not in asked["seen"]
    assert [layer["operator"] for layer in one["layers"]] == [layer["operator"] for layer in other["layers"]]


@proves(DistilConfig, "theme")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme(theme, tmp_path, asked) -> None:
    asked["drawn"] = True
    run(tmp_path, "--theme", theme)
    corner = Image.open(tmp_path / "learned_operators.png").convert("RGB").getpixel((0, 0))
    assert same_color([value / 255 for value in corner], THEMES[theme].background)


@proves(DistilConfig, "accelerator")
def test_accelerator(tmp_path, capsys) -> None:
    run(tmp_path / "a", "--accelerator", "cpu")
    if not torch.cuda.is_available():
        assert main(["distil", "a", *DATA, "--accelerator", "gpu", "--out", str(tmp_path / "b")]) == 2
        assert "--accelerator 'gpu' received and there is none" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["distil", "a", *DATA, "--accelerator", "tpu"])


@proves(DistilConfig, "plugin")
def test_plugin(tmp_path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('of_distil', lambda norm, radius, alpha, beta: alpha * norm / radius)\n"
    )
    try:
        words = ["--candidates", "of_distil-cos", "--plugin", str(path)]
        assert run(tmp_path / "a", *words)["operator"] == "of_distil-cos"
    finally:
        with contextlib.suppress(ValueError):
            dn.unregister_magnitude("of_distil")


@proves("distil", "network", "out")
def test_network_and_out(tmp_path, asked, capsys) -> None:
    asked["drawn"] = True
    found = run(tmp_path / "here")
    assert asked["places"] == ["a"]
    assert (found["network"], found["digest"]) == ("a", "digest a")
    out = " ".join(capsys.readouterr().out.split())
    for name in ("distil.json", "learned_operators.png"):
        assert (tmp_path / "here" / name).stat().st_size > 1000
        assert str(tmp_path / "here" / name) in out
    assert "Learned operators (spline-spline), and the nearest named ones" in out
    assert found["summary"] in out
    assert all(f"{sentence}." in out for sentence in found["sentences"])


@proves("distil", "restart")
def test_restart(tmp_path, capsys) -> None:
    run(tmp_path, "--save")
    words = ["distil", "a", *DATA, "--images", "8", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "--restart measures anew" in capsys.readouterr().err
    assert main([*words, "--restart"]) == 0
    assert not (tmp_path / "exchanged").exists()


@proves("distil", "config")
def test_a_file_of_options(tmp_path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("images: 8\nexchange: false\n")
    found = run(tmp_path / "o", "--config", str(path))
    assert (found["read_on"], found["exchanged"]) == (8, False)


def test_without_out_the_folder_is_named_after_the_options(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([], ["--images", "8"]):
        assert main(["distil", "a", *DATA, *words]) == 0
    assert len(list((tmp_path / "runs").glob("distil-a-*"))) == 2


def test_a_network_that_learned_no_operator_is_refused_before_anything_is_written(
    tmp_path, asked, capsys
) -> None:
    asked["operator"] = "tanh-cos"
    assert main(["distil", "a", *DATA, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "a network of tanh-cos received, which learns no operator; needed: one trained with" in err
    assert not (tmp_path / "distil.json").exists()


def test_one_network_is_needed(tmp_path, monkeypatch, capsys) -> None:
    find = room.find_targets
    monkeypatch.setattr(room, "find_targets", lambda places: find(["a/1.ckpt", "a/2.ckpt"]))
    assert main(["distil", "a", *DATA, "--out", str(tmp_path)]) == 2
    assert "a holds 2 networks (a/1.ckpt, a/2.ckpt); needed: one of them" in capsys.readouterr().err
