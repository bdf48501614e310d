"""Every option of ``attack``, by what changes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from proofs import proves
from torch import nn

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.evaluation import attack as room
from decoupled_nets.evaluation import verify as recounting
from decoupled_nets.evaluation.attack_config import AttackConfig
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
    "8",
]
#: Far enough to break some of the images and not all.
FEW = ["--suite", "fgsm", "--threat", "linf:0.004"]


class Net(nn.Module):
    """Classes by a fixed linear map; notes the batches it sees."""

    def __init__(self, seed: int, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen
        self.weight = nn.Parameter(torch.randn(4, 3 * 8 * 8, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images):
        self.seen.append(len(images))
        return (images - 0.5).flatten(1) @ self.weight.T


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Networks that need no training, and what was asked for."""
    noted = {"places": [], "seen": []}

    def find(places):
        noted.update(places=list(places))
        return [
            Target(place, place, f"digest {place}", lambda data, n=n: Net(n, noted["seen"]))
            for n, place in enumerate(places)
        ]

    monkeypatch.setattr(room, "find_targets", find)
    monkeypatch.setattr(recounting, "find_targets", find)
    return noted


def run(out: Path, *words: str, networks: tuple[str, ...] = ("a",)) -> dict:
    assert main(["attack", *networks, *DATA, *FEW, "--out", str(out), *words]) == 0
    return json.loads((out / "attack.json").read_text())


def counts(result: dict) -> list[tuple[int, int]]:
    return [(one["clean"], one["robust"]) for one in result["networks"]]


@proves(AttackConfig, "threat")
def test_threat(tmp_path) -> None:
    left = []
    for threat in ("linf:0", "linf:0.001", "linf:0.005", "l2:0.03"):
        found = run(tmp_path / threat.replace(":", "-"), "--threat", threat)
        left.append(counts(found)[0])
        assert found["networks"][0]["threat"] == threat
    assert left[0][0] == left[0][1] > left[1][1] > left[2][1]
    assert left[1][1] != left[3][1] or left[2][1] != left[3][1]


@proves(AttackConfig, "suite")
def test_suite(tmp_path, capsys) -> None:
    def attacks(found):
        return [one["name"] for one in found["networks"][0]["attacks"]]

    assert attacks(run(tmp_path / "a")) == ["fgsm"]
    assert "no evidence of robustness" in capsys.readouterr().out
    standard = run(tmp_path / "b", "--suite", "standard")
    assert attacks(standard) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert "no evidence of robustness" not in capsys.readouterr().out
    assert standard["networks"][0]["autoattack_acc"] == 100 * counts(standard)[0][1] / 24
    assert main(["attack", "a", *DATA, "--suite", "fgms"]) == 2
    assert "did you mean 'fgsm'" in capsys.readouterr().err


@proves(AttackConfig, "images")
@pytest.mark.parametrize(("images", "taken"), [("8", 8), ("0", 24), ("1000", 24)])
def test_images(images, taken, tmp_path) -> None:
    found = run(tmp_path, "--images", images)
    assert found["networks"][0]["images"] == found["data"]["images"] == taken


@proves(AttackConfig, "sweep")
def test_sweep(tmp_path) -> None:
    run(tmp_path / "a")
    assert not (tmp_path / "a" / "radius.png").exists()
    run(tmp_path / "b", "--sweep")
    assert (tmp_path / "b" / "radius.png").stat().st_size > 1000
    (record,) = (room.read_record(path) for path in (tmp_path / "b" / "networks").iterdir())
    near, clean, robust = (record.column(name) for name in ("nearest", "clean", "robust"))
    assert bool((near[~clean] == 0).all())
    assert bool((near[clean & ~robust] <= 0.004 + 1e-6).all())
    assert bool((near[robust] > 0.004).all())


@proves(AttackConfig, "transfer")
def test_transfer(tmp_path) -> None:
    networks = ("a", "b", "c")
    assert run(tmp_path / "a", networks=networks)["transfer"] is None
    moved = run(tmp_path / "b", "--transfer", networks=networks)["transfer"]
    assert moved["names"] == list(networks)
    assert set(moved["left"]) == {*networks, "all others"}
    for source in networks:  # linear maps that have nothing in common: only its own images hurt a network
        for target in networks:
            assert (moved["left"][source][target] < moved["clean"][target] / 2) == (source == target)
    page = (tmp_path / "b" / "report.html").read_text()
    assert "made on all others" in page


@proves(AttackConfig, "batch_size")
def test_batch_size(tmp_path, asked) -> None:
    one = run(tmp_path / "a", "--batch-size", "16")
    assert max(asked["seen"]) == 16
    asked["seen"].clear()
    other = run(tmp_path / "b")
    assert max(asked["seen"]) > 16
    assert counts(one) == counts(other)


@proves(AttackConfig, "seed")
def test_seed(tmp_path) -> None:
    def changed(seed):
        run(tmp_path / seed, "--seed", seed, "--suite", "pgd")
        (record,) = (room.read_record(path) for path in (tmp_path / seed / "networks").iterdir())
        return record.changed

    assert not torch.equal(changed("0"), changed("1"))


@proves(AttackConfig, "accelerator")
def test_accelerator(tmp_path, capsys) -> None:
    run(tmp_path / "a", "--accelerator", "cpu")
    if not torch.cuda.is_available():
        assert main(["attack", "a", *DATA, *FEW, "--accelerator", "gpu", "--out", str(tmp_path / "b")]) == 2
        assert "--accelerator 'gpu' received and there is none" in capsys.readouterr().err
    assert main(["attack", "a", *DATA, *FEW, "--accelerator", "tpu"]) == 2
    assert "needed: auto, cpu or gpu" in capsys.readouterr().err


