"""What is watched after each epoch: catastrophic overfitting, and which checkpoint is the best."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from decoupled_nets._progress import Progress
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.robustness import Threat, attack_named
from decoupled_nets.tasks import find_task
from decoupled_nets.training import (
    AdversarialConfig,
    MachineConfig,
    OptimConfig,
    TaskModule,
    fit,
    load_checkpoint,
)
from decoupled_nets.training.watch import (
    WATCHED,
    Watch,
    attacked_accuracy,
    best_of,
    overfitted,
    robust,
    told,
)

THREAT = Threat.parse("linf:8/255")


def history(*pairs: tuple[float, float], images: int = 500, clean: float = 0.7) -> list[dict[str, float]]:
    """Epochs with what FGSM and PGD-10 leave."""
    return [
        {"epoch": i, "val_clean": clean, "val_fgsm": fgsm, "val_pgd": pgd, "val_attacked": images}
        for i, (fgsm, pgd) in enumerate(pairs, 1)
    ]


OVERFITTED = {
    "collapse": [(0.30, 0.25), (0.36, 0.31), (0.40, 0.35), (0.62, 0.02)],
    "slide": [(0.30, 0.25), (0.40, 0.33), (0.38, 0.10)],
    "from the start": [(0.35, 0.02), (0.45, 0.01), (0.55, 0.0)],
}
HONEST = {
    "rising": [(0.30, 0.25), (0.36, 0.31), (0.40, 0.35)],
    "young": [(0.29, 0.06), (0.48, 0.30), (0.58, 0.45)],  # as measured, FGSM at 16/255
    "slow": [(0.09, 0.03), (0.14, 0.03), (0.20, 0.06)],
    "robust overfitting": [(0.48, 0.44), (0.50, 0.46), (0.46, 0.40), (0.44, 0.36)],
    "noise": [(0.40, 0.35), (0.40, 0.24)],
    "untrained": [(0.01, 0.0), (0.01, 0.0), (0.02, 0.0)],
    "diverged": [(0.40, 0.35), (0.0, 0.0)],
    "one epoch": [(0.30, 0.0)],
}


@pytest.mark.parametrize("rows", OVERFITTED.values(), ids=OVERFITTED)
def test_catastrophic_overfitting_is_seen_when_it_comes_and_not_before(rows):
    found = [overfitted(history(*rows[:n])) for n in range(len(rows) + 1)]
    assert found == [False] * len(rows) + [True]


@pytest.mark.parametrize("rows", HONEST.values(), ids=HONEST)
def test_honest_histories_are_left_alone(rows):
    assert not any(overfitted(history(*rows[:n])) for n in range(len(rows) + 1))


def test_few_images_prove_nothing():
    rows = OVERFITTED["slide"]
    assert overfitted(history(*rows))
    assert not overfitted(history(*rows, images=20))
    assert not overfitted([{"epoch": 1, "val_accuracy": 0.5}])  # plain training


def test_it_is_said_in_words():
    rows = history(*OVERFITTED["collapse"])
    assert told(rows) == (
        "catastrophic overfitting in epoch 4: of 500 validation images FGSM leaves 62.0%, PGD-10 2.0%;"
        " training ended, and the network is that of epoch 3, with 35.0% under PGD-10"
    )
    assert told(rows[:3]) == ""


def test_of_equal_robustness_the_more_accurate_is_better_and_no_clean_accuracy_outweighs_an_image():
    one, two = history((0.3, 0.2), (0.3, 0.2))
    two["val_clean"] = 0.75
    assert best_of([one, two]) is two
    assert best_of([one, one | {"epoch": 2}])["epoch"] == 1
    less = history((0.3, 0.2 - 1 / 500), clean=1.0)[0]
    assert robust(less) < robust(one | {"val_clean": 0.0})


@pytest.fixture(scope="module")
def data():
    return load_data(
        DataConfig(
            data="sample", train_size=1000, val_size=200, test_size=40, augment=False, workers=0, memory=1
        )
    )


def network() -> nn.Module:
    """Three convolutions, without BatchNorm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def trained(data, folder, adversarial, epochs, **options) -> TaskModule:
    config = OptimConfig(epochs=epochs, batch_size=64, lr=3e-3, schedule="constant", warmup=0.0, **options)
    task = find_task("classify")(data.classes)
    module = TaskModule(network(), task, config, epochs * 15, adversarial)
    with Progress(epochs * 15, "", quiet=True) as progress:
        progress.say = said.append
        return fit(module, data, MachineConfig(accelerator="cpu"), folder, progress, "small")


