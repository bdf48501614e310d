"""``decoupled bench``: the cost of decoupled convolutions and dynamic filters beside others."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .._progress import duration
from ..bench import BenchConfig, DdfBenchConfig, bench_conv, bench_ddf
from ..reports.bench_tables import bench_tables
from ..reports.tables import as_rich
from .options import Options, choose, default_folder


def main(argv: Sequence[str]) -> None:
    """Measure what the first argument names."""
    subject = argv[0] if argv and not argv[0].startswith("-") else "conv"
    rest = argv[1:] if list(argv[:1]) == [subject] else argv
    choose("benchmark", subject, {"conv": conv, "ddf": ddf})(rest)


def conv(argv: Sequence[str]) -> None:
    """Measure decoupled convolution, print the tables, and name the files written."""
    options = Options(
        "bench conv",
        "Measure decoupled convolution against nn.Conv2d; `decoupled bench ddf`: dynamic filters.",
        BenchConfig,
    )
    _bench("conv", "bench", options, bench_conv, argv)


def ddf(argv: Sequence[str]) -> None:
    """Measure decoupled dynamic filters, print the tables, and name the files written."""
    about = "Measure decoupled dynamic filters against the convolutions they stand in for."
    _bench("ddf", "bench-ddf", Options("bench ddf", about, DdfBenchConfig), bench_ddf, argv)


def _bench(
    subject: str, name: str, options: Options[Any], bench: Callable[..., Any], argv: Sequence[str]
) -> None:
    start = time.monotonic()
    options.add_flag("fresh", "Measure everything, also what the folder holds already.")
    given = options.parse(argv)
    config = options.build(given, argv)
    folder = Path(given.out) if given.out else default_folder(name, config)
    try:
        results, paths = bench(config, folder, fresh=given.fresh)
    except KeyboardInterrupt:
        words = [word for word in argv if word != "--fresh"]
        command = shlex.join(["decoupled", "bench", subject, *words])
        raise KeyboardInterrupt(f"What is done is kept in {folder}. Go on with: {command}") from None
    console = Console()
    for table in bench_tables(results.measured):
        console.print(as_rich(table))
    console.print(f"Done in {duration(time.monotonic() - start)}. Written:", highlight=False)
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
