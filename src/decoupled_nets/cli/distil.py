"""``decoupled distil``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .._progress import duration
from ..evaluation.distil import distil_network
from ..evaluation.distil_config import DistilConfig
from ..reports.tables import Table, as_rich
from .options import Options, default_folder


def main(argv: Sequence[str]) -> None:
    """Say which operators a network has learned, what their exchange changes, and name the files written."""
    start = time.monotonic()
    options = Options(
        "distil", "Say which named operators a network's learned ones have become.", DistilConfig
    )
    options.parser.add_argument(
        "network", type=str,
        help="Checkpoint, or folder of a run or of save_pretrained, of a network trained with --operator"
        " power, spline-spline or another that is learned.",
    )  # fmt: skip
    options.add_flag("restart", "Begin anew in place of what --out holds.")
    given = options.parse(argv)
    console = Console()
    config = options.build(given, argv)  # imports the plugin, if the command line names one
    named = any(word == "--data" or word.startswith("--data=") for word in options.spelled_out(argv))
    folder = Path(given.out) if given.out else _folder(given.network, config)
    found, paths = distil_network(given.network, config, folder, data_named=named, restart=given.restart)
    head, *rows = found.report.rows
    console.print(as_rich(Table(found.report.title, head, rows)))
    for text in [*(f"{line}." for line in found.report.sentences), found.report.summary, found.accuracy]:
        console.print(text, highlight=False, soft_wrap=True, markup=False)
    console.print(
        "m is the layer's mean patch norm; R² is about the mean, weighted by the layer's own patches.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for note in found.notes:
        console.print(f"{note[0].upper()}{note[1:]}.", highlight=False, soft_wrap=True, markup=False)
    console.print(f"\nDone in {duration(time.monotonic() - start)}. Written:", highlight=False)
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _folder(network: str, config: DistilConfig) -> Path:
    path = Path(network).resolve()
    name = path.parent.name if path.is_file() else path.name
    return default_folder(f"distil-{name}", config, also=[network])
