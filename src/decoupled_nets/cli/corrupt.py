"""``decoupled corrupt``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .._progress import duration
from ..evaluation.corrupt import corrupt
from ..evaluation.corrupt_config import CorruptConfig
from ..evaluation.corrupt_tables import lead, tables
from ..reports.tables import as_rich
from .options import Options, default_folder


def main(argv: Sequence[str]) -> None:
    """Have networks classify corrupted images, print how much is right, and name the files written."""
    start = time.monotonic()
    options = Options("corrupt", "Measure trained networks on corrupted test images.", CorruptConfig)
    options.parser.add_argument(
        "networks", nargs="*", type=str,
        help="Checkpoints, folders of runs, of comparisons or of save_pretrained, timm:NAME@FILE; the others"
        " are compared with the first.",
    )  # fmt: skip
    options.parser.add_argument(
        "--from", type=str | None,
        help="Folder of published corrupted images (fog.npy, ..., labels.npy), such as CIFAR-10-C's, to take"
        " in place of corrupting here; --data then has the images that they were made from.",
    )  # fmt: skip
    options.add_flag("restart", "Measure anew in place of what --out holds.")
    given = options.parse(argv)
    console = Console()
    config = options.build(given, argv)
    published = given["from"]
    named = any(word == "--data" or word.startswith("--data=") for word in options.spelled_out(argv))
    folder = Path(given.out) if given.out else _folder(given.networks, config, published)
    try:
        found, paths = corrupt(
            given.networks, config, folder, published=published, data_named=named, restart=given.restart
        )
    except KeyboardInterrupt:
        again = [word for word in argv if word != "--restart"]
        command = shlex.join(["decoupled", "corrupt", *again])
        raise KeyboardInterrupt(f"What is done is kept in {folder}. Go on with: {command}") from None
    for table in tables(found, intervals=False):
        console.print(as_rich(table))
    console.print(lead(found), highlight=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"{note[0].upper()}{note[1:]}.", highlight=False, soft_wrap=True)
    console.print(f"\nDone in {duration(time.monotonic() - start)}. Written:", highlight=False)
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _folder(networks: Sequence[str], config: CorruptConfig, published: str | None) -> Path:
    name = Path(networks[0]).resolve().name if networks else "none"
    return default_folder(f"corrupt-{name}", config, also=[*networks, published or ""])
