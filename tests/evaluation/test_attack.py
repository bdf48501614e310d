"""Attacks on trained networks: what is found, kept, compared and said."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from corrupt_networks import stripes, trained
from torch import nn

import decoupled_nets as dn
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.evaluation import attack_tables
from decoupled_nets.evaluation.attack import Attacks, attack
from decoupled_nets.evaluation.attack_config import AttackConfig
from decoupled_nets.evaluation.attack_page import write_page
from decoupled_nets.evaluation.record import Record, read_record, write_record
from decoupled_nets.evaluation.targets import data_config, find_targets
from decoupled_nets.evaluation.trainings import training_of
from decoupled_nets.evaluation.transferring import transfer
from decoupled_nets.robustness import Threat, evaluate

QUIET = {"quiet": True}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run of plain convolution, one of tanh-cos, and a comparison of both with two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    trained(folder / "plain")
    trained(folder / "tanh", "tanh-cos", seed=3)
    options = {
        "data": "synthetic", "train_size": 16, "val_size": 8, "test_size": 24, "image_size": 25, "workers": 0,
        "width": 0.03, "epochs": 1, "batch_size": 8, "accelerator": "cpu", "feature_epochs": 0,
        "operators": "tanh-cos,conv", "seeds": 2,
    }  # fmt: skip
    compare(CompareConfig.of(**options), folder / "both", quiet=True)
    return folder


def config(**options) -> AttackConfig:
    return AttackConfig.of(**{"suite": "fgsm", "images": 12, "accelerator": "cpu", **options})


def test_networks_are_found_wherever_they_lie(runs) -> None:
    found = find_targets([str(runs / "plain" / "last.ckpt"), str(runs / "tanh"), str(runs / "both")])
    assert [t.operator for t in found] == ["conv", "tanh-cos", "tanh-cos", "tanh-cos", "conv", "conv"]
    assert [t.seed for t in found] == [0, 3, 0, 1, 0, 1]
    assert Path(found[1].place).name == "best.ckpt"  # of a run, the epoch chosen by validation
    assert Path(found[2].place).name == "last.ckpt"  # of a comparison, the end
    assert len({t.label for t in found}) == len(found)


def test_seeds_of_one_training_belong_together_and_other_trainings_do_not(runs, tmp_path) -> None:
    """By all options of the training but the seed, and by its images."""
    trained(tmp_path / "again", seed=4)
    trained(tmp_path / "wide", seed=5, width=0.06)
    attacked = {"adversarial": "n-fgsm", "adversarial_threat": "linf:2/255"}
    trained(tmp_path / "adv", seed=6, **attacked)
    trained(tmp_path / "stronger", seed=7, **{**attacked, "adversarial_threat": "linf:4/255"})
    names = ("again", "wide", "adv", "stronger")
    found = find_targets([str(runs / "plain"), *(str(tmp_path / name) for name in names)])
    assert [target.group for target in found] == [
        "conv (width 0.03)", "conv (width 0.03)", "conv (width 0.06)",
        "conv (N-FGSM within L∞ 2/255)", "conv (N-FGSM within L∞ 4/255)",
    ]  # fmt: skip
    assert [target.label.rpartition(", ")[2] for target in found] == [f"seed {n}" for n in (0, 4, 5, 6, 7)]
    both = find_targets([str(runs / "both")])
    assert [target.group for target in both] == ["tanh-cos", "tanh-cos", "conv", "conv"]
    with_one_more = find_targets([str(runs / "plain"), str(runs / "both")])
    conv = [target.group for target in with_one_more if target.operator == "conv"]
    assert conv[0] != conv[1] == conv[2]  # the seeds of the comparison stay together


def test_a_file_that_is_no_checkpoint_is_refused_in_a_line(tmp_path) -> None:
    path = tmp_path / "README.md"
    path.write_text("words")
    with pytest.raises(ValueError, match=r"README.md .*; needed: ") as refused:
        find_targets([str(path)])
    assert "weights_only" not in str(refused.value)
    with pytest.raises(FileNotFoundError, match="needed: a file that is there"):
        find_targets(["timm:resnet10t@nothing.safetensors"])


def test_a_saved_network_and_one_with_a_file_of_weights(runs, tmp_path) -> None:
    data = load_data(stripes(image_size=25))
    (plain,) = find_targets([str(runs / "plain")])
    images, _ = data.test_subset(8)
    network = plain.network(data)
    dn.save_pretrained(network, tmp_path / "saved")
    (saved,) = find_targets([str(tmp_path / "saved")])
    assert saved.label == "saved"
    assert torch.equal(saved.network(data)(images), network(images))
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    (other,) = find_targets([f"timm:resnet10t@{tmp_path / 'weights.pth'}"])
    got = other.network(data)
    assert not got.training
    torch.testing.assert_close(got(images), model.eval()(got.normalize(images)), rtol=1e-5, atol=1e-6)
    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), tmp_path / "weights.pth")
    (misfit,) = find_targets([f"timm:resnet10t@{tmp_path / 'weights.pth'}"])
    with pytest.raises(ValueError, match="do not fill the network for 4 classes"):
        misfit.network(data)


@pytest.mark.parametrize(
    ("places", "error", "words"),
    [
        ([], ValueError, "no network received"),
        (["nowhere"], FileNotFoundError, "neither a file nor a folder"),
        (["EMPTY"], FileNotFoundError, "neither best.ckpt nor last.ckpt nor runs"),
        (["PLAIN", "PLAIN/best.ckpt"], ValueError, "hold the same network"),
    ],
)
def test_what_is_no_network_is_refused(places, error, words, runs, tmp_path) -> None:
    known = {
        "EMPTY": str(tmp_path),
        "PLAIN": str(runs / "plain"),
        "PLAIN/best.ckpt": str(runs / "plain" / "best.ckpt"),
    }
    with pytest.raises(error, match=words):
        find_targets([known.get(place, place) for place in places])


def test_images_are_those_of_the_run_or_the_named_ones(runs, tmp_path) -> None:
    targets = find_targets([str(runs / "plain")])
    own = data_config(targets, DataConfig(test_size=20), False)
    assert (own.data, own.image_size, own.test_size) == ("synthetic", 25, 20)
    named = data_config(targets, DataConfig(data="sample"), True)
    assert named.data == "sample"
    (target,) = targets
    same = load_data(targets[0].config.data)
    assert target.notes(same) == []
    smaller = dataclasses.replace(same, image_size=(9, 9))
    assert "was trained on images of 25×25 pixels, and gets 9×9 here" in target.notes(smaller)[0]
    other = dataclasses.replace(same, digest="of others")
    assert "may have seen some of these test images" in target.notes(other)[0]
    with pytest.raises(ValueError, match=r"tells 4 classes \(.*\) apart and .* has 10 classes"):
        target.network(load_data(DataConfig(data="sample", train_size=20, val_size=10, test_size=10)))
    with pytest.raises(ValueError, match="needed: --data"):
        data_config([], DataConfig(), False)


def test_what_is_written_leads_back_to_the_network(runs, tmp_path) -> None:
    places = [str(runs / "plain"), str(runs / "tanh")]
    found, paths = attack(places, config(sweep=True, transfer=True), tmp_path, data_named=False, **QUIET)
    assert {path.name for path in paths} == {"attack.json", "report.html", "radius.png", "attacked.png"}
    data = load_data(stripes(image_size=25))
    images, labels = data.test_subset(12)
    for target, record in zip(find_targets(places), found.records, strict=True):
        network = target.network(data)
        expected = evaluate(network, images, labels, suite="fgsm")
        assert record.rows["robust"] == expected.robust.tolist()
        assert torch.equal(record.changed, expected.adversarial)
        assert record.rows["broken_by"] == expected.broken_by
        assert record.rows["attacked_prediction"] == network(record.changed).argmax(1).tolist()
        assert record.summary["training"]["epochs"] == 1
        assert record.summary["parameters"] == sum(p.numel() for p in network.parameters())
        (listed,) = [
            one
            for one in json.loads((tmp_path / "attack.json").read_text())["networks"]
            if one["label"] == record.label
        ]
        assert listed["clean_acc"] == 100 * sum(record.rows["clean"]) / 12
        assert (listed["eps"], listed["threat_model"], listed["autoattack_acc"]) == ("8/255", "Linf", None)
    again, _ = attack(places, config(sweep=True, transfer=True), tmp_path, data_named=False, **QUIET)
    assert [r.rows for r in again.records] == [r.rows for r in found.records]
    assert again.transfer == found.transfer


def test_results_are_of_their_networks_options_and_images(runs, tmp_path) -> None:
    place = [str(runs / "plain")]
    attack(place, config(), tmp_path, data_named=False, **QUIET)
    for other, words in (
        (config(threat="linf:1/255"), "options.threat"),
        (config(seed=1), "options.seed 1 now, 0 then"),
        (config(images=8), "options.images"),
        (config(test_size=20), "data.pixels"),  # another choice of twelve test images
    ):
        with pytest.raises(ValueError, match=words):
            attack(place, other, tmp_path, data_named=False, **QUIET)
    with pytest.raises(ValueError, match="networks"):
        attack([str(runs / "tanh")], config(), tmp_path, data_named=False, **QUIET)
    with pytest.raises(ValueError, match="holds a run or a comparison"):
        attack(place, config(), runs / "plain", data_named=False, **QUIET)
    found, _ = attack([str(runs / "tanh")], config(), tmp_path, data_named=False, restart=True, **QUIET)
    assert len(list((tmp_path / "networks").iterdir())) == len(found.records) == 1


def test_a_killed_attack_goes_on_and_two_shells_share_it(runs, tmp_path) -> None:
    places = [str(runs / "plain"), str(runs / "tanh")]
    words = [
        sys.executable, "-m", "decoupled_nets.cli.main", "attack", *places,
        "--suite", "pgd", "--images", "24", "--batch-size", "8", "--accelerator", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = config(suite="pgd", images=24, batch_size=8)
    attack(places, whole, tmp_path / "whole", data_named=False, **QUIET)
    killed = subprocess.Popen([*words, "--out", str(tmp_path / "killed")], env=environment)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("parts/*/pgd-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "attack.json").exists()
    shells = [
        subprocess.Popen([*words, "--out", str(tmp_path / "killed")], env=environment) for _ in range(2)
    ]
    assert [shell.wait() for shell in shells] == [0, 0]
    for place in sorted((tmp_path / "whole" / "networks").iterdir()):
        one, other = read_record(place), read_record(tmp_path / "killed" / "networks" / place.name)
        assert one is not None
        assert other is not None
        assert one.rows == other.rows
        assert torch.equal(one.changed, other.changed)
    assert not list((tmp_path / "killed").glob("parts/*/*"))


class Flat(nn.Module):
    """Says class 0 or 1 by the mean of an image, at a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, images):
        rise = images.mean((1, 2, 3)) - self.threshold
        return torch.stack([-rise, rise], 1)


