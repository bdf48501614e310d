"""Decoupled convolution beside ``nn.Conv2d``: one case, checked and then timed in every way asked for."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .._measure import Ratio, Step, interleaved_ratios, kept_bytes
from ..models.layers import PLAIN
from ..reports.bench_results import Measured
from .cases import Case
from .check import check, check_measured
from .config import BenchConfig
from .paths import PATHS, compiled

BASELINE = "nn.Conv2d"
WARMUP = 2
LEAST_SECONDS = 0.005  # a shorter step is repeated: the clock, and what wakes the threads, would drown it
_MOST_REPEATS = 20


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A module to be measured, and what to call it."""

    name: str
    operator: str
    path: str
    module: nn.Module


def measure(number: int, grid: str, case: Case, config: BenchConfig) -> list[Measured]:
    """Check every convolution against the reference, then time all of them interleaved with the plain one.

    The plain one is measured twice: its second ratio shows the machine's spread. Compiled ones take turns
    with the compiled plain one, and are relative to it.

    Args:
        number: place of the case in the benchmark.
        grid: name of its grid.
        case: what to measure.
        config: operators, paths, radius and rounds.

    Returns:
        One row a convolution, the plain one's second measurement first.

    Raises:
        AssertionError: a result differs from the reference.
    """
    x = case.input()
    rows: list[Measured] = []
    with fresh_compiler() if "compiled" in config.path_names else nullcontext():
        for field in _fields(case, config, x):
            found = compare([one.module for one in field], case, x, config.rounds)
            rows += [
                Measured(
                    number, grid, dataclasses.asdict(case), str(case), one.name, one.operator, one.path,
                    field[0].name, *row,
                )
                for one, row in list(zip(field, found, strict=True))[1:]
            ]  # fmt: skip
    return rows


@contextmanager
def fresh_compiler() -> Iterator[None]:
    """Without what was compiled for other cases, and with room for all operators of this one.

    They share the code of one ``forward``, which is compiled for each of them, with gradients and without.
    """
    import torch._dynamo  # takes a second

    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=64):
        yield
    torch.compiler.reset()


def _fields(case: Case, config: BenchConfig, x: Tensor) -> list[list[Contestant]]:
    """Those that run in the same rounds, each field with its baseline first."""
    plain = case.build(PLAIN, config.radius).train(case.training)
    eager = [
        Contestant(BASELINE, PLAIN, "layer", plain),
        Contestant(f"{BASELINE} again", PLAIN, "again", plain),
    ]
    together: list[Contestant] = []
    if "compiled" in config.path_names:
        together.append(Contestant(f"{BASELINE} (compiled)", PLAIN, "compiled", compiled(plain)))
        eager += together
    for operator in config.operator_names:
        own = case.build(operator, config.radius)
        for path in config.path_names:
            module = PATHS[path](own)
            if path == "compiled":
                check_measured(module, own, case, x)
                together.append(Contestant(f"{operator} (both compiled)", operator, path, module))
            else:
                check(module, own, case)
                if path == "layer":
                    composed = PATHS["composed"](own)
                    check(composed, own, case)
                    check_measured(module, composed, case, x)
                name = operator if path == "layer" else f"{operator} ({path})"
                eager.append(Contestant(name, operator, path, module))
    return [eager, together] if together else [eager]


Row = tuple[Ratio | None, Ratio | None, float | None]


class Timed(Protocol):
    """What :func:`compare` has to know of a case."""

    @property
    def training(self) -> bool:
        """Whether more than inference is measured."""

    @property
    def whole_step(self) -> bool:
        """Whether the training step is measured as a whole, and no forward pass beside it."""

    def step(self, module: nn.Module, x: Tensor) -> Step:
        """Forward and backward, or the whole step."""


def compare(modules: Sequence[nn.Module], case: Timed, x: Tensor, rounds: int) -> list[Row]:
    """Forward, forward and backward, memory kept: each relative to the first module."""
    forward: Sequence[Any] = [None] * len(modules)
    both: Sequence[Any] = forward
    kept: Sequence[Any] = forward
    if not case.whole_step:
        forward = _ratios([_forward(module, x) for module in modules], rounds)
    if case.training:
        bytes_ = [kept_bytes(module, x) for module in modules]
        kept = [size / bytes_[0] for size in bytes_]
        both = _ratios([case.step(module, x) for module in modules], rounds)
    return list(zip(forward, both, kept, strict=True))


def _ratios(steps: Sequence[Step], rounds: int) -> list[Ratio]:
    steps[0]()
    start = time.perf_counter()
    steps[0]()
    repeats = min(_MOST_REPEATS, math.ceil(LEAST_SECONDS / (time.perf_counter() - start)))
    return interleaved_ratios([partial(_repeat, step, repeats) for step in steps], rounds, WARMUP)


def _repeat(step: Step, times: int) -> None:
    for _ in range(times):
        step()


def _forward(module: nn.Module, x: Tensor) -> Step:
    def step() -> None:
        with torch.no_grad():
            module(x)

    return step
