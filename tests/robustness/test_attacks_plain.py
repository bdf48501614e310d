"""FGSM, BIM, PGD, APGD, transfer: where they take gradients, what their options do, what they refuse."""

import itertools

import pytest
import torch
from exact import SHAPE, Linear, spread_out
from torch import nn

from decoupled_nets.robustness import Threat, Victim, attack_named, fab_minimum, transferred
from decoupled_nets.robustness.attacks import attacks
from decoupled_nets.robustness.attacks._search import Search
from decoupled_nets.robustness.attacks.apgd import Run, checkpoints
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


def by_the_book(model, image, label: int, threat: Threat, start, steps: int) -> list[torch.Tensor]:
    """The points of APGD on the margin for one image: the paper's algorithm, with lists instead of rows."""

    def look(point):
        point = point.detach().requires_grad_()
        loss = margin(model(point), torch.tensor([label]))
        return loss.item(), torch.autograd.grad(loss, point)[0]

    step, since, interval = 2 * threat.radius, 0, max(int(0.22 * steps), 1)
    points, now, before, halved = [start], start, start, True
    loss, slope = look(start)
    best = best_then = (loss, start, slope)
    losses = [0.0]  # as AutoAttack has it
    for i in range(steps):
        ahead = threat.project(now + step * threat.ascent(slope), image)
        share = 1 if i == 0 else 0.75
        now, before = threat.project(now + share * (ahead - now) + (1 - share) * (now - before), image), now
        points.append(now)
        loss, slope = look(now)
        losses.append(loss)
        best = max(best, (loss, now, slope), key=lambda found: found[0])
        since += 1
        if since == interval:
            rises = sum(losses[j] > losses[j - 1] for j in range(len(losses) - since, len(losses)))
            halved = rises <= 0.75 * since or (not halved and best_then[0] >= best[0])
            best_then, since, interval = best, 0, max(interval - int(0.03 * steps), int(0.06 * steps))
            if halved:
                step, now, slope = step / 2, best[1], best[2]
    return points


@pytest.mark.parametrize("threat", [Threat("linf", "1/20"), Threat("l2", "1/3")], ids=str)
def test_apgd_goes_the_way_of_the_paper(threat: Threat) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 4)).eval().double()
    images = torch.rand(4, *SHAPE).double()
    labels = model(images).argmax(1)
    start = threat.project(images + 0.02 * torch.rand_like(images), images)
    points = []
    hook = model.register_forward_pre_hook(lambda _, given: points.append(given[0].detach()[:4].clone()))
    attack_named("apgd-margin")(Victim(model, threads=1), images, labels, threat, start=start, stop=False)
    hook.remove()
    assert len(points) == 101
    for i in range(4):
        some = slice(i, i + 1)
        book = by_the_book(model, images[some], int(labels[i]), threat, start[some], 100)
        torch.testing.assert_close(torch.cat([p[some] for p in points]), torch.cat(book), rtol=0, atol=1e-9)
    assert (points[-1] - points[-2]).abs().max() < 0.05 * threat.radius  # so lengths were halved


def test_squares_shrink_as_autoattack_has_it_and_may_lie_anywhere() -> None:
    """Of a network without preferences no change is kept, so that each query shows its square alone."""
    points = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 3)).eval()
    nn.init.zeros_(model[1].weight)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    model.register_forward_pre_hook(lambda _, given: points.append(given[0][0, 0].clone()))
    images = torch.full((1, 1, 24, 24), 0.5)
    attack_named("square")(Victim(model), images, torch.tensor([0]), THREAT, queries=2100)
    assert len(points) == 2101
    halved = (-1, 10, 50, 200, 500, 1000, 2000, 2100)
    for k in range(7):
        changes = [(point != points[0]).nonzero() for point in points[halved[k] + 2 : halved[k + 1] + 2]]
        sides = [int((c.amax(0) - c.amin(0)).max()) + 1 for c in changes if len(c)]
        assert max(sides) == round((0.8 / 2**k * 24 * 24) ** 0.5)
    touched = torch.zeros(24, 24)
    for point in points[202:]:
        touched += point != points[0]
    assert (touched > 0).all()


