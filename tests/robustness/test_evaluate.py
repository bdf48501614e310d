"""What holds of every evaluation: its numbers, its bits, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from evaluations import SHORT, data, found, same
from exact import Linear, exact_distance, spread_out
from network_zoo import COUNT, THREAT, honest, liar, plain
from torch import Tensor, nn

from decoupled_nets.robustness import Stage, Suite, Threat, evaluate, work_of

NAMES = ("cnn", "tanh-cos", "ddf")


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_the_batch_size_changes_no_bit(batch_size: int):
    images, labels = data()
    some = torch.arange(COUNT if batch_size > 1 else 8)  # the others are left out, too
    one = evaluate(
        honest("cnn"), images[some], labels[some], THREAT, SHORT, batch_size=batch_size, checks=False
    )
    same(found(), one, some)


@pytest.mark.parametrize("name", ["cnn", *(pytest.param(n, marks=pytest.mark.sweep) for n in NAMES[1:])])
def test_order_and_threads_change_no_bit(name: str):
    images, labels = data()
    order = torch.randperm(len(images))
    permuted = evaluate(honest(name), images[order], labels[order], THREAT, SHORT, checks=False)
    same(found(name), permuted, order)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        same(found(name), evaluate(honest(name), images, labels, THREAT, SHORT, checks=False))


def test_checks_do_not_depend_on_the_order():
    images, labels = data()
    order = torch.randperm(len(images))
    one = evaluate(honest("cnn"), images, labels, THREAT, "fgsm,pgd")
    other = evaluate(honest("cnn"), images[order], labels[order], THREAT, "fgsm,pgd", batch_size=16)
    mine, theirs = ({c.name: c.values for c in each.checks} for each in (one, other))
    for values in (mine, theirs):
        values.pop("gradients")  # shares of rounded signs
    assert mine == theirs


@pytest.mark.parametrize("name", NAMES)
def test_what_a_result_says_of_each_image(name: str):
    one, (images, labels) = found(name), data()
    threat = one.threat
    assert bool((one.clean | ~one.robust).all())  # what stands was right
    assert 0 < int(one.robust.sum()) < int(one.clean.sum())
    assert float(one.adversarial.min()) >= 0
    assert float(one.adversarial.max()) <= 1
    away = (one.adversarial.double() - images.double()).flatten(1).abs().amax(1)
    assert bool((away <= threat.radius + 1e-6).all())
    with torch.no_grad():
        said = honest(name)(one.adversarial).argmax(1)
    assert torch.equal(said == labels, one.robust)
    names = [stage.name for stage in one.stages]
    for i, (by, step, distance) in enumerate(zip(one.broken_by, one.step, one.distance, strict=True)):
        if not one.clean[i]:
            assert (by, int(step), float(distance)) == ("clean", -1, 0)
        elif one.robust[i]:
            assert (by, int(step), float(distance)) == ("", -1, torch.inf)
        else:
            stage = one.stages[names.index(by)]
            assert bool(stage.broken[i])
            assert int(stage.steps[i]) == int(step) >= 0
            assert not any(bool(s.broken[i]) for s in one.stages[: names.index(by)])
            assert 0 < float(distance) <= float(away[i]) <= threat.radius + 1e-6
            if sum(bool(s.broken[i]) for s in one.stages[:-1]) == 1:
                assert float(distance) == float(away[i])


def test_more_attacks_leave_no_more():
    """Each added attack takes from what stands, and what it broke is broken."""
    stands, counts = found().clean.clone(), []
    for stage in found().stages[:-1]:
        stands &= ~stage.broken
        counts.append(int(stands.sum()))
        assert stage.seen == (int(found().clean.sum()) if stage.every else counts[-2])
    assert torch.equal(stands, found().robust)
    fewer = evaluate(honest("cnn"), *data(), THREAT, "fgsm", checks=False)
    more = evaluate(honest("cnn"), *data(), THREAT, "fgsm,pgd", checks=False)
    assert bool((fewer.robust | ~more.robust).all())
    other = found().stages[-1]  # of another threat: a number of its own
    assert other.threat != str(found().threat)
    assert int(other.broken.sum()) > int(found().stages[1].broken.sum())


def test_a_larger_radius_leaves_no_more():
    counts = [
        int(found("cnn", f"linf:{r}").robust.sum()) for r in ("0", "0.01", "0.03", "0.06", "0.1", "0.3")
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
    assert torch.equal(found("cnn", "linf:0").robust, found("cnn", "linf:0").clean)
    nothing = evaluate(honest("cnn"), *data(), "linf:0", "quick")
    assert torch.equal(nothing.robust, nothing.clean)
    assert "linearity" not in nothing.flags


def test_linear_networks_are_judged_exactly():
    torch.manual_seed(3)
    model = Linear(4)
    images, labels = spread_out(model, 60)
    radius = float(exact_distance(model, images, labels, "linf").quantile(0.5))
    one = evaluate(model, images, labels, Threat("linf", f"{radius:.4f}"), "standard", checks=False)
    exact = exact_distance(model, images, labels, "linf") > one.threat.radius
    assert torch.equal(one.robust, exact)


def test_progress_adds_up():
    for suite in ("quick", "pgd,square"):
        units: list[int] = []
        evaluate(honest("linear"), *data(), "linf:0.0001", suite, advance=units.append)
        expected = work_of(suite, THREAT, COUNT, 4)
        assert 0.8 * expected <= sum(units) <= 1.2 * expected


class Typed(nn.Module):
    """Computes in float32 whatever comes, and fails otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.flatten(1).float())