@proves(AttackConfig, "plugin")
def test_plugin(tmp_path, capsys) -> None:
    """It is imported once, as operators can be registered once only; a file of options imports nothing."""
    path = tmp_path / "own.py"
    path.write_text("import decoupled_nets as dn\ndn.register_magnitude('owned', lambda n, r, a, b: a * n)\n")
    try:
        run(tmp_path / "a", "--plugin", str(path))
        dn.unregister_magnitude("owned")
        assert main(["attack", "--verify", str(tmp_path / "a")]) == 0
        with pytest.raises(ValueError, match="owned"):
            dn.unregister_magnitude("owned")
    finally:
        with contextlib.suppress(ValueError):
            dn.unregister_magnitude("owned")


def test_a_network_that_diverged_is_left_out_and_named(tmp_path, capsys, monkeypatch) -> None:
    find = room.find_targets

    def spoiled(places):
        first, second = find(places)

        def broken(data):
            net = second.load(data)
            net.weight.data.fill_(float("nan"))
            return net

        return [first, dataclasses.replace(second, load=broken)]

    monkeypatch.setattr(room, "find_targets", spoiled)
    found = run(tmp_path, networks=("a", "b"))
    assert [one["label"] for one in found["networks"]] == ["a"]
    assert found["notes"][0] == "b is left out: its outputs are no numbers, so it diverged"
    assert "b is left out" in capsys.readouterr().out


def test_transfer_needs_two_networks_before_anything_is_done(tmp_path, capsys) -> None:
    assert main(["attack", "a", *DATA, *FEW, "--transfer", "--out", str(tmp_path)]) == 2
    assert "needed: at least 2" in capsys.readouterr().err
    assert not (tmp_path / "networks").exists()


def test_what_the_sweep_breaks_within_the_radius_does_not_stand(tmp_path) -> None:
    found = run(tmp_path, "--suite", "corners", "--sweep")
    (record,) = (room.read_record(path) for path in (tmp_path / "networks").iterdir())
    near, robust = record.column("nearest"), record.column("robust")
    assert "fmn" in record.rows["broken_by"]
    assert bool((near[robust] > 0.004).all())
    assert counts(found)[0][1] == int(robust.sum())
    assert main(["attack", "--verify", str(tmp_path)]) == 0


@proves("attack", "networks", "out")
def test_networks_and_out(tmp_path, asked, capsys) -> None:
    found = run(tmp_path / "here", networks=("a", "b"))
    assert asked["places"] == ["a", "b"]
    assert [one["label"] for one in found["networks"]] == ["a", "b"]
    out = " ".join(capsys.readouterr().out.split())
    assert str(tmp_path / "here" / "report.html") in out
    assert "there stand of a at most" in out
    assert "L∞ 0.004, 24 images" in out


@proves("attack", "restart")
def test_restart(tmp_path, capsys) -> None:
    run(tmp_path)
    words = ["attack", "a", *DATA, *FEW, "--seed", "1", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "--restart measures anew" in capsys.readouterr().err
    assert main([*words, "--restart"]) == 0


@proves("attack", "verify")
def test_verify(tmp_path, capsys) -> None:
    run(tmp_path)
    assert main(["attack", "--verify", str(tmp_path)]) == 0
    assert "yes" in capsys.readouterr().out
    (place,) = (tmp_path / "networks").iterdir()
    summary = json.loads((place / "summary.json").read_text())
    (place / "summary.json").write_text(json.dumps({**summary, "robust": summary["robust"] + 1}))
    with pytest.raises(SystemExit):
        main(["attack", "--verify", str(tmp_path)])
    assert "the counts do not hold" in " ".join(capsys.readouterr().out.split())


@proves("attack", "config")
def test_a_file_of_options(tmp_path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("threat: linf:0.001\nimages: 8\n")
    assert (
        main(["attack", "a", *DATA, "--suite", "fgsm", "--config", str(path), "--out", str(tmp_path / "o")])
        == 0
    )
    found = json.loads((tmp_path / "o" / "attack.json").read_text())["networks"][0]
    assert (found["threat"], found["images"]) == ("linf:0.001", 8)


def test_without_out_the_folder_is_named_after_the_options(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["a"], ["a", "--seed", "1"], ["a", "b"]):
        assert main(["attack", *words, *DATA, *FEW]) == 0
    assert len(list((tmp_path / "runs").glob("attack-fgsm-a-*"))) == 3


def test_the_papers_suite_has_its_black_box(tmp_path, capsys) -> None:
    words = ("--suite", "paper", "--transfer", "--threat", "linf:0.004")
    moved = run(tmp_path, *words, networks=("a", "b"))["transfer"]
    titles = {"", " by FGSM", " by BIM, 10 steps of 1/8"}
    assert set(moved["left"]) == {f"{name}{by}" for name in ("a", "b") for by in titles}
    for by in titles:
        for source in ("a", "b"):
            for target in ("a", "b"):
                left, clean = moved["left"][source + by][target], moved["clean"][target]
                assert (left < clean / 2) == (source == target)
    out = " ".join(capsys.readouterr().out.split())
    assert "guessed settings, as it gives none" in out
