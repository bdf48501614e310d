"""Names of options as the user types them: ``train_size`` in Python, ``--train-size`` on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable

_typed: set[str] = set()  # options of the command that runs; none in Python


def on_command_line(names: Iterable[str]) -> None:
    """From here on, texts name these options as a command line does; nothing is typed if there are none."""
    _typed.clear()
    _typed.update(names)


def spelled(text: str) -> str:
    """A message or note with its options as they are typed.

    Names without an underscore may be ordinary words: they count where a value follows.

    Example:
        >>> on_command_line(["split_seed", "width", "batch_norm"])
        >>> spelled("at random, by split_seed=0 (split_seed: another)")
        'at random, by --split-seed 0 (--split-seed: another)'
        >>> spelled("width = 0 received; needed: a width above 0")
        '--width 0 received; needed: a width above 0'
        >>> spelled("batch_norm = False received; needed: batch_norm = True")
        '--no-batch-norm received; needed: --batch-norm'
        >>> on_command_line([])
        >>> spelled("by split_seed=0")
        'by split_seed=0'
    """
    if not _typed:
        return text
    names = "|".join(sorted(map(re.escape, _typed), key=len, reverse=True))
    # Not in a path, an address or quotation marks: those are the user's own words.
    name = rf"(?<![\w/.\\'\"-])({names})(?![\w/.\\'\"-])"
    text = re.sub(rf"{name}( ?= ?)(True|False)?", _with_value, text)
    return re.sub(rf"{name}(?=: [^;]* now, )|{name}", _alone, text)


def _with_value(found: re.Match[str]) -> str:
    option, value = found[1].replace("_", "-"), found[3]
    if value is None:
        return f"--{option} "
    return f"--{option}" if value == "True" else f"--no-{option}"


def _alone(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    return f"--{name.replace('_', '-')}" if found[1] or "_" in name else name
