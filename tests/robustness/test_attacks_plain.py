"""FGSM, BIM, PGD, APGD, transfer: where they take gradients, what their options do, what they refuse."""

import pytest
import torch
from exact import SHAPE, Linear, spread_out
from torch import nn

from decoupled_nets.robustness import Threat, Victim, attack_named, attacks, transferred
from decoupled_nets.robustness.attacks.apgd import checkpoints
from decoupled_nets.robustness.losses import dlr, margin, rivals, scaled_margin, targeted_dlr

THREAT = Threat("linf", "1/10")


def seen_by(name: str, images: torch.Tensor, **options) -> list[torch.Tensor]:
    """What the network is shown; it never takes an image for another class."""
    model, points = Linear(2), []
    with torch.no_grad():
        model.inner.weight.copy_(torch.stack([-torch.ones(40), torch.ones(40)]))
        model.inner.bias.copy_(torch.tensor([100.0, -100.0]))
    model.register_forward_pre_hook(lambda module, args: points.append(args[0].detach().clone()))
    labels = torch.zeros(len(images), dtype=torch.long)
    attack_named(name)(Victim(model, threads=1), images, labels, THREAT, **options)
    return points


def grey(count: int) -> torch.Tensor:
    return torch.full((count, *SHAPE), 0.5)


def test_fgsm_takes_the_gradient_at_the_image_and_one_step_of_the_radius() -> None:
    first, second = seen_by("fgsm", grey(16))
    assert torch.equal(first, grey(16))
    # Cross-entropy of logits 200 apart has no gradient left in float32.
    assert torch.equal(second, grey(16))


def test_pgd_starts_anywhere_in_the_ball_and_takes_steps_of_a_share_of_it() -> None:
    images = grey(128) + 1e-3 * torch.rand(128, 1, 1, 1)  # other images, other draws
    points = seen_by("pgd-margin", images, steps=20, step=0.1, falling=False, restarts=1)
    assert len(points) == 21
    start = points[0] - images
    assert start.abs().max() <= 0.1 + 1e-6
    assert start.max() > 0.099
    assert start.min() < -0.099
    assert start.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert (points[1] - points[0]).max().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(points[-1], images + 0.1)


def test_bim_starts_at_the_image() -> None:
    points = seen_by("bim", grey(16))
    assert torch.equal(points[0], grey(16))
    assert len(points) == 11


def test_apgd_starts_on_the_surface_and_halves_its_steps_where_nothing_rises() -> None:
    points = seen_by("apgd-margin", grey(16))
    assert len(points) == 101
    torch.testing.assert_close((points[0] - 0.5).flatten(1).abs().amax(1), torch.full((16,), 0.1))
    torch.testing.assert_close(points[1], grey(16) + 0.1)  # twice the radius, back into the ball
    given = grey(16) + 0.02
    assert torch.equal(seen_by("apgd-margin", grey(16), start=given, steps=3)[0], given)
    away = seen_by("apgd-margin", grey(16), start=grey(16) + 0.4, steps=3)[0]
    torch.testing.assert_close(away, grey(16) + 0.1)


def test_checkpoints() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    for steps in (1, 2, 5, 10, 50, 333):
        assert min(checkpoints(steps)) >= 1
        assert max(checkpoints(steps)) <= steps


