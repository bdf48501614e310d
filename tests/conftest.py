"""What every test shares: registered extras, tolerances, seeds, one thread a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import settings
from torch import Tensor

import decoupled_nets as dn

# A user's own functions take part in every sweep over the registries.
dn.register_magnitude(
    "test_root", lambda norm, radius, alpha, beta: alpha * (norm / radius).sqrt() + beta, beta=0.25
)
dn.register_angle("test_cubic", lambda cosine, k: cosine * (1 + k * cosine * cosine) / (1 + k), uses_k=True)

# The same examples in every run, and none kept on disk.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=30)
settings.load_profile("repeatable")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    # What tests start in turn: more threads than processors wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Largest error against the float64 reference: relative to the element, or to the largest element beside it.
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}

Near = Callable[..., None]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan() -> None:
    """What an operation forgets to write shows up as NaN: torch then fills what ``empty`` gives."""
    torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    """A test may change the number of threads; the next one does not notice."""
    threads = torch.get_num_threads()
    yield
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def near() -> Near:
    """``near(actual, expected, dtype=None, name="")``: agreement within the tolerance of `dtype`."""

    def check(actual: Tensor, expected: Tensor, dtype: torch.dtype | None = None, name: str = "") -> None:
        if not actual.is_floating_point():
            assert torch.equal(actual, expected), name
            return
        tolerance = TOLERANCE[dtype or actual.dtype]
        actual, expected = actual.detach().double(), expected.detach().double()
        scale = expected.abs().max().item() if expected.numel() else 0.0
        torch.testing.assert_close(
            actual, expected, rtol=tolerance, atol=tolerance * scale, msg=lambda text: f"{name}: {text}"
        )

    return check
