"""Attacks in training: against formulas, and what they leave alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from adversarial_cases import STEPS, WAYS, Calls, batch, crafting, module_of, network
from torch import nn

from decoupled_nets.models import PixelNetwork
from decoupled_nets.optim import weighted_gradients
from decoupled_nets.robustness.draws import Draws
from decoupled_nets.training import AdversarialConfig
from decoupled_nets.training.adversarial import divergence, way_named, ways

RADIUS = 8 / 255


def linear(seed: int = 0) -> nn.Module:
    """Two classes, in float64: what an attack does to it is known."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()


def far_from_the_ends(size: int = 40) -> torch.Tensor:
    """Pixels in [0.3, 0.7], which no attack here takes out of [0, 1]."""
    rng = torch.Generator().manual_seed(3)
    return 0.3 + 0.4 * torch.rand(size, 3, 2, 2, generator=rng, dtype=torch.float64)


def test_these_are_the_ways():
    assert tuple(ways()) == WAYS
    with pytest.raises(ValueError, match=r"unknown adversarial training 'ngfsm' \(did you mean 'n-fgsm'"):
        AdversarialConfig("ngfsm")


def test_n_fgsm_is_its_formula():
    net, (images, labels) = network().eval(), batch()
    drawn = 2 * Draws(torch.arange(8), "adversarial 0 0", 0).uniform((3, 10, 10), images) - 1
    noisy = (images + 2 * RADIUS * drawn).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(noisy), labels), noisy)
    expected = (noisy.detach() + RADIUS * gradient.sign()).clamp(0, 1)
    found = way_named("n-fgsm").craft(crafting(net, images, labels))
    assert torch.equal(found, expected)
    change = (found - images).abs()
    assert 2.5 * RADIUS < change.max() <= 3 * RADIUS + 1e-6  # not clipped back into the ball
    assert (drawn.abs().amax(), drawn.mean()) == (pytest.approx(1, abs=0.01), pytest.approx(0, abs=0.05))


def test_fgsm_rs_is_its_formula():
    net, (images, labels) = network().eval(), batch()
    drawn = 2 * Draws(torch.arange(8), "adversarial 0 0", 0).uniform((3, 10, 10), images) - 1
    noisy = (images + RADIUS * drawn).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(noisy), labels), noisy)
    moved = (noisy.detach() - images + 1.25 * RADIUS * gradient.sign()).clamp(-RADIUS, RADIUS)
    found = way_named("fgsm-rs").craft(crafting(net, images, labels))
    torch.testing.assert_close(found, (images + moved).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("threat", ["linf:8/255", "l2:0.3"])
def test_fgsm_steps_away_from_what_the_network_finds_and_does_not_tell_the_label(threat):
    net, (images, labels) = network().eval(), batch()
    moved = images.clone().requires_grad_()
    logits = net(moved)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1)), moved)
    length = gradient.flatten(1).norm(dim=1)[:, None, None, None]
    step = RADIUS * gradient.sign() if threat.startswith("linf") else 0.3 * gradient / length
    found = way_named("fgsm").craft(crafting(net, images, labels, threat))
    torch.testing.assert_close(found, (images + step).clamp(0, 1), rtol=0, atol=1e-6)
    other = way_named("fgsm").craft(crafting(net, images, (labels + 1) % 4, threat))
    assert torch.equal(found, other)


@pytest.mark.parametrize("way", ["pgd", "trades", "fgsm-rs"])
@pytest.mark.parametrize("threat", ["linf:8/255", "l2:0.5"])
def test_attacked_images_are_in_the_ball_and_in_the_pixels_range(way, threat):
    if threat.startswith("l2") and way == "fgsm-rs":
        return
    net, (images, labels) = network().eval(), batch()
    made = crafting(net, images.round(), labels, threat)
    found = way_named(way).craft(made)
    assert 0 <= found.min() <= found.max() <= 1
    distance = made.threat.distance(found, images.round())
    assert bool((distance <= made.threat.radius + 1e-6).all())
    assert distance.min() > 0.5 * made.threat.radius


@pytest.mark.parametrize("way", ["n-fgsm", "fgsm-rs", "pgd"])
def test_on_a_linear_network_the_loss_is_that_of_margins_less_the_weights_norm(way):
    """The minimax loss: of L∞ each margin falls by ε times the L1 norm of the weights' difference."""
    net, images = linear(), far_from_the_ends()
    labels = net(images).argmax(1)
    labels[::3] = 1 - labels[::3]
    radius = 0.05
    weight = (net[1].weight[0] - net[1].weight[1]).detach()
    margin = net(images).detach()
    margin = margin.gather(1, labels[:, None])[:, 0] - margin.gather(1, 1 - labels[:, None])[:, 0]
    if way == "n-fgsm":  # its noise stays
        noise = crafting(net, images, labels, "linf:0.05").noise(2 * radius) - images
        margin += (noise.flatten(1) @ weight) * torch.where(labels == 0, 1, -1)
    expected = F.softplus(-(margin - radius * weight.abs().sum())).mean()
    made = crafting(net, images, labels, "linf:0.05", steps=7)
    found = F.cross_entropy(net(way_named(way).craft(made)), labels).detach()
    if way == "fgsm-rs":  # 1.25 ε reach the surface unless the noise was below −0.25 ε
        assert F.cross_entropy(net(images), labels) < found <= expected + 1e-9
    else:
        assert float(found) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(("threat", "norm"), [("linf:0.05", 1), ("l2:0.05", 2)])
