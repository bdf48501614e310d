"""Mixed images and labels, and weights of classes, by their effects."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from proofs import proves
from small import classify, images, module_of, network, trained
from test_effects_optimisation import loss_of

from decoupled_nets.training import MachineConfig, OptimConfig
from decoupled_nets.training.class_weights import class_weights
from decoupled_nets.training.mixing import Mixing

CPU = MachineConfig(accelerator="cpu")


@proves(OptimConfig, "mixup")
def test_mixup_mixes_images_and_labels_alike(batch):
    mix, (pixels, labels) = Mixing(OptimConfig(mixup=1.0), 4), batch
    mixed, shares = mix(pixels, labels, 0, 0, 0)
    share = shares.gather(1, labels[:, None])
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    lam = share.min()
    assert 0 < lam < 1
    torch.testing.assert_close(mixed, lam * pixels + (1 - lam) * pixels.roll(1, 0))
    expected = lam * F.one_hot(labels, 4) + (1 - lam) * F.one_hot(labels.roll(1, 0), 4)
    torch.testing.assert_close(shares, expected)
    assert torch.equal(mix(pixels, labels, 0, 0, 0)[0], mixed)
    assert not any(
        torch.equal(mix(pixels, labels, *key)[0], mixed) for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    )


@proves(OptimConfig, "cutmix")
def test_cutmix_puts_a_part_of_one_image_into_another(batch):
    pixels, labels = batch
    mixed, shares = Mixing(OptimConfig(cutmix=1.0), 4)(pixels, labels, 0, 0, 1)
    other = pixels.roll(1, 0)
    assert ((mixed == pixels) | (mixed == other)).all()
    changed = (mixed != pixels).any(1).any(0)  # of any image: the rectangle
    assert 0 < changed.float().mean() < 1
    rectangle = changed.any(1).sum() * changed.any(0).sum() / 256
    assert float(shares[labels != labels.roll(1, 0)].max(1).values.max()) == pytest.approx(
        max(float(rectangle), 1 - float(rectangle)), abs=1e-6
    )


@proves(OptimConfig, "mixup", "cutmix")
def test_one_of_both_is_drawn_for_each_batch(batch):
    mix, (pixels, labels) = Mixing(OptimConfig(mixup=1.0, cutmix=1.0), 4), batch
    state = torch.get_rng_state()
    ways = []
    for number in range(20):
        mixed, _ = mix(pixels, labels, 0, 0, number)
        ways.append(bool(((mixed == pixels) | (mixed == pixels.roll(1, 0))).all()))
    assert 0 < sum(ways) < 20
    assert torch.equal(torch.get_rng_state(), state)


def test_the_loss_takes_mixed_labels_in_training_alone(batch, tmp_path):
    net = network().eval()
    module = module_of(net, mixup=1.0)
    module.log = lambda *args, **more: None
    pixels, shares = module._mix(*batch, 0, 0, 0)
    with torch.no_grad():
        expected = -(net(pixels).log_softmax(1) * shares).sum(1).mean()
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected))
    start = network()
    history = trained(tmp_path, copy.deepcopy(start), mixup=1.0, lr=1e-9).history
    plain = trained(tmp_path / "plain", start, lr=1e-9).history
    assert history[0]["val_loss"] == pytest.approx(plain[0]["val_loss"], rel=1e-5)
    assert history[0]["train_loss"] != pytest.approx(plain[0]["train_loss"], rel=1e-5)


@proves(OptimConfig, "class_weights")
def test_class_weights(batch):
    net, (pixels, labels) = network().eval(), batch
    module = module_of(net, class_weights="1,0,0,3")
    module.log = lambda *args, **more: None
    module.settle(CPU, None)
    weights = torch.tensor([1.0, 0.0, 0.0, 3.0])[labels]
    each = F.cross_entropy(net(pixels), labels, reduction="none")
    with torch.no_grad():
        expected = (each * weights).sum() / weights.sum()
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected))
        assert float(expected) != pytest.approx(float(loss_of(net, batch)))
    assert "_class_weights" not in module.state_dict()
    with pytest.raises(ValueError, match="class_weights has 3 numbers for 4 classes; needed: 4, or balanced"):
        class_weights(classify(), OptimConfig(class_weights="1,2,3"), None)


@proves(OptimConfig, "class_weights")
def test_weights_that_balance(monkeypatch):
    monkeypatch.setattr(type(classify()), "class_counts", lambda self, data: torch.tensor([1, 0, 3, 4]))
    found = class_weights(classify(), OptimConfig(class_weights="balanced"), images())
    torch.testing.assert_close(found, torch.tensor([8 / 3, 0.0, 8 / 9, 2 / 3]))
    assert float((found * torch.tensor([1, 0, 3, 4])).sum() / 8) == pytest.approx(1)
