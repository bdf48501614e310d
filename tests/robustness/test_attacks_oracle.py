"""APGD and FAB beside pyautoattack's, from the same start (in the dependency group ``oracle``)."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from decoupled_nets.robustness import Threat, Victim, attack_named, fab_minimum

reference = pytest.importorskip("pyautoattack.autopgd_base")
fab = pytest.importorskip("pyautoattack.fab_pt")


def points_of(model: nn.Module, run) -> list[torch.Tensor]:
    points = []
    hook = model.register_forward_pre_hook(lambda _, given: points.append(given[0].detach().clone()))
    run()
    hook.remove()
    return points


@pytest.fixture
def wide(norm: str) -> Iterator[None]:
    """Float64 for L2, also for what the other implementation makes without a type."""
    torch.set_default_dtype(torch.float64 if norm == "L2" else torch.float32)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("text", "norm"), [("linf:8/255", "Linf"), ("l2:1/2", "L2")])
@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_every_step_is_the_same(text: str, norm: str, loss: str) -> None:
    """For L∞, where steps are signs, in float32; L2 in float64, as differences of one bit grow over steps."""
    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 10),
    ).eval()
    images, threat = torch.rand(16, 1, 12, 12), Threat.parse(text)
    labels = model(images).argmax(1)
    start = threat.project(images + 0.04 * (torch.rand_like(images) - 0.5), images)
    targeted = loss == "dlr-targeted"
    kind = reference.APGDAttack_targeted if targeted else reference.APGDAttack
    theirs = kind(model, n_iter=100, norm=norm, eps=threat.radius, **({} if targeted else {"loss": loss}))
    theirs.init_hyperparam(images)
    if targeted:
        theirs.y_target = model(images).sort(dim=1).indices[:, -2]
        ours = _targeted(model, images, labels, threat, start)
    else:

        def ours() -> None:
            attack = attack_named(f"apgd-{loss}")
            attack(Victim(model, threads=1), images, labels, threat, start=start, stop=False)

    one = points_of(model, lambda: theirs.attack_single_run(images, labels, x_init=start))
    other = points_of(model, ours)[1 if targeted else 0 :]
    assert len(one) == len(other) == 101
    for expected, actual in zip(one, other, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "name"), [("linf", "Linf"), ("l2", "L2")])
def test_fab_finds_the_same_smallest_changes(norm: str, name: str) -> None:
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Softplus(), nn.Linear(20, 4)).eval()
    images = torch.rand(16, 1, 6, 6)
    labels = model(images).argmax(1)
    theirs = fab.FABAttack_PT(model, norm=name, n_iter=30, targeted=True, device="cpu")
    theirs.target_class = 2
    expected = theirs.attack_single_run(images, labels, is_targeted=True)
    ours = fab_minimum(model, images, labels, norm, steps=30, targets=1)
    torch.testing.assert_close(ours.images, expected, rtol=0, atol=2e-5)


def _targeted(model, images, labels, threat, start):
    from decoupled_nets.robustness.attacks._search import Search
    from decoupled_nets.robustness.attacks.apgd import Run
    from decoupled_nets.robustness.losses import rivals, targeted_dlr

    def run() -> None:
        victim = Victim(model, threads=1)
        aims = rivals(victim.logits(images), labels, 1)[:, 0]
        Run(victim, Search(images, labels, stop=False), threat, targeted_dlr, start, aims).through(100, 0)

    return run