def test_one_step_on_a_linear_network_is_exact_where_it_is_right(threat, norm):
    net, images = linear(), far_from_the_ends()
    logits = net(images).detach()
    labels = logits.argmax(1)
    margin = logits.max(1).values - logits.min(1).values
    weight = (net[1].weight[0] - net[1].weight[1]).detach()
    expected = F.softplus(-(margin - 0.05 * weight.norm(norm))).mean()
    attacked = way_named("fgsm").craft(crafting(net, images, labels, threat))
    found = F.cross_entropy(net(attacked), labels).detach()
    assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_pgd_finds_the_worst_change_of_l2_in_the_limit():
    net, images = linear(), far_from_the_ends()
    labels = net(images).argmax(1)
    weight = (net[1].weight[0] - net[1].weight[1]).detach()
    margin = net(images).detach().max(1).values - net(images).detach().min(1).values
    expected = F.softplus(-(margin - 0.05 * weight.norm())).mean()
    made = crafting(net, images, labels, "l2:0.05", steps=200)
    found = F.cross_entropy(net(way_named("pgd").craft(made)), labels).detach()
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


def test_trades_takes_each_margin_to_an_end():
    net, images = linear(), far_from_the_ends()
    found = way_named("trades").craft(crafting(net, images, images[:, 0, 0, 0].long(), "linf:0.05", steps=7))
    weight = (net[1].weight[0] - net[1].weight[1]).detach()
    moved = ((found - images).flatten(1) @ weight).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05 * float(weight.abs().sum())))


def test_training_a_linear_network_against_linf_finds_the_known_minimax():
    """Two points at ±1/4 in one pixel of two; the other pixel's weight is of use only without an attack.

    With x = 0.5 ± (a, b) and L∞ of radius between b and a, the robust solution has no weight on b.
    """
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.05, -0.05], [0.05, 0.05]]))
    net = PixelNetwork(nn.Sequential(nn.Flatten(), layer), [0.5], [1.0]).double()
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)
    images = 0.5 + signs[:, None] * torch.tensor([0.25, 0.02], dtype=torch.float64)
    images, labels = images.reshape(-1, 1, 1, 2), (signs > 0).long()
    shares = {}
    for way in ("pgd", None):
        copied = copy.deepcopy(net)
        optimizer = torch.optim.SGD(copied.parameters(), lr=0.5)
        for _ in range(200):
            shown = (
                images if way is None else way_named(way).craft(crafting(copied, images, labels, "linf:0.1"))
            )
            optimizer.zero_grad()
            F.cross_entropy(copied(shown.detach()), labels).backward()
            optimizer.step()
        weight = next(copied.parameters()).detach().diff(dim=0)[0]
        shares[way] = float(weight[1] / weight[0])
    assert abs(shares["pgd"]) < 0.02
    assert shares[None] > 0.06  # on the way to 0.08, the widest margin