def test_a_network_without_float64_is_attacked_without():
    suite = Suite("wide", (Stage("pgd", every=True), Stage("apgd-margin", wide=True)), "")
    one = evaluate(Typed().eval(), *data(), THREAT, suite)
    assert [stage.name for stage in one.stages] == ["pgd"]
    assert "float64" in one.notes[0]
    assert "float64" in str(one)


def test_float64_finds_what_float32_does_not():
    """The gradient's signs are lost in float32: the float64 stage breaks what stands."""

    class Lossy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            inner = honest("linear").double()(images.double()) if images.dtype == torch.float64 else None
            if inner is None:
                inner = honest("linear").float()(images)
                inner = inner.detach() + 0 * images.sum()
            return inner

    narrow, wide = (Stage("apgd-margin", wide=wide, options={"steps": 20}) for wide in (False, True))
    model = Lossy().eval()
    try:
        one = evaluate(model, *data(), THREAT, Suite("both", (narrow, wide), ""), checks=False)
    finally:
        honest("linear").float()
    assert one.stages[0].count == 0
    assert one.stages[1].count > 10


@pytest.mark.long
def test_random_networks_are_attacked_through_their_mean_by_deep():
    suite = Suite("mean", (Stage("apgd-margin", options={"steps": 10}),), "", expected=True)
    torch.set_num_threads(2)  # torch has one generator: two threads would share it
    ones = [evaluate(liar("noisy"), *data(16), THREAT, suite) for _ in range(2)]
    same(*ones)
    assert "mean of 20 passes" in str(ones[0])
    inference = next(c for c in ones[0].checks if c.name == "inference")
    assert inference.flag
    assert "vary" in inference.text


@pytest.mark.parametrize("classes", [2, 3, 4, 9])
def test_any_number_of_classes(classes: int):
    model = Linear(classes, shape=(1, 4, 4))
    images, labels = spread_out(model, 10, (1, 4, 4))
    one = evaluate(model, images, labels, "linf:0.02", "standard")
    assert [stage.name for stage in one.stages] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    exact = exact_distance(model, images, labels, "linf") > one.threat.radius
    assert torch.equal(one.robust, exact)
    assert "standard, L∞ 0.02, 10 images" in one.verdict


def test_the_model_stays_as_it_is():
    model = plain().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = [p.requires_grad for p in model.parameters()]
    generator = torch.get_rng_state()
    evaluate(model, *data(8), THREAT, SHORT)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_nothing_right_leaves_nothing_to_check():
    images = data(8)[0]
    wrong = (honest("cnn")(images).argmax(1) + 1) % 4
    one = evaluate(honest("cnn"), images, wrong, THREAT, "quick")
    assert one.accuracy == 0
    assert one.checks == []
    assert set(one.broken_by) == {"clean"}
    assert "at most 0.0 %" in str(one)


class Root(nn.Module):
    """A square root, whose slope at a black pixel is infinite, and times zero no number."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = (images.flatten(1)[:, :3]).sqrt() * torch.tensor([1.0, 0.5, 0.0])
        return bright + images.mean((1, 2, 3))[:, None]


def test_gradients_that_are_no_numbers_do_not_spoil_the_images() -> None:
    images = torch.rand(12, 1, 4, 4)
    images[:, :, 0, :3] = 0.0
    net = Root().eval()
    found = evaluate(net, images, net(images).argmax(1), "linf:0.1", "fgsm,pgd")
    assert bool(found.adversarial.isfinite().all())
    assert found.flags  # and somebody says that such gradients lead nowhere
