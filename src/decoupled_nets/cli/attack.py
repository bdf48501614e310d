"""``decoupled attack``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .._progress import duration
from ..evaluation.attack import attack
from ..evaluation.attack_config import AttackConfig
from ..evaluation.attack_tables import lead, short_tables, warnings
from ..evaluation.verify import verify
from ..reports.tables import Table, as_rich
from ..robustness.suites import suite_named
from .options import Options, default_folder


def main(argv: Sequence[str]) -> None:
    """Attack networks, print what stands, and name the files written."""
    start = time.monotonic()
    options = Options("attack", "Attack trained networks, and check the attacks.", AttackConfig)
    options.parser.add_argument(
        "networks", nargs="*", type=str,
        help="Checkpoints, folders of runs, of comparisons or of save_pretrained, timm:NAME@FILE.",
    )  # fmt: skip
    options.parser.add_argument(
        "--verify", type=str | None, help="Recount the attack in this folder, and do nothing else."
    )
    options.add_flag("restart", "Attack anew in place of what --out holds.")
    given = options.parse(argv)
    console = Console()
    config = options.build(given, argv)  # imports the plugin, if the command line names one
    if given.verify is not None:
        _verify(console, Path(given.verify))
        return
    named = any(word == "--data" or word.startswith("--data=") for word in options.spelled_out(argv))
    folder = Path(given.out) if given.out else _folder(given.networks, config)
    try:
        found, paths = attack(given.networks, config, folder, data_named=named, restart=given.restart)
    except KeyboardInterrupt:
        again = [word for word in argv if word != "--restart"]
        command = shlex.join(["decoupled", "attack", *again])
        raise KeyboardInterrupt(f"What is done is kept in {folder}. Go on with: {command}") from None
    console.print(f"Suite {config.suite}: {suite_named(config.suite).about}.\n", highlight=False)
    for table in short_tables(found):
        console.print(as_rich(table))
    console.print(lead(found), highlight=False, soft_wrap=True)
    for text in warnings(found):
        console.print(text, highlight=False, soft_wrap=True)
    console.print(f"\nDone in {duration(time.monotonic() - start)}. Written:", highlight=False)
    for path in [*paths, folder / "networks"]:
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _folder(networks: Sequence[str], config: AttackConfig) -> Path:
    name = Path(networks[0]).resolve().name if networks else "none"
    return default_folder(f"attack-{config.suite}-{name}", config, also=networks)


def _verify(console: Console, folder: Path) -> None:
    found = verify(folder)
    header = ["Network", "Images", "Right", "Stand", "Said", "Holds"]
    rows = [
        [one.label, str(one.images), str(one.clean), str(one.robust), f"{one.said[0]}, {one.said[1]}",
         "; ".join(one.faults) or "yes"]
        for one in found
    ]  # fmt: skip
    console.print(as_rich(Table(f"Recount of {folder}", header, rows)))
    if any(one.faults for one in found):
        raise SystemExit(1)
