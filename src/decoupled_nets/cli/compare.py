"""``decoupled compare``: the main job."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .._progress import duration
from ..compare import CompareConfig, RunsFailedError, compare
from ..compare.config import ADDS
from ..experiment import Failure
from ..reports import format as fmt
from ..reports.summary import adversarial, attack_names, flattened, lead, summarise, tuned
from ..reports.tables import as_rich, tables
from ..reports.untrained import no_better, untrained_tables
from .options import Options, default_folder


def main(argv: Sequence[str]) -> None:
    """Compare operators, print the tables, and name the files written."""
    start = time.monotonic()
    options = Options("compare", "Train the same network with several operators.", CompareConfig)
    options.add_flag("restart", "Train anew in place of the comparison that --out holds.")
    options.parser.set_defaults({"jobs": 0})  # a call from Python stays in its process; a command need not
    given = options.parse(argv)
    config = options.build(given, argv)
    folder = Path(given.out) if given.out else default_folder("compare", config, but=ADDS)
    failures: list[Failure] = []
    try:
        results, paths = compare(config, folder, restart=given.restart)
    except RunsFailedError as failed:
        results, paths, failures = failed.results, failed.paths, failed.failures
    except KeyboardInterrupt:
        again = [word for word in argv if word != "--restart"]
        command = shlex.join(["decoupled", "compare", *again])
        raise KeyboardInterrupt(f"What is done is kept in {folder}. Go on with: {command}") from None
    console = Console()
    rows = summarise(results)
    for table in [*tables(rows), *untrained_tables(results)]:
        console.print(as_rich(table))
    if names := attack_names(rows):
        attacks = fmt.listed([fmt.attack(name) for name in names])
        console.print(
            f"{attacks[0].upper()}{attacks[1:]}, {fmt.threat(config.threat)}, {config.attack_images} images:"
            f" upper bounds, no claim of robustness; decoupled attack {folder} --suite standard says more.\n",
            highlight=False,
            soft_wrap=True,
        )
    console.print(lead(rows), highlight=False)
    for text in filter(
        None, (adversarial(results), flattened(results, rows), tuned(results), no_better(results))
    ):
        console.print(text, highlight=False)
    console.print(f"\nDone in {duration(time.monotonic() - start)}. Written:", highlight=False)
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    if failures:
        _say_failed(console, failures)
        raise SystemExit(1)


def _say_failed(console: Console, failures: Sequence[Failure]) -> None:
    """What failed, and where it says why; in lines, so that a path can be copied."""
    console.print(f"\n{len(failures)} failed; the same command tries again:", highlight=False)
    for one in failures:
        for text in (f"  {one.job.title}: {one.error}", f"    {one.log}"):
            console.print(text, highlight=False, soft_wrap=True, markup=False)
