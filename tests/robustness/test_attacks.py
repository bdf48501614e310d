"""FGSM and PGD."""

import pytest
import torch
from torch import nn

from decoupled_nets.robustness import fgsm, pgd, surviving

RADIUS = 0.1


def linear_model() -> nn.Module:
    """Two classes; the logit of class 1 rises with every pixel."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-torch.ones(12), torch.ones(12)]))
        model[1].bias.copy_(torch.tensor([6.0, -6.0]))
    return model


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_attacks_stay_in_the_ball_and_raise_the_loss(attack: object) -> None:
    model, images = linear_model(), torch.rand(8, 3, 2, 2)
    labels = model(images).argmax(1)
    attacked = attack(model, images, labels, RADIUS)
    assert (attacked - images).abs().max() <= RADIUS + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    loss = nn.CrossEntropyLoss(reduction="none")
    assert (loss(model(attacked), labels) > loss(model(images), labels)).all()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_on_a_linear_model_both_find_the_worst_case(attack: object) -> None:
    model, images = linear_model(), torch.full((1, 3, 2, 2), 0.55)
    attacked = attack(model, images, torch.tensor([1]), RADIUS)
    torch.testing.assert_close(attacked, torch.full((1, 3, 2, 2), 0.45))


def test_surviving_counts_what_stays_right() -> None:
    model = linear_model().train()
    images = torch.stack([torch.full((3, 2, 2), v) for v in (0.1, 0.45, 0.55, 0.9, 0.9)])
    labels = torch.tensor([0, 0, 1, 1, 0])  # the last is wrong from the start
    assert surviving(model, images, labels, fgsm, RADIUS, batch_size=2) == 2
    assert surviving(model, images, labels, fgsm, 0.0) == 4
    assert not model.training


def test_an_attack_does_not_put_right_what_is_wrong() -> None:
    """An image that is wrong as it is does not survive, whatever an attack makes of it."""
    images, labels = torch.full((2, 3, 2, 2), 0.1), torch.tensor([0, 1])
    turned = surviving(linear_model(), images, labels, lambda model, x, y, radius: 1 - x, RADIUS)
    assert surviving(linear_model(), images, labels, lambda model, x, y, radius: x, RADIUS) == 1
    assert turned == 0


def test_pgd_is_repeatable_and_its_start_is_random() -> None:
    model, images, labels = linear_model(), torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.long)
    nn.init.zeros_(model[1].weight)  # without a gradient the start is also the end
    runs = [
        pgd(model, images, labels, RADIUS, steps=1, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def seen_by(attack, images: torch.Tensor, **options) -> list[torch.Tensor]:
    """The points at which an attack takes the gradient."""
    model, points = linear_model(), []
    model.register_forward_pre_hook(lambda module, args: points.append(args[0].detach().clone()))
    attack(model, images, torch.zeros(len(images), dtype=torch.long), RADIUS, **options)
    return points


def test_pgd_starts_anywhere_in_the_ball_and_takes_steps_of_a_quarter_of_it() -> None:
    images = torch.full((500, 3, 2, 2), 0.5)
    points = seen_by(pgd, images, steps=20)
    assert len(points) == 20
    start = points[0] - images
    assert 0.99 * RADIUS < start.max() <= RADIUS + 1e-6
    assert -RADIUS - 1e-6 <= start.min() < -0.99 * RADIUS
    assert start.std().item() == pytest.approx(RADIUS / 3**0.5, rel=0.05)
    assert (points[1] - points[0]).max().item() == pytest.approx(2.5 * RADIUS / 20, rel=1e-3)
    assert all((point - images).abs().max() <= RADIUS + 1e-6 for point in points)


def test_fgsm_takes_the_gradient_at_the_image_itself() -> None:
    images = torch.rand(3, 3, 2, 2)
    (point,) = seen_by(fgsm, images)
    assert torch.equal(point, images)


def test_errors() -> None:
    model, images, labels = linear_model(), torch.rand(1, 3, 2, 2), torch.tensor([0])
    with pytest.raises(ValueError, match=r"radius = 8 received; needed: a number in \[0, 1\]"):
        fgsm(model, images, labels, 8)
    with pytest.raises(ValueError, match="steps = 0 received"):
        pgd(model, images, labels, RADIUS, steps=0)
