"""Every option of ``corrupt``, by what changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from proofs import proves
from torch import nn

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.evaluation import corrupt as room
from decoupled_nets.evaluation.corrupt_config import CorruptConfig
from decoupled_nets.evaluation.targets import Target

DATA = [
    "--data",
    "synthetic",
    "--train-size",
    "16",
    "--val-size",
    "8",
    "--test-size",
    "24",
    "--image-size",
    "16",
]
FEW = ["--corruptions", "contrast", "--severities", "5"]


class Net(nn.Module):
    """Classes by a fixed linear map; notes the batches it sees."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen
        rng = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 3 * 16 * 16, generator=rng))

    def forward(self, images):
        self.seen.append(len(images))
        return images.flatten(1) @ self.weight.T


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Networks that need no training, and what was asked for; no pictures are drawn."""
    page = room.write_page
    monkeypatch.setattr(room, "write_page", lambda *given: page(*given) if noted["drawn"] else [])
    noted: dict = {"places": [], "seen": [], "drawn": False}

    def find(places):
        noted.update(places=list(places))
        return [Target(place, place, f"digest {place}", lambda data: Net(noted["seen"])) for place in places]

    monkeypatch.setattr(room, "find_targets", find)
    return noted


def run(out: Path, *words: str) -> dict:
    assert main(["corrupt", "a", *DATA, "--out", str(out), *words]) == 0
    return json.loads((out / "corrupt.json").read_text())


def cells(result: dict) -> set[tuple[str, int]]:
    return {(one["corruption"], one["severity"]) for one in result["counts"]} - {("none", 0)}


def counts(result: dict) -> list[int]:
    return [one["correct"] for one in result["counts"]]


@proves(CorruptConfig, "corruptions", "severities")
def test_corruptions_and_severities(tmp_path) -> None:
    found = run(tmp_path / "a", "--corruptions", "noise,fog", "--severities", "2,4")
    names = ("gaussian_noise", "shot_noise", "impulse_noise", "fog")
    assert cells(found) == {(name, severity) for name in names for severity in (2, 4)}


@proves(CorruptConfig, "constants")
def test_constants(tmp_path, capsys) -> None:
    words = ["--corruptions", "gaussian_noise", "--severities", "5"]
    usual = run(tmp_path / "a", *words)
    said = capsys.readouterr()
    assert "constants of CIFAR-10-C, chosen by the size (16 × 16 pixels)" in said.out
    assert (
        "constants of CIFAR-10-C, chosen by the size (16 × 16 pixels)" in said.err
    )  # before anything is done
    strong = run(tmp_path / "b", *words, "--constants", "imagenet")
    assert "constants of ImageNet-C, as asked" in capsys.readouterr().out
    assert (usual["constants"], strong["constants"]) == ("cifar", "imagenet")
    assert counts(usual) != counts(strong)


@proves(CorruptConfig, "images")
@pytest.mark.parametrize(("images", "taken"), [("8", 8), ("0", 24), ("1000", 24)])
def test_images(images, taken, tmp_path) -> None:
    assert {one["images"] for one in run(tmp_path, *FEW, "--images", images)["counts"]} == {taken}


@proves(CorruptConfig, "batch_size")
def test_batch_size(tmp_path, asked) -> None:
    run(tmp_path / "a", *FEW, "--batch-size", "16")
    assert set(asked["seen"]) == {16}


@proves(CorruptConfig, "seed")
def test_seed(tmp_path) -> None:
    words = ["--corruptions", "impulse_noise,elastic_transform", "--constants", "imagenet"]
    one, two = (run(tmp_path / seed, *words, "--seed", seed) for seed in ("0", "1"))
    assert counts(one)[0] == counts(two)[0]
    assert counts(one) != counts(two)


@proves(CorruptConfig, "accelerator")
def test_accelerator(tmp_path, capsys) -> None:
    run(tmp_path / "a", *FEW, "--accelerator", "cpu")
    if not torch.cuda.is_available():
        assert main(["corrupt", "a", *DATA, *FEW, "--accelerator", "gpu", "--out", str(tmp_path / "b")]) == 2
        assert "--accelerator 'gpu' received and there is none" in capsys.readouterr().err


@proves(CorruptConfig, "plugin")
def test_plugin(tmp_path) -> None:
    """It is imported once, as operators can be registered once only."""
    path = tmp_path / "own.py"
    path.write_text("import decoupled_nets as dn\ndn.register_magnitude('owned', lambda n, r, a, b: a * n)\n")
    run(tmp_path / "a", *FEW, "--plugin", str(path))
    dn.unregister_magnitude("owned")


@proves("corrupt", "networks", "out")
def test_networks_and_out(tmp_path, asked, capsys) -> None:
    asked["drawn"] = True
    words = [*DATA, *FEW, "--out", str(tmp_path / "here")]
    assert main(["corrupt", "a", "b", *words]) == 0
    found = json.loads((tmp_path / "here" / "corrupt.json").read_text())
    assert asked["places"] == ["a", "b"]
    assert [one["label"] for one in found["networks"]] == ["a", "b"]
    assert found["baseline"] == "a"
    out = capsys.readouterr().out
    assert str(tmp_path / "here" / "report.html") in out
    assert "24 images each" in " ".join(out.split())


@proves("corrupt", "restart")
def test_restart(tmp_path, capsys) -> None:
    run(tmp_path, *FEW)
    words = ["corrupt", "a", *DATA, *FEW, "--seed", "1", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "--restart measures anew" in capsys.readouterr().err
    assert main([*words, "--restart"]) == 0


@proves("corrupt", "from")
def test_from(tmp_path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    data = DataConfig(data="synthetic", train_size=16, val_size=8, test_size=24, image_size=16)
    labels = load_data(data).test.labels
    np.save(folder / "fog.npy", np.full((120, 16, 16, 3), 7, np.uint8))
    np.save(folder / "labels.npy", np.tile(labels.numpy(), 5))
    found = run(tmp_path / "out", "--severities", "1,3", "--from", str(folder))
    assert cells(found) == {("fog", 1), ("fog", 3)}
    # All images are one: one class is said of all.
    first, *rest = [one for one in found["counts"] if one["corruption"] == "fog"]
    assert all(one["correct"] == first["correct"] for one in rest)
    assert first["correct"] in labels.bincount().tolist()


@proves("corrupt", "config")
def test_a_file_of_options(tmp_path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("corruptions: contrast\nseverities: '3'\nimages: 8\n")
    found = run(tmp_path / "out", "--config", str(path))
    assert cells(found) == {("contrast", 3)}
    assert found["counts"][0]["images"] == 8


def test_without_out_the_folder_is_named_after_the_options(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([], ["--seed", "1"], ["b"]):
        assert main(["corrupt", "a", *words, *DATA, *FEW]) == 0
    assert len(list((tmp_path / "runs").glob("corrupt-a-*"))) == 3