def plain_loop(net: nn.Module, way: str, inputs: list, targets, options: dict) -> torch.Tensor:
    """The loss of the images that the module trained on, as anybody would write it."""
    loss = lambda logits: F.cross_entropy(  # noqa: E731
        logits, targets, options.get("weights"), label_smoothing=options.get("label_smoothing", 0.0)
    )
    if way != "trades":
        return loss(net(inputs[0]))
    clean = net(inputs[0])
    attacked = net(inputs[1])
    kl = F.kl_div(attacked.log_softmax(1), clean.softmax(1), reduction="batchmean")
    return loss(clean) + 6.0 * kl


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.2, "class_weights": "1,2,3,0.5"}, {"weighted_gradients": True}],
    ids=["plain", "loss", "weighted"],
)
def test_weights_and_statistics_move_as_in_a_plain_loop_on_the_attacked_images(way, options):
    net, (images, labels) = network(), batch()
    module = module_of(net, way, **options)
    if "class_weights" in options:
        module._class_weights = torch.tensor([1.0, 2.0, 3.0, 0.5])
    calls = Calls(module.network)
    torch.manual_seed(5)
    module.training_step((images, labels), 0).backward()
    seen = [x for x, training in zip(calls.inputs, calls.training, strict=True) if training]
    assert len(seen) == (2 if way == "trades" else 1)
    assert not torch.equal(seen[-1], images)

    alone = copy.deepcopy(net)
    if "weighted_gradients" in options:
        weighted_gradients(alone)
    torch.manual_seed(5)  # dropout's, which crafting does not draw from
    known = {"weights": module._class_weights, "label_smoothing": options.get("label_smoothing", 0.0)}
    plain_loop(alone, way, seen, labels, known).backward()
    for (name, ours), theirs in zip(module.network.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6, msg=name)
    assert dict(module.network.named_buffers()).keys() >= {"0.mean_norm", "1.running_mean"}
    for (name, ours), theirs in zip(module.network.named_buffers(), alone.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    # Accumulated: the next batch adds to the gradients that are there.
    before = {name: p.grad.clone() for name, p in module.network.named_parameters()}
    module.training_step((images, labels), 1).backward()
    moved = [not torch.equal(p.grad, before[name]) for name, p in module.network.named_parameters()]
    assert sum(moved) >= len(moved) - 1


@pytest.mark.parametrize("way", WAYS)
def test_crafting_is_in_evaluation_mode_without_gradients_for_weights(way):
    module = module_of(network(), way)
    frozen = module.network[1].eval()  # somebody's own choice
    module.network[6].bias.requires_grad_(False)
    calls = Calls(module.network)
    module.training_step(batch(), 0).backward()
    learning = 2 if way == "trades" else 1
    assert calls.training == [False] * (len(calls.training) - learning) + [True] * learning
    assert calls.wanted == calls.training
    assert module.network.training
    assert not frozen.training
    assert module.network[6].weight.requires_grad
    assert not module.network[6].bias.requires_grad


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_while_crafting_leaves_the_network_as_it_was(way):
    module = module_of(network(), way)
    module.network[6].register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        module.training_step(batch(), 0)
    assert all(m.training for m in module.network.modules())
    assert all(p.requires_grad for p in module.network.parameters())


@pytest.mark.parametrize("way", ["none", *WAYS])
def test_what_a_step_costs_in_passes(way):
    module = module_of(network(), way)
    calls = Calls(module.network)
    module.training_step(batch(), 0).backward()
    found = len(calls.inputs), calls.backwards
    expected = {"none": (1, 1), "pgd": (1 + STEPS,) * 2, "trades": (3 + STEPS, 2 + STEPS)}.get(way, (2, 2))
    assert found == expected
    if way != "none":
        assert way_named(way).passes(STEPS) == expected


def test_every_batch_epoch_seed_and_image_has_noise_of_its_own():
    def shown(seed=0, number=0):
        module = module_of(network().eval(), "n-fgsm")
        module._seed = seed
        calls = Calls(module.network)
        images = torch.full((2, 3, 10, 10), 0.5)
        module.training_step((images, torch.zeros(2).long()), number)
        return calls.inputs[0] - 0.5

    first = shown()
    assert torch.equal(first, shown())
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, shown(number=1))
    assert not torch.equal(first, shown(seed=1))


def test_crafting_draws_nothing_from_torchs_generator():
    module = module_of(nn.Sequential(nn.Flatten(), nn.Linear(300, 4)), "pgd")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    module.training_step(batch(), 0)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{"mixup": 0.5}, {"cutmix": 1.0}])
def test_mixed_images_are_attacked_with_their_mixed_labels(way, options):
    module = module_of(network(), way, **options)
    calls = Calls(module.network)
    loss = module.training_step(batch(), 0)
    mixed, shares = module._mix(*batch(), 0, 0, 0)
    seen = [x for x, training in zip(calls.inputs, calls.training, strict=True) if training][-1]
    most = 3 if way == "n-fgsm" else 1
    assert 0.5 * RADIUS < (seen - mixed).abs().max() <= most * RADIUS + 1e-6
    assert shares.shape == (8, 4)
    assert math.isfinite(float(loss.detach()))


def test_half_precision_is_left_while_crafting_unless_it_has_the_range():
    seen = []
    for kind in (torch.float16, torch.bfloat16):
        module = module_of(nn.Sequential(nn.Flatten(), nn.Linear(300, 4)), "fgsm")
        module.network.register_forward_hook(lambda m, a, out: seen.append((m.training, out.dtype)))
        with torch.autocast("cpu", dtype=kind):
            module.training_step(batch(), 0).backward()
        assert module.network[1].weight.grad is not None
    assert seen == [
        (False, torch.float32), (True, torch.float16), (False, torch.bfloat16), (True, torch.bfloat16),
    ]  # fmt: skip


def test_the_divergence_is_its_formula():
    clean, attacked = torch.randn(2, 5, 3, dtype=torch.float64)
    p, q = clean.softmax(1), attacked.softmax(1)
    assert float(divergence(clean, attacked)) == pytest.approx(float((p * (p / q).log()).sum(1).mean()))
    assert float(divergence(clean, clean)) == pytest.approx(0, abs=1e-12)
