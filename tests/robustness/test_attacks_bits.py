"""What attacks give does not depend on batches, order or threads, and stays in the ball and the range."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from decoupled_nets.robustness import Threat, Victim, attack_named, minimum
from decoupled_nets.robustness._rows import length, total
from decoupled_nets.robustness.attacks import attacks
from decoupled_nets.robustness.losses import ce

SHORT = {
    "square": {"queries": 40}, "square-20000": {"queries": 30, "restarts": 2}, "apgd-t": {"steps": 10},
    "fab-t": {"steps": 6}, "pgd-margin": {"steps": 6}, "pgd-ce": {"steps": 6}, "pgd-scaled": {"steps": 6},
    "fmn": {"steps": 20}, "apgd-ce": {"steps": 25}, "apgd-dlr": {"steps": 25}, "apgd-margin": {"steps": 25},
    "apgd-ce-50": {"steps": 25}, "apgd-margin-50": {"steps": 25},
}  # fmt: skip
THREATS = {"linf": Threat("linf", "8/255"), "l2": Threat("l2", "1/3")}
NAMES = sorted(attacks())
#: Other options of the same function.
AGAIN = {"square-20000", "apgd-ce-50", "apgd-margin-50", "apgd-dlr", "bim-cleverhans", "pgd-ce", "pgd-scaled"}
MARKED = [pytest.param(name, marks=[pytest.mark.sweep] if name in AGAIN else []) for name in NAMES]


@cache
def subject() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A convolution, a matrix product that threads would share, and 200 images of its own classes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 24, 5)
    ).eval()
    nn.init.normal_(model[-1].weight, std=0.3)
    images = torch.rand(200, 3, 8, 12)
    return model, images, model(images).argmax(1)


def run(name: str, norm: str, place: torch.Tensor, batch_size: int = 128):
    model, images, labels = subject()
    victim = Victim(model, batch_size=batch_size)
    return attack_named(name)(
        victim, images[place], labels[place], THREATS[norm], seed=1, **SHORT.get(name, {})
    )


@pytest.mark.parametrize("norm", list(THREATS))
@pytest.mark.parametrize("name", MARKED)
def test_batches_order_and_threads_change_nothing(name: str, norm: str) -> None:
    torch.set_num_threads(1)
    whole = run(name, norm, torch.arange(200))
    order = torch.randperm(200)
    torch.set_num_threads(2)
    for place, size in (
        (order, 128), (torch.arange(7), 7), (torch.tensor([3]), 1), (torch.arange(100, 133), 40),
    ):  # fmt: skip
        part = run(name, norm, place, size)
        assert torch.equal(part.images, whole.images[place])
        assert torch.equal(part.step, whole.step[place])


@pytest.mark.parametrize("norm", list(THREATS))
@pytest.mark.parametrize("name", MARKED)
def test_images_are_in_the_ball_and_the_range_and_what_is_broken_is(name: str, norm: str) -> None:
    model, images, labels = subject()
    found = run(name, norm, torch.arange(200))
    threat = THREATS[norm]
    assert (threat.distance(found.images, images) <= threat.radius + 1e-6).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert torch.equal(Victim(model).predict(found.images) != labels, found.step >= 0)
    assert (found.step >= 0).any() or name == "corners"


@settings(max_examples=10)
@given(st.sampled_from(NAMES), st.sampled_from(list(THREATS)), st.integers(0, 199), st.integers(1, 9))
def test_any_part_is_as_in_the_whole(name: str, norm: str, first: int, count: int) -> None:
    place = torch.arange(first, first + count) % 200
    alone, together = run(name, norm, place), run(name, norm, torch.cat([place, (place + 50) % 200]))
    assert torch.equal(alone.images, together.images[:count])
    assert torch.equal(alone.step, together.step[:count])


@pytest.mark.parametrize("norm", list(THREATS))
def test_the_smallest_change_depends_on_nothing_else(norm: str) -> None:
    model, images, labels = subject()
    whole = minimum(model, images[:60], labels[:60], norm, steps=20)
    torch.set_num_threads(2)
    part = minimum(Victim(model, batch_size=5), images[40:47], labels[40:47], norm, steps=20)
    assert torch.equal(part.images, whole.images[40:47])
    assert torch.equal(part.distance, whole.distance[40:47])


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "square", "pgd-margin", "corners"])
def test_another_seed_is_another_attack(name: str) -> None:
    model, images, labels = subject()
    given_ = (model, images[:8], labels[:8], THREATS["linf"])
    short = {"steps": 1} if "gd" in name else {}
    short |= {"queries": 1} if name == "square" else {}
    first, second = (attack_named(name)(*given_, seed=seed, **short).images for seed in (0, 1))
    assert not torch.equal(first, second)


def test_a_long_row_alone_is_summed_as_beside_others() -> None:
    values = torch.randn(3, 3, 224, 224)
    torch.set_num_threads(2)
    for of in (total, length):
        assert torch.equal(of(values[:1]), of(values)[:1])


@pytest.mark.parametrize("features", [192, 6272])
def test_a_network_gives_the_same_bits_on_one_thread_and_two(features: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(features, 10)).eval()
    images, labels = torch.rand(150, 1, 1, features), torch.arange(150) % 10
    seen = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        seen.append(Victim(model).gradient(images, ce, labels))
        assert torch.get_num_threads() == threads
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))
    victim = Victim(model, threads=2)
    victim.gradient(images, ce, labels)
    assert (victim.forwards, victim.backwards) == (150, 150)
