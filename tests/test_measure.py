"""Side-by-side timing and peak memory."""

import time

import torch
from torch import nn

from decoupled_nets._measure import interleaved_ratios, peak_bytes
from decoupled_nets.tasks import find_task
from decoupled_nets.training import OptimConfig, TaskModule
from decoupled_nets.training.step import whole_step


def test_ratios_are_relative_to_the_first_of_the_same_round() -> None:
    calls: list[str] = []

    def step(name: str, seconds: float) -> None:
        calls.append(name)
        time.sleep(seconds)

    ratios = interleaved_ratios([lambda: step("a", 0.002), lambda: step("b", 0.02)], rounds=4, warmup=1)
    assert calls == ["b", "a", "a", "b"] * 2 + ["b", "a"]
    assert (ratios[0].median, ratios[0].low, ratios[0].high) == (1.0, 1.0, 1.0)
    assert ratios[1].low <= ratios[1].median <= ratios[1].high
    assert ratios[1].median > 1


def test_ratios_by_another_clock() -> None:
    """By the processor's time a step that sleeps takes none."""

    def busy() -> None:
        until = time.process_time() + 0.01
        while time.process_time() < until:
            pass

    ratios = interleaved_ratios([busy, lambda: time.sleep(0.05)], 3, 0, clock=time.process_time)
    assert ratios[1].median < 0.5


def test_peak_counts_what_is_held_at_a_time() -> None:
    x = torch.ones(1000)

    def step() -> None:
        a = x * 2  # 4000 bytes
        b = a + 1  # 8000
        del a
        c = b.view(10, 100) * 3  # 8000: a is gone, the view is free
        b.add_(1)
        del b, c
        x * 2

    assert peak_bytes(step) == 8000
    assert peak_bytes(step) == 8000


def test_a_training_step_trains_and_holds_its_activations() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    images, labels = torch.rand(16, 3, 8, 8), torch.randint(4, (16,))
    module = TaskModule(net, find_task("classify")("abcd"), OptimConfig(lr=0.01, warmup=0.0), 20)
    step = whole_step(module, (images, labels))
    before = nn.functional.cross_entropy(net(images), labels)
    for _ in range(20):
        step()
    assert nn.functional.cross_entropy(net(images), labels) < before
    activations = 2 * 16 * 8 * 36 * 4
    assert activations <= peak_bytes(step) < 3 * activations