said: list[str] = []


def test_one_step_training_at_a_large_radius_overfits_is_caught_and_taken_back(data, tmp_path):
    """A real case, of the kind that a large radius makes likely; the last good epoch is what is kept."""
    said.clear()
    module = trained(data, tmp_path, AdversarialConfig("fgsm", "linf:80/255"), 12)
    rows = module.history
    assert len(rows) < 12
    assert overfitted(rows)
    assert not any(overfitted(rows[:n]) for n in range(len(rows)))
    last, best = rows[-1], best_of(rows)
    assert last["val_pgd"] < best["val_pgd"] / 3
    assert last["val_fgsm"] > 0.2
    assert said[-1] == f"small: {told(rows)}"
    kept = load_checkpoint(tmp_path / "best.ckpt")
    assert kept["history"][-1]["epoch"] == best["epoch"] == module.tested["epoch"] < last["epoch"]
    assert all(torch.equal(v, kept["state_dict"][k]) for k, v in module.state_dict().items())
    # To go on with it trains nothing: it had ended.
    before = (tmp_path / "last.ckpt").read_bytes()
    again = trained(data, tmp_path, AdversarialConfig("fgsm", "linf:80/255"), 12)
    assert again.history == rows
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert all(torch.equal(v, kept["state_dict"][k]) for k, v in again.state_dict().items())


def test_noise_at_a_usual_radius_does_not(data, tmp_path):
    module = trained(data, tmp_path, AdversarialConfig("n-fgsm", "linf:16/255"), 4)
    assert len(module.history) == 4
    assert told(module.history) == ""
    assert module.history[-1]["val_pgd"] > 0.3
    best = best_of(module.history)
    assert load_checkpoint(tmp_path / "best.ckpt")["history"][-1]["epoch"] == best["epoch"]
    assert list(module.history[0]) == [
        "epoch", "train_loss", "val_loss", "val_accuracy", "val_images", *WATCHED, "lr", "seconds",
    ]  # fmt: skip
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert ",val_clean,val_fgsm,val_pgd,val_attacked," in header


def test_what_is_watched_is_what_the_attacks_leave_of_images_that_were_right(data):
    net = network().eval()
    images, labels = data.val_subset(60)
    right = net(images).argmax(1) == labels
    labels = torch.where(torch.arange(60) % 2 == 0, net(images).argmax(1), labels)
    right = net(images).argmax(1) == labels
    expected = [int(right.sum())]
    for name in ("fgsm", "pgd"):
        found = attack_named(name)(net, images, labels, THREAT).images
        expected.append(int((right & (net(found).argmax(1) == labels)).sum()))
    assert attacked_accuracy(net, images, labels, THREAT).tolist() == expected
    assert expected[0] > expected[2]


def test_a_network_that_diverged_is_right_about_nothing(data):
    net = network().eval()
    with torch.no_grad():
        net[7].bias.fill_(float("nan"))
    assert attacked_accuracy(net, *data.val_subset(20), THREAT).tolist() == [0, 0, 0]


def test_the_average_of_the_weights_is_what_is_watched(data, tmp_path, monkeypatch):
    seen = []
    watch = Watch.on_validation_epoch_end

    def note(self, trainer, module):
        seen.append(module.network[0].weight.detach().clone())
        watch(self, trainer, module)

    monkeypatch.setattr(Watch, "on_validation_epoch_end", note)
    trained(data, tmp_path, AdversarialConfig("fgsm", "linf:8/255"), 1, ema=0.5)
    checkpoint = load_checkpoint(tmp_path / "last.ckpt")
    assert torch.equal(seen[0], checkpoint["state_dict"]["network.0.weight"])
    assert not torch.equal(seen[0], checkpoint["current_model_state"]["network.0.weight"])


def test_images_to_watch_are_validation_images_and_in_range(data):
    watch = Watch(data, THREAT)
    assert len(watch.labels) == 200
    assert watch.labels.bincount().tolist() == [20] * 10
    every = {image.numpy().tobytes() for image in data.val_subset(200)[0]}
    assert {image.numpy().tobytes() for image in watch.images} == every
    for wrong, message in (
        ({"val_size": 0}, "no validation images received"),
        ({"val_size": 1, "val_subset": lambda n: (torch.full((1, 1, 2, 2), 2.0), torch.zeros(1))}, "2 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Watch(SimpleNamespace(**wrong), THREAT)  # type: ignore[arg-type]
