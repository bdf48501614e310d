"""A benchmark's rows without a benchmark."""

import dataclasses

from decoupled_nets._measure import Ratio
from decoupled_nets.bench import BenchConfig
from decoupled_nets.bench.conv import BASELINE
from decoupled_nets.reports.bench_results import Measured


def ratio(median):
    return Ratio(median, 0.9 * median, 1.1 * median)


def made_up(**options):
    """Rows of every case of a configuration: its twin, and each operator on each path at twice the time."""
    config = BenchConfig(**options)
    rows = []
    for number, (grid, case) in enumerate(config.cases):
        both = ratio(2.0) if case.training else None
        named = [("conv", "again", f"{BASELINE} again")]
        named += [(o, p, f"{o} ({p})") for o in config.operator_names for p in config.path_names]
        for operator, path, name in named:
            shape = dataclasses.asdict(case)
            rows.append(
                Measured(
                    number, grid, shape, str(case), name, operator, path, BASELINE, ratio(2.0), both, 1.0
                )
            )
    return rows
