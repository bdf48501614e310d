"""The entry point: finds the command, and turns errors of the user's into one line."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence

from .. import __version__
from .._registry import unknown
from .._spelling import on_command_line, spelled

COMMANDS = {
    "compare": "train the same network with several operators and report how they differ",
    "train": "train one network",
    "reproduce": "make a table of the papers again, and judge what it is said to show",
    "attack": "attack trained networks, and check the attacks",
    "data": "say what a data set is: splits, classes, sizes, what is left out",
    "corrupt": "measure trained networks on corrupted images: noise, blur, weather, digital",
    "distil": "say which named operators a network's learned ones have become, and exchange them",
    "upsample": "make a small depth map as large as an image of the same scene",
    "export": "write a trained network as ONNX, torch.export program or compiled library",
    "plot": "draw operators, or (`plot filters`) the filters a network makes of an image",
    "doctor": "say what is installed and found",
    "bench": "measure decoupled convolution (`bench conv`) or dynamic filters (`bench ddf`) against plain",
}
HELP = """usage: decoupled COMMAND [options]

Decoupled convolutions: the magnitude and the angle of every patch, chosen or learned apart.

commands:
{commands}

`decoupled COMMAND --help` tells the options of a command; `decoupled --version` the version.
With --traceback an error shows where it was raised.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``decoupled``; returns the exit status: 0, 2 for an error of the user's, 130 for an interrupt."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that a terminal cannot show is no reason to stop
    if not argv or argv[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {c:{width}}  {about}" for c, about in COMMANDS.items())))
        return 0
    if argv[0] in ("-V", "--version"):
        print(__version__)
        return 0
    command, *rest = [word for word in argv if word != "--traceback"]
    if command not in COMMANDS:
        print(f"decoupled: {unknown('command', command, list(COMMANDS))}", file=sys.stderr)
        return 2
    try:
        return _run(command, rest, traceback="--traceback" in argv)
    finally:
        on_command_line([])


def _run(command: str, words: Sequence[str], *, traceback: bool) -> int:
    try:
        importlib.import_module(f"{__package__}.{command}").main(words)  # some take seconds to import
    except (ValueError, OSError) as error:
        if traceback:
            raise
        print(f"decoupled {command}: error: {spelled(str(error))}", file=sys.stderr)
        return 2
    except Exception as error:
        # pytorch-lightning's word for a device, strategy or precision that is not to be had.
        if type(error).__name__ != "MisconfigurationException" or traceback:
            raise
        print(f"decoupled {command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\ndecoupled {command}: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