def shades(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images from black to white, and whether they are bright."""
    grey = torch.linspace(0.0, 1.0, n)
    return grey[:, None, None, None].expand(n, 1, 4, 4).contiguous(), (grey > 0.5).long()


def recorded(folder: Path, threshold: float, label: str, seed: int | None, **more) -> Record:
    images, labels = shades()
    found = evaluate(Flat(threshold).eval(), images, labels, "linf:0.1", "fgsm")
    found.checks = []
    known = {
        "label": label if seed is None else f"{label}, seed {seed}", "group": label, "operator": label,
        "seed_of_network": seed, "place": label, "digest": "", "model": "cnn9", "batch_norm": True,
        "relu": True, "parameters": 1,
        "training": {"epochs": 4, "train_accuracy": 0.9, "flattened": True, "words": "4: flattened"},
    }  # fmt: skip
    return write_record(folder / f"{label}-{seed}", found, images, labels, {**known, **more}, found.distance)


def attacks(records: list[Record], **changes) -> Attacks:
    data = {
        "name": "shades",
        "digest": "",
        "classes": ["dark", "bright"],
        "image_size": [4, 4],
        "in_chans": 1,
        "images": 40,
    }
    return Attacks(config(threat="linf:0.1", **changes), ["a"], records, None, data, [])


def test_networks_are_compared_on_the_same_images_over_seeds(tmp_path) -> None:
    good = [recorded(tmp_path, 0.5, "good", seed) for seed in (0, 1, 2)]
    bad = [recorded(tmp_path, 0.75, "bad", seed) for seed in (0, 1, 2)]
    found = attacks([*good, *bad])
    # Of 40 shades 32 are further than 0.1 from 0.5; at 0.75 those from 0.5 to 0.85 are wrong or near.
    assert [r.summary["robust"] for r in found.records[::3]] == [32, 26]
    table = attack_tables.decided(found)
    row = dict(zip(table.header, table.rows[1], strict=True))
    assert row["Network"] == "bad"
    assert row["Against good, points"] == "−15.0"
    assert row["Verdict"] in ("worse", "undecided")
    both = attack_tables.among_both(found)
    row = dict(zip(both.header, both.rows[0], strict=True))
    right = sum(a and b for a, b in zip(good[0].rows["clean"], bad[0].rows["clean"], strict=True))
    assert row["Both right"] == str(right)
    stand = sum(a and b for a, b in zip(good[0].rows["clean"], bad[0].rows["robust"], strict=True))
    assert row["Stands, %"] == f"≤ {100 * stand / right:.1f}"


def test_one_seed_decides_nothing(tmp_path) -> None:
    found = attacks([recorded(tmp_path, 0.5, "good", 0), recorded(tmp_path, 0.9, "bad", 0)])
    table = attack_tables.decided(found)
    assert table.rows[1][table.header.index("Verdict")] == "one seed"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"training": {"flattened": False, "words": "x"}}, "had not flattened"),
        ({"batch_norm": False}, "is without BatchNorm:"),
        ({"batch_norm": False, "relu": False}, "is without BatchNorm and ReLU:"),
        ({}, "The suite fgsm is no evidence of robustness"),
    ],
)
def test_what_keeps_a_number_from_being_a_claim_is_said(more, words, tmp_path) -> None:
    record = recorded(tmp_path, 0.5, "good", 0)
    quiet = attack_tables.warnings(attacks([record], suite="standard"))
    assert quiet == []
    record.summary.update(more)
    suite = "standard" if more else "fgsm"
    assert words in " ".join(attack_tables.warnings(attacks([record], suite=suite)))
    record.summary["checks"] = [{"name": "gradients", "flag": True, "text": "none"}]
    assert "signs of failing (gradients)" in " ".join(attack_tables.warnings(attacks([record], suite=suite)))


def test_the_page_has_tables_curves_pictures_and_checks(tmp_path) -> None:
    found = attacks([recorded(tmp_path, 0.5, "good", 0), recorded(tmp_path, 0.6, "a <b>", 0)])
    found.records[0].summary["checks"] = [{"name": "inference", "flag": False, "text": "one odd thing"}]
    page, *pictures = write_page(found, tmp_path, shades()[0])
    text = page.read_text()
    assert {path.name for path in pictures} == {"radius.png", "attacked.png"}
    assert "upper bounds" in text
    assert "a &lt;b&gt;" in text
    assert "<b>" not in text
    assert "one odd thing" in text
    assert found.config.command(["a"]) in text


def test_radius_curves_draw_the_share_that_stands() -> None:
    from decoupled_nets.reports.figures.attacked import radius_curves

    near = np.array([0.0, 2.0, 4.0, np.inf]) / 255
    figure = radius_curves({"one": [near], "two": [near, 2 * near]}, 2 / 255, "linf")
    (axes,) = figure.axes
    first = axes.get_lines()[0]
    heights = dict(zip(np.round(first.get_xdata(), 6).tolist(), first.get_ydata().tolist(), strict=True))
    assert heights[0.0] == 75
    assert [y for x, y in heights.items() if 2.1 < x < 3.9] == pytest.approx(
        [50] * sum(2.1 < x < 3.9 for x in heights)
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    assert "1/255" in axes.get_xlabel()


def test_attacked_images_show_image_attack_and_change() -> None:
    from decoupled_nets.reports.figures.attacked import attacked_images

    images = np.full((1, 1, 4, 4), 0.5, np.float32)
    made = images + np.float32(0.1)
    figure = attacked_images(images, ["cat"], {"net": made}, {"net": ["dog"]})
    shown = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert [float(one[0, 0]) for one in shown] == pytest.approx([0.5, 0.6, 1.0])
    assert {text.get_text() for axes in figure.axes for text in axes.texts} == {"cat", "dog"}


def test_transfer_counts_what_stays_right() -> None:
    images, labels = shades()
    networks = {"a": Flat(0.5).eval(), "b": Flat(0.55).eval()}
    found = transfer(networks, images, labels, Threat.parse("linf:0.1"))
    # Images move by 0.1 towards the border of either network: what crosses one crosses the other.
    white = {
        name: evaluate(net, images, labels, "linf:0.1", "fgsm").robust.sum().item()
        for name, net in networks.items()
    }
    assert {name: found.left[name][name] for name in networks} == white
    assert found.clean["a"] == 40
    with pytest.raises(ValueError, match="needed: at least 2"):
        transfer({"a": networks["a"]}, images, labels, Threat.parse("linf:0.1"))


def test_how_far_training_had_gone(runs) -> None:
    data = load_data(stripes(image_size=25))
    (target,) = find_targets([str(runs / "plain")])
    network, cpu = target.network(data), torch.device("cpu")

    def said(values, losses=None, fitted=None):
        history = [
            {"val_accuracy": v, "train_loss": loss}
            for v, loss in zip(values, losses or [1.0] * len(values), strict=True)
        ]
        object.__setattr__(target, "history", history)
        return training_of(target, network, data, cpu)

    assert said([0.5, 0.6, 0.7, 0.8])["flattened"] is False
    assert said([0.5, 0.79, 0.795, 0.8])["flattened"] is True
    assert (
        "in the last 1 the validation accuracy changed by +10.0 points" in said([0.5, 0.6, 0.7, 0.8])["words"]
    )
    images, labels = data.train_subset(1000)
    right = float((network(images).argmax(1) == labels).double().mean())
    assert said([0.5])["train_accuracy"] == right
