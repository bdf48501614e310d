"""Every option of adversarial training, by its effect."""

from __future__ import annotations

import json

import pytest
import torch
from proofs import proves
from small import SIZES, classify, images
from torch import nn

from decoupled_nets._progress import Progress
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.recipes import recipe
from decoupled_nets.robustness import Threat, attack_named
from decoupled_nets.tasks import find_task
from decoupled_nets.training import (
    AdversarialConfig,
    MachineConfig,
    OptimConfig,
    TaskModule,
    TrainConfig,
    fit,
    load_config,
    load_network,
)

SIZES_32 = {**SIZES, "image_size": 32}
RUN = ["--data=synthetic", *(f"--{name.replace('_', '-')}={value}" for name, value in SIZES_32.items())]
RUN += ["--width=0.03", "--batch-size=8", "--epochs=1", "--accelerator=cpu"]


@pytest.fixture(scope="module")
def fashion():
    return load_data(
        DataConfig(data="sample", train_size=500, val_size=100, test_size=100, augment=False, workers=0)
    )


def trained(data, folder, config: AdversarialConfig) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 49, 10),
    )  # fmt: skip
    optim = OptimConfig(epochs=6, batch_size=50, lr=3e-3, warmup=0.0)
    module = TaskModule(net, find_task("classify")(data.classes), optim, 60, config)
    with Progress(60, "", quiet=True) as progress:
        fit(module, data, MachineConfig(accelerator="cpu"), folder, progress, "", test=False)
    return module.network.eval()


def standing(net: nn.Module, data, threat: str) -> float:
    """The share of test images that PGD-10 leaves."""
    pixels, labels = data.test_subset(100)
    found = attack_named("pgd")(net, pixels, labels, Threat.parse(threat))
    return float((found.step < 0).float().mean())


@proves(AdversarialConfig, "adversarial", "adversarial_threat")
def test_a_network_trained_on_attacked_images_withstands_more(fashion, tmp_path):
    plain = trained(fashion, tmp_path / "plain", AdversarialConfig())
    left = {"none": standing(plain, fashion, "linf:40/255")}
    for way, size in (("n-fgsm", "40/255"), ("pgd", "40/255"), ("n-fgsm", "1/255")):
        config = AdversarialConfig(way, f"linf:{size}", adversarial_steps=3)
        net = trained(fashion, tmp_path / f"{way}{size[:2].strip('/')}", config)
        left[way, size] = standing(net, fashion, "linf:40/255")
    assert left["n-fgsm", "40/255"] > left["none"] + 0.12
    assert left["pgd", "40/255"] > left["none"] + 0.12
    assert left["n-fgsm", "1/255"] < left["n-fgsm", "40/255"] - 0.1


def seen(way: str, threat: str = "linf:8/255", **options) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What a network is called with in the first step, and the loss."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    config = AdversarialConfig(way, threat, **options)
    module = TaskModule(net, classify(), OptimConfig(), 4, config)
    module.log = lambda *args, **more: None
    calls = []
    net.register_forward_pre_hook(lambda m, args: calls.append(args[0].detach().clone()))
    loss = module.training_step(next(iter(images().train_loader(8, 0))), 0)
    return calls, loss.detach()


@proves(AdversarialConfig, "adversarial_threat")
@pytest.mark.parametrize(("threat", "norm"), [("linf:4/255", torch.inf), ("l2:0.25", 2)])
def test_the_threat_is_norm_and_radius(threat, norm):
    (pixels, *_), _ = seen("none")
    calls, _ = seen("pgd", threat)
    change = (calls[-1] - pixels).flatten(1).norm(norm, dim=1)
    radius = Threat.parse(threat).radius
    assert change.max() == pytest.approx(radius, rel=1e-3)


@proves(AdversarialConfig, "adversarial_steps")
@pytest.mark.parametrize("steps", [1, 4])
def test_the_steps_are_gradient_steps(steps):
    assert len(seen("pgd", adversarial_steps=steps)[0]) == steps + 1
    assert len(seen("trades", adversarial_steps=steps)[0]) == steps + 3
    assert len(seen("n-fgsm", adversarial_steps=steps)[0]) == 2


