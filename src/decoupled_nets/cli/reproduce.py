"""``decoupled reproduce``: a table of the papers, made again at the scale of this machine."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console

from .._options import defaults, owners
from .._progress import duration
from ..compare import CompareConfig, RunsFailedError
from ..compare.config import ADDS
from ..reports.tables import as_rich
from ..reproduce import Reproduction, Table, options_of, reproduce, reproduce_untrained, table
from ..reproduce.metrics import UNTRAINED
from ..reproduce.page import write_page
from ..reproduce.shown import brief, figures, listing, reasons
from ..training import MachineConfig
from .options import Options, default_folder

_SCALE = defaults(CompareConfig)["scale"]
_SHOWN = "cvpr2018-table2"  # whose options --help has, where no table is named
_USAGE = f"TABLE, such as {_SHOWN}; decoupled reproduce --list names them all"


def main(argv: Sequence[str]) -> None:
    """Make the table, print it with the verdicts, and name the files written."""
    start = time.monotonic()
    if argv and argv[0] == "--list":
        for line in listing():
            Console().print(line, highlight=False, soft_wrap=True, markup=False)
        return
    if argv and argv[0] in ("-h", "--help"):
        argv = [_SHOWN, *argv]
    if not argv or argv[0].startswith("-"):
        raise ValueError(f"no table received; needed: {_USAGE}")
    name, words = argv[0], argv[1:]
    own = table(name)
    # The name means the size of the experiment here, and not that of depth maps, which a table has fixed.
    fixed = {"scale": options_of(own, _word(words, "--scale") or own.first_scale).pop("scale", _SCALE)}
    options = Options(
        "reproduce TABLE",
        f"Make a table of a paper again: {_USAGE}. Defaults are those of {name}.",
        CompareConfig,
        without=fixed,
    )
    parser = options.parser
    scales = ", ".join(own.scales)
    parser.add_argument(
        "--scale", type=str, default=own.first_scale, help=f"Size of the experiment: {scales}."
    )
    parser.add_argument("--cells", type=str, default="", help="Cells of the table; by default the scale's.")
    options.add_flag("restart", "Train anew in place of what --out holds.")
    scale = _word(options.spelled_out(words), "--scale") or own.first_scale
    parser.set_defaults(
        {"jobs": 0, **{name: value for name, value in options_of(own, scale).items() if name not in fixed}}
    )
    given = options.parse(words)
    if given.scale != scale:
        raise ValueError(f"scale = {given.scale} received from a file; needed: --scale on the command line")
    config = options.build(given, words)
    if own.measured in UNTRAINED:
        _check_untrained(own, config, options.build(options.parse([]), []))
    folder = (
        Path(given.out) if given.out else default_folder(f"{name}-{scale}", config, but=(*ADDS, "variants"))
    )
    console = Console()
    found = _made(own, scale, config, folder, given, argv)
    for one in [figures(found), *([brief(found)] if found.verdicts else [])]:
        console.print(as_rich(one))
    for line in reasons(found):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    paths = write_page(found, folder)
    console.print(f"\nDone in {duration(time.monotonic() - start)}. Written:", highlight=False)
    for path in paths:
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _made(
    own: Table, scale: str, config: CompareConfig, folder: Path, given: Namespace, argv: Sequence[str]
) -> Reproduction:
    if own.measured in UNTRAINED:
        return reproduce_untrained(own, scale, folder, cells=given.cells, machine=config.machine)
    try:
        return reproduce(own, scale, config, folder, cells=given.cells, restart=given.restart)
    except RunsFailedError as failed:
        for one in failed.failures:
            text = f"{one.job.title}: {one.error} ({one.log}); the same command tries again"
            Console().print(text, highlight=False, soft_wrap=True, markup=False)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        again = shlex.join(["decoupled", "reproduce", *(word for word in argv if word != "--restart")])
        raise KeyboardInterrupt(f"What is done is kept in {folder}. Go on with: {again}") from None


def _check_untrained(own: Table, config: CompareConfig, usual: CompareConfig) -> None:
    """Refuse options that a table without training has no use for."""
    kinds, before = owners(CompareConfig), usual.flat()
    for name, value in config.flat().items():
        if value != before[name] and kinds[name] is not MachineConfig:
            raise ValueError(
                f"{name} = {value} received for {own.name}; needed: the default, as nothing is trained for"
                " this table; cells=... and accelerator=... change it"
            )


def _word(words: Sequence[str], option: str) -> str | None:
    """The value of an option that has to be known before the others are parsed."""
    found = None
    for word, after in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == option:
            found = value if equals else after
    return found