def test_restarts_break_what_one_run_leaves() -> None:
    """Two far wells of different depth: a run ends in the one that it starts near."""

    class Wells(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = images.flatten(1)[:, 0]
            shallow, deep = 0.4 - (x - 0.42).abs() * 10, 1.1 - (x - 0.59).abs() * 40
            return torch.stack([torch.ones_like(x), torch.maximum(shallow, deep)], 1)

    images = torch.rand(64, 1, 1, 2) * 0 + 0.5
    images[:, 0, 0, 1] = torch.linspace(0, 1, 64)  # other images, other draws
    counts = []
    for restarts in (1, 6):
        found = attack_named("pgd-margin")(
            Wells().eval(), images, torch.zeros(64, dtype=torch.long), THREAT, restarts=restarts, steps=10
        )
        counts.append(int((found.step < 0).sum()))
    assert counts[1] < counts[0] < 64


def test_without_stop_an_attack_goes_on_beyond_the_boundary() -> None:
    model = Linear(4)
    images, labels = spread_out(model, 32)
    for name in ("pgd-margin", "apgd-margin", "apgd-t"):
        stopped, whole = (
            attack_named(name)(model, images, labels, THREAT, stop=stop, steps=15) for stop in (True, False)
        )
        first, last = (margin(model(found.images), labels).mean() for found in (stopped, whole))
        assert last > first + 0.3
        assert torch.equal(stopped.step < 0, whole.step < 0)
        assert (whole.step[whole.step >= 0] == stopped.step[stopped.step >= 0]).all()


def test_broken_images_leave_at_once() -> None:
    """The network sees only what still stands, filled up to a block."""
    model = Linear(3)
    images, labels = spread_out(model, 200)
    for name in ("apgd-t", "apgd-margin", "fab-t", "square", "fmn", "pgd-margin"):
        victim = Victim(model)
        options = {"queries": 100} if name == "square" else {"steps": 100}
        found = attack_named(name)(victim, images, labels, Threat("linf", "1/4"), **options)
        share = (found.step < 0).float().mean()
        assert share < 0.1
        assert victim.forwards < 200 * 100 * (share + 0.25), name


def test_transferred_images_are_only_counted() -> None:
    model, other = Linear(3), Linear(3)
    images, labels = spread_out(model, 40)
    made = attack_named("apgd-margin")(other, images, other(images).argmax(1), THREAT, stop=False).images
    found = transferred(model, images, labels, made)
    assert torch.equal(found.images, made)
    assert torch.equal(found.step >= 0, model(made).argmax(1) != labels)
    assert 0 < (found.step >= 0).sum() < 40
    with pytest.raises(ValueError, match=r"changed images of shape \(3, 2, 5, 4\) received"):
        transferred(model, images, labels, made[:3])


def test_losses_of_few_classes_still_rise() -> None:
    """Values that do not change cannot tell an attack whether a step helped."""
    labels = torch.zeros(2, dtype=torch.long)
    for classes in (2, 3, 4, 10):
        worse = torch.randn(2, classes).sort(1, descending=True).values
        better = worse.clone()
        better[:, 1] += 0.5 * (worse[:, 0] - worse[:, 1])
        assert (dlr(better, labels) > dlr(worse, labels)).all()
        assert (targeted_dlr(better, labels, labels + 1) > targeted_dlr(worse, labels, labels + 1)).all()
    assert torch.equal(scaled_margin(worse, labels), scaled_margin(better, labels))


def test_rivals_are_the_other_classes_by_falling_logits() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 1.0, 7.0]])
    assert rivals(logits, torch.tensor([1, 0]), 9).tolist() == [[3, 2, 0], [3, 1, 2]]
    assert rivals(logits, torch.tensor([0, 3]), 2).tolist() == [[1, 3], [0, 1]]


def test_errors() -> None:
    model = Linear(3)
    images, labels = spread_out(model, 2)
    for name in attacks():
        for option in ("steps", "restarts", "queries", "targets", "tries"):
            if option in attack_named(name).run.__kwdefaults__:
                with pytest.raises(ValueError, match=r"received.*; needed: at least 1"):
                    attack_named(name)(model, images, labels, THREAT, **{option: 0})
    with pytest.raises(ValueError, match="loss = 'scaled-ce' received; needed: one of ce, dlr, margin"):
        attack_named("apgd-ce")(model, images, labels, THREAT, loss="scaled-ce")
    with pytest.raises(ValueError, match="unknown loss 'marginal'"):
        attack_named("apgd-ce")(model, images, labels, THREAT, loss="marginal")
    with pytest.raises(ValueError, match=r"start of shape \(1, 2, 5, 4\) received"):
        attack_named("apgd-ce")(model, images, labels, THREAT, start=images[:1])
    with pytest.raises(ValueError, match=r"share = 1.5 received"):
        attack_named("square")(model, images, labels, THREAT, share=1.5)
    with pytest.raises(ValueError, match="threads = 0 received"):
        Victim(model, threads=0)
