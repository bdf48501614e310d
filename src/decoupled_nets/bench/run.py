"""A whole benchmark: what is missing is measured, and everything is kept in one folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from matplotlib.figure import Figure

from .._environment import environment
from .._files import remove_leftovers, write_atomically, write_text
from .._progress import Progress
from ..reports.bench_results import BenchResults, Measured
from ..reports.figures import png
from ..reports.figures.bench import ratios
from .cases import Case, NetworkCase
from .config import BenchConfig
from .conv import WARMUP, measure

SPEED = 8e10  # of convolutions, in operations a second


def bench_conv(
    config: BenchConfig, folder: Path, *, fresh: bool = False, quiet: bool = False
) -> tuple[BenchResults, list[Path]]:
    """Measure every case of the configuration, and write ``conv.json`` and ``conv.png``.

    The file is written after every case: an interrupted benchmark goes on where it was. A finished one is
    measured again.

    Args:
        config: what to measure.
        folder: where the files go.
        fresh: measure everything, whatever the folder holds.
        quiet: draw no progress.

    Returns:
        The results, and the files written.

    Raises:
        ValueError: `folder` holds a benchmark with other options or of another machine.
        AssertionError: a result differs from the reference.
    """
    subject = Subject("conv", measure, estimate, ratios)
    return run(subject, config, folder, fresh=fresh, quiet=quiet)


class _Configuration(Protocol):
    @property
    def cases(self) -> Sequence[tuple[str, Any]]: ...


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a benchmark is of: its name, how a case is measured, how long it takes, and the figure.

    `measure` takes the case's number, the name of its grid, the case and the configuration.
    """

    name: str
    measure: Callable[[int, str, Any, Any], list[Measured]]
    estimate: Callable[[Any, Any], int]
    figure: Callable[[Sequence[Measured]], Figure]


def run(
    subject: Subject, config: _Configuration, folder: Path, *, fresh: bool = False, quiet: bool = False
) -> tuple[BenchResults, list[Path]]:
    """Measure every case of the configuration; arguments, results and errors as :func:`bench_conv`'s."""
    settings = dataclasses.asdict(config)  # type: ignore[call-overload]
    results = BenchResults(settings, {**environment(), **torch_settings()})
    path = folder / f"{subject.name}.json"
    if path.exists() and not fresh:
        results.measured = _unfinished(path, results)
    remove_leftovers(folder)
    _fill(subject, results, config, path, quiet)
    image = png(subject.figure(results.measured))
    figure = write_atomically(folder / f"{subject.name}.png", lambda file: file.write(image))
    return results, [path, figure]


def torch_settings() -> dict[str, Any]:
    """Settings, beside the number of threads, that a time depends on."""
    return {
        "interop_threads": torch.get_num_interop_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "onednn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }


def _unfinished(path: Path, now: BenchResults) -> list[Measured]:
    """What an interrupted benchmark measured, if it is the same one."""
    advice = f"add --fresh to replace what {path.parent} holds, or name another folder by --out"
    try:
        then = BenchResults.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): {advice}") from error
    for kind in ("config", "environment"):
        old, new = getattr(then, kind), getattr(now, kind)
        for name in new:
            if old.get(name) != new[name]:
                raise ValueError(f"{name}: {new[name]!r} now, {old.get(name)!r} then: {advice}")
    return [] if then.finished else then.measured


def _fill(subject: Subject, results: BenchResults, config: _Configuration, path: Path, quiet: bool) -> None:
    """Measure what is missing; after every case the file is whole."""
    cases = config.cases
    costs = [subject.estimate(case, config) for _, case in cases]
    done = {one.number for one in results.measured}
    with Progress(sum(costs), f"bench {subject.name}", quiet=quiet) as progress, torch.random.fork_rng():
        if done:
            progress.say(f"{path.parent} holds {len(done)} of {len(cases)} cases: going on with the rest")
        progress.skip(sum(costs[number] for number in done))
        for number, (grid, case) in enumerate(cases):
            if number in done:
                continue
            progress.describe(f"{grid}: {case}")
            torch.manual_seed(number)
            results.measured += subject.measure(number, grid, case, config)
            results.finished = number + 1 == len(cases)
            write_text(path, results.to_json())
            progress.advance(costs[number])


def estimate(case: Case, config: BenchConfig) -> int:
    """About how many tenths of a second the case takes on two cores; only the proportions matter."""
    operators, paths = len(config.operator_names), config.path_names
    compiling = "compiled" in paths
    is_network = isinstance(case, NetworkCase)
    # The plain one, twice or with its compiled forms four times; ours, nearly as quick or half as quick.
    ours = sum(2.0 if path in ("composed", "released") else 1.2 for path in paths)
    steps = 2.0 + 2.0 * compiling + operators * ours
    # Backward takes as long as two passes forward; of a layer the forward pass is measured alone as well.
    passes = (3.0 if is_network else 4.0) if case.training else 1.0
    seconds = case.operations / SPEED * passes * steps * (config.rounds + WARMUP)
    seconds += 0.3 * operators * len(paths)  # checks
    if compiling:
        seconds += (60.0 if is_network else 5.0) * (1 + operators)
    return max(1, round(10 * seconds))