def test_square_keeps_what_helps_and_for_l2_fills_the_radius() -> None:
    """Margins of what is kept rise only; after each change the whole radius is used again."""
    model = Linear(2)
    images, _ = spread_out(model, 8)
    images = 0.5 + 0.1 * (images - 0.5)  # far from the box
    with torch.no_grad():
        model.inner.bias.add_(torch.tensor([50.0, -50.0]))
    for threat in (THREAT, Threat("l2", "1/2")):
        ends = []
        for queries in (1, 5, 20, 80):
            found = attack_named("square")(
                model, images, torch.zeros(8, dtype=torch.long), threat, queries=queries
            )
            ends.append(margin(model(found.images), torch.zeros(8, dtype=torch.long)).detach())
            torch.testing.assert_close(
                threat.distance(found.images, images),
                torch.full((8,), threat.radius).double(),
                rtol=1e-5,
                atol=0,
            )
        assert all((later >= earlier).all() for earlier, later in itertools.pairwise(ends))
        assert (ends[-1] > ends[0]).all()


def test_fab_steps_over_the_boundary_and_back() -> None:
    """Of a linear network, far from the box, each step is known: shares of the normal."""
    model, points = Linear(2).double(), []
    images = torch.full((1, *SHAPE), 0.5).double()
    with torch.no_grad():
        model.inner.bias.add_(torch.tensor([0.3, -0.3]).double())
    normal = (model.inner.weight[1] - model.inner.weight[0]).detach().reshape(SHAPE)
    model.register_forward_pre_hook(lambda _, given: points.append(given[0].detach()[:1].clone()))
    fab_minimum(model, images, torch.tensor([0]), "l2", steps=4)

    def way(point):
        return -((normal * (point - 0.5)).sum() - 0.6) / normal.square().sum() * normal

    _, *seen = points
    now = images
    for shown, reached in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(shown, now)
        near, far = way(now).norm(), way(images).norm()
        share = min(near / (near + far), 0.1)
        expected = (1 - share) * (now + 1.05 * way(now)) + share * (images + 1.05 * way(images))
        torch.testing.assert_close(reached, expected)
        wrong = bool((normal * (reached - 0.5)).sum() > 0.6)
        now = images + 0.9 * (reached - images) if wrong else reached
    assert len(seen) == 8


def test_apgd_halves_where_the_best_stays_though_losses_rise() -> None:
    model = Linear(2)
    images, labels = spread_out(model, 3)
    run = Run(
        Victim(model), Search(images, labels), THREAT, lambda z, y, _: margin(z, y), images, labels
    )  # fmt: skip
    rows = run.rows
    rows.most, rows.checked = torch.tensor([1.0, 1.0, 2.0]), torch.ones(3)
    rows.rises, rows.halved = torch.full((3,), 10.0), torch.tensor([False, True, False])
    run._check(10)
    assert run.rows.halved.tolist() == [True, False, False]
    assert run.rows.share.tolist() == [1, 2, 2]
    assert not run.rows.rises.any()


@pytest.mark.parametrize("name", ["apgd-t", "fab-t"])
def test_targeted_attacks_try_every_other_class(name: str) -> None:
    """The second class leads the others and never moves; the third is reached by one pixel."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 3)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[2, 0] = 100.0
        model[1].bias.copy_(torch.tensor([0.0, -0.5, -55.0]))
    labels = torch.zeros(4, dtype=torch.long)
    for targets, broken in ((1, 0), (2, 4), (9, 4)):
        found = attack_named(name)(model, grey(4), labels, THREAT, targets=targets, steps=20)
        assert (found.step >= 0).sum() == broken


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