@proves(AdversarialConfig, "adversarial_beta")
def test_beta_is_the_weight_of_the_divergence():
    losses = [float(seen("trades", adversarial_beta=beta)[1]) for beta in (0.0, 1.0, 3.0)]
    assert losses[0] == pytest.approx(float(seen("none")[1]), rel=1e-6)
    assert losses[1] > losses[0] + 1e-4
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversarial": "n-fgsm", "adversarial_threat": "l2:0.5"}, "whose noise and step are those of L∞"),
        ({"adversarial": "fgsm-rs", "adversarial_threat": "l2:0.5"}, "needed: linf, or adversarial=pgd"),
        ({"adversarial_threat": "8/255"}, "needed: NORM:RADIUS"),
        ({"adversarial_threat": "linf:0"}, "needed: a radius above 0"),
        ({"adversarial_steps": 0}, "adversarial_steps = 0 received; needed: at least 1"),
        ({"adversarial_beta": -1.0}, "adversarial_beta = -1.0 received; needed: at least 0"),
        ({"adversarial": "pgd", "precision": "bf16-true"}, "needed: 32-true or bf16-mixed"),
        ({"adversarial": "pgd", "strategy": "fsdp"}, "needed: auto or ddp"),
        ({"adversarial": "pgd", "task": "segment"}, "adversarial = pgd received for the task segment"),
    ],
)
@pytest.mark.parametrize("config", [TrainConfig, CompareConfig])
def test_what_cannot_be_is_refused_in_words(config, options, message):
    with pytest.raises(ValueError, match=message):
        config.of(**options)


def test_options_without_use_are_said():
    said = {
        ("none", "adversarial_threat"): {"adversarial_threat": "l2:1"},
        ("n-fgsm", "adversarial_steps, adversarial_beta"): {"adversarial_steps": 3, "adversarial_beta": 1.0},
        ("pgd", "adversarial_beta"): {"adversarial_beta": 1.0},
    }
    for (way, names), options in said.items():
        found = TrainConfig.of(adversarial=way, **options).ignored
        assert found == [f"adversarial={way} ignores {names}"]
    assert TrainConfig.of(adversarial="trades", adversarial_steps=3, adversarial_beta=1.0).ignored == []
    assert str(AdversarialConfig("pgd")) == "PGD-7 within L∞ 8/255"
    assert str(AdversarialConfig("trades", "l2:0.5")) == "TRADES-7 with β 6 within L2 0.5"
    assert str(AdversarialConfig()) == ""


def test_the_command_says_what_chose_the_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["train", *RUN, "--adversarial", "n-fgsm", "--adversarial-threat", "linf:2/255"]
    assert main([*words, "--out", str(folder)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "best.ckpt, chosen by accuracy under PGD-10 of 8 validation images, as training was" in said
    assert "adversarial (N-FGSM within L∞ 2/255), is of epoch 1: test accuracy" in said
    assert "PGD-10" in said.split("best.ckpt")[0]
    assert load_config(folder / "best.ckpt").adversarial.adversarial_threat == "linf:2/255"
    assert not load_network(folder / "best.ckpt").training


def test_a_comparison_trains_all_operators_so_and_says_it(tmp_path):
    config = CompareConfig.of(
        data="synthetic", **SIZES_32, width=0.03, batch_size=8, epochs=2, operators="conv,ball-cos",
        feature_epochs=0, adversarial="n-fgsm", accelerator="cpu", seeds=1,
    )  # fmt: skip
    assert config.run("conv", 0).adversarial == config.adversarial
    assert "--adversarial n-fgsm" in config.command
    results, _ = compare(config, tmp_path, quiet=True)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["config"]["adversarial"] == "n-fgsm"
    for run in results.runs:
        assert run.adversarial["how"] == "N-FGSM within L∞ 8/255"
        assert (run.adversarial["forwards"], run.adversarial["backwards"]) == (2, 2)
        assert run.adversarial["images"] == 8
        assert len(run.history[0].watched) == 4
    assert type(results).from_json(results.to_json()).to_json() == results.to_json()
    first = results.costs[0]
    assert first.beside_plain is not None
    assert results.costs[1].beside_plain is None
    page = " ".join((tmp_path / "report.html").read_text().split())
    assert "Training was adversarial: N-FGSM within L∞ 8/255, 2 forward and 2 backward passes a step" in page
    assert "the time of a plain step of conv. Each network is that of the epoch with the best" in page
    assert "the epoch that was chosen on validation images" in page
    assert "after the last epoch" not in page


def test_tuning_goes_by_what_attacks_leave(tmp_path):
    config = CompareConfig.of(
        data="synthetic", **SIZES_32, width=0.03, batch_size=8, epochs=1, operators="conv", feature_epochs=0,
        adversarial="n-fgsm", accelerator="cpu", tune="lr=1e-3,1e-2", tune_seeds=1,
    )  # fmt: skip
    results, _ = compare(config, tmp_path, quiet=True)
    histories = [trial.val for trial in results.tuning.trials]
    assert all(value * 8 == int(value * 8) for value in histories)
    page = (tmp_path / "report.html").read_text()
    assert "Validation accuracy under PGD-10, %" in page


@pytest.mark.parametrize("name", ["adversarial", "adversarial_pgd", "trades"])
def test_the_recipes_attack(name):
    made = TrainConfig.of(recipe=name)
    ways = {"adversarial": "n-fgsm", "adversarial_pgd": "pgd", "trades": "trades"}
    assert made.adversarial.adversarial == ways[name]
    assert made.adversarial.adversarial_threat == "linf:8/255"
    assert recipe(name)["weight_decay"] > 0
