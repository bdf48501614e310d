"""Attacks on trained networks: what is found, kept, and gone on with."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from attack_records import config
from corrupt_networks import stripes, trained

import decoupled_nets as dn
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.evaluation.attack import attack
from decoupled_nets.evaluation.folder import claimed
from decoupled_nets.evaluation.record import read_record
from decoupled_nets.evaluation.targets import data_config, find_targets
from decoupled_nets.evaluation.trainings import training_of
from decoupled_nets.robustness import evaluate

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


def test_networks_are_found_wherever_they_lie(runs) -> None:
    found = find_targets([str(runs / "plain" / "last.ckpt"), str(runs / "tanh"), str(runs / "both")])
    assert [t.operator for t in found] == ["conv", "tanh-cos", "tanh-cos", "tanh-cos", "conv", "conv"]
    assert [t.seed for t in found] == [0, 3, 0, 1, 0, 1]
    assert Path(found[1].place).name == "best.ckpt"  # of a run, the epoch chosen by validation
    assert Path(found[2].place).name == "last.ckpt"  # of a comparison, the end
    assert len({t.label for t in found}) == len(found)


def test_runs_of_a_comparison_that_kept_one_checkpoint_alone(runs, tmp_path) -> None:
    """The chosen epoch's or the last one's; a run that kept none is none of its networks."""
    copied = tmp_path / "both"
    shutil.copytree(runs / "both", copied)
    (copied / "runs" / "conv-seed0" / "last.ckpt").rename(copied / "runs" / "conv-seed0" / "best.ckpt")
    (copied / "runs" / "conv-seed1" / "last.ckpt").unlink()
    found = find_targets([str(copied)])
    assert [(t.operator, t.seed) for t in found] == [("tanh-cos", 0), ("tanh-cos", 1), ("conv", 0)]
    assert Path(found[2].place).name == "best.ckpt"


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


def test_a_run_that_has_not_ended_is_named_before_it_is_attacked(runs, tmp_path, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("decoupled_nets.training.module.stops", lambda history: True)  # leaves it half done
        trained(tmp_path / "half", epochs=3)
    trained(tmp_path / "diverged", epochs=3, lr=1e30)
    said = "the training of conv has not ended: 1 of 3 epochs are done"
    done = dataclasses.replace(find_targets([str(tmp_path / "half" / "best.ckpt")])[0], done=2)
    assert done.unfinished.endswith("2 of 3 epochs are done, and best.ckpt is of epoch 1")
    for name in ("last.ckpt", "best.ckpt"):
        (half,) = find_targets([str(tmp_path / "half" / name)])
        assert len(half.history) == 1
        assert half.notes(load_data(half.config.data)) == [said.replace("conv", half.label)]
    for place in (runs / "tanh", tmp_path / "diverged"):
        (ended,) = find_targets([str(place / "last.ckpt")])
        assert ended.unfinished is None
    assert len(ended.history) < 3
    monkeypatch.setattr("decoupled_nets.evaluation.attack.write_page", lambda *args: [])
    found, _ = attack([half.place], config(suite="fgsm", images=4), tmp_path / "out", data_named=False)
    assert half.unfinished in found.notes
    assert half.unfinished in capsys.readouterr().err
    (tmp_path / "half" / "last.ckpt").unlink()
    assert find_targets([str(tmp_path / "half")])[0].unfinished is None  # nothing is known


def test_networks_that_changed_since_are_named(tmp_path) -> None:
    kept = {"networks": [["conv, seed 0", "a"], ["tanh-cos, seed 0", "b"], ["conv, seed 2", "c"]]}
    with claimed(tmp_path, kept, left_behind=()):
        pass
    now = {"networks": [["conv, seed 0", "a"], ["tanh-cos, seed 0", "other"], ["conv, seed 1", "d"]]}
    with pytest.raises(ValueError, match="something else") as refused, claimed(tmp_path, now, left_behind=()):
        pass
    said = str(refused.value)
    changes = (
        "tanh-cos, seed 0 has other weights now; conv, seed 1 is new; conv, seed 2 is not among them now"
    )
    assert f": networks: {changes}; needed" in said
    turned = {"networks": kept["networks"][::-1]}
    with pytest.raises(ValueError, match="in another order now"), claimed(tmp_path, turned, left_behind=()):
        pass


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


@pytest.mark.long
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
