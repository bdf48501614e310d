"""Dynamic filters beside the convolutions they stand in for: checked, then timed in every way asked for."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from ..reports.bench_results import BenchResults, Measured
from ..reports.figures.bench import ratios
from .config import ALL, check_names, split
from .conv import WARMUP, Contestant, compare, fresh_compiler
from .ddf_cases import DDF_GRIDS, DdfCase, ResNetCase, Scale
from .ddf_check import check_alike, check_right
from .ddf_paths import PATHS, has_path
from .run import SPEED, Subject, run


@dataclass(frozen=True)
class DdfBenchConfig:
    """What to measure.

    Args:
        grid: Which cases, separated by commas: "op" (3×3 filters on 56², 28², 14² and 7²), "kernels" (5×5 and
            7×7), "module" (DDF2d with its branches), "upsample" (DDFUpsample by 2), "networks" (DDF-ResNet-50
            on 224²: inference and training step), or "all".
        batch_size: Images; upsampling and networks take half as many.
        width: Multiplies the channels.
        size: Multiplies the resolution.
        rounds: Interleaved rounds; medians over them are reported.
        paths: Ways of computing them, separated by commas: "op" (as they run here), "unfold" (of single
            filterings and layers only), "composed" (of torch's operations), "compiled" (torch.compile of the
            composed path; compiling takes its time).
        channels_last: Whether inputs and weights have that memory format.

    Raises:
        ValueError: a name is unknown or stands twice, or a number is out of range.
    """

    grid: str = "op"
    batch_size: int = 16
    width: float = 1.0
    size: float = 1.0
    rounds: int = 7
    paths: str = "op,unfold,composed"
    channels_last: bool = False

    def __post_init__(self) -> None:
        check_names("grid", self.grid, [*DDF_GRIDS, ALL])
        check_names("path", self.paths, PATHS)
        for field, least in (("rounds", 2), ("batch_size", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} = {getattr(self, field)} received; needed: at least {least}")
        for field in ("width", "size"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} = {getattr(self, field)} received; needed: a positive number")

    @property
    def path_names(self) -> list[str]:
        """The paths, in the order given."""
        return split(self.paths)

    @property
    def cases(self) -> list[tuple[str, DdfCase]]:
        """Every case with the name of its grid, in the order in which they are measured."""
        names = split(self.grid)
        memory_format = "channels_last" if self.channels_last else "contiguous"
        scale = Scale(self.batch_size, self.width, self.size, memory_format)  # type: ignore[arg-type]
        return [pair for name in (DDF_GRIDS if ALL in names else names) for pair in DDF_GRIDS[name](scale)]


def bench_ddf(
    config: DdfBenchConfig, folder: Path, *, fresh: bool = False, quiet: bool = False
) -> tuple[BenchResults, list[Path]]:
    """Measure every case of the configuration, and write ``ddf.json`` and ``ddf.png``.

    Arguments, results and errors are those of :func:`decoupled_nets.bench.bench_conv`.
    """
    subject = Subject("ddf", measure, estimate, partial(ratios, baseline="baseline"))
    return run(subject, config, folder, fresh=fresh, quiet=quiet)


def measure(number: int, grid: str, case: DdfCase, config: DdfBenchConfig) -> list[Measured]:
    """Check every path against float64, then time all of them interleaved with what they stand in for.

    The baseline is measured twice: its second ratio shows the machine's spread.

    Args:
        number: place of the case in the benchmark.
        grid: name of its grid.
        case: what to measure.
        config: paths and rounds.

    Returns:
        One row a contestant, the baseline's second measurement first.

    Raises:
        AssertionError: a result differs from the reference.
    """
    x = case.input()
    with fresh_compiler() if "compiled" in config.path_names else nullcontext():
        field = _field(case, config)
        for one in field:
            one.module.train(case.training)
        found = compare([one.module for one in field], case, x, config.rounds)
    shape = dataclasses.asdict(case)
    return [
        Measured(number, grid, shape, str(case), one.name, one.operator, one.path, field[0].name, *row)
        for one, row in list(zip(field, found, strict=True))[1:]
    ]


def _field(case: DdfCase, config: DdfBenchConfig) -> list[Contestant]:
    """The baseline, twice, other convolutions, and the paths, which have been checked."""
    others = [Contestant(name, "conv", path, module) for name, path, module in case.others()]
    again = dataclasses.replace(others[0], name=f"{others[0].name} again", path="again")
    own = case.own()
    ours = [
        Contestant("ddf" if path == "op" else f"ddf ({path})", "ddf", path, _checked(own, path, case))
        for path in config.path_names
        if has_path(own, path)
    ]
    return [others[0], again, *others[1:], *ours]


def _checked(own: nn.Module, path: str, case: DdfCase) -> nn.Module:
    module = PATHS[path](own)
    if path == "compiled":
        check_alike(module, own, case)  # would be compiled again for another shape
    else:
        check_right(module, own, case)
    return module


def estimate(case: DdfCase, config: DdfBenchConfig) -> int:
    """About how many tenths of a second the case takes on two cores; only the proportions matter."""
    network = isinstance(case, ResNetCase)
    steps = 3.0 + 1.5 * len(config.path_names)
    passes = (3.0 if network else 4.0) if case.training else 1.0
    seconds = case.operations / SPEED * passes * steps * (config.rounds + WARMUP) + 0.3
    seconds += (120.0 if network else 8.0) * ("compiled" in config.path_names)
    return max(1, round(10 * seconds))
