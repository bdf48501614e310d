"""Which layers a conversion takes, as one text: what a command line can say."""

from __future__ import annotations

from typing import Any

from .select import Select

_FLAGS = ("shortcuts", "depthwise", "outputs")
FORM = (
    "globs of names (layer3.*), kernel_size=3 or =1x7 or =any, stages=3, and the words shortcuts, depthwise, "
    "outputs and linear, separated by commas"
)


def parse_select(text: str | None) -> dict[str, Any]:
    """The arguments `select` and `linear` of :func:`decoupled_nets.convert`.

    Args:
        text: entries separated by commas: a glob of names; ``kernel_size=`` and a number, two of them
            (``1x7``) or ``any``; ``stages=`` and a number; ``shortcuts``, ``depthwise``, ``outputs`` and
            ``linear``. Entries of one kind add up. None or "" takes the operator's default.

    Raises:
        ValueError: an entry is none of these.

    Example:
        >>> parse_select("layer3.*,stages=4,kernel_size=1x7,linear")
        {'select': Select(names=['layer3.*'], kernel_size=[(1, 7)], stages=[4], ...), 'linear': True}
        >>> parse_select(None)
        {'select': None, 'linear': False}
    """
    names: list[str] = []
    sizes: list[Any] = []
    stages: list[int] = []
    flags: set[str] = set()
    for entry in filter(None, (part.strip() for part in (text or "").split(","))):
        key, equals, value = entry.partition("=")
        if key in ("kernel_size", "kernel-size") and equals:
            sizes.append("any" if value == "any" else _size(value, entry))
        elif key == "stages" and equals:
            stages.append(_number(value, entry))
        elif equals:
            raise ValueError(f"select: {entry!r} received; needed: {FORM}")
        elif entry in (*_FLAGS, "linear"):
            flags.add(entry)
        else:
            names.append(entry)
    linear = "linear" in flags
    if not (names or sizes or stages or flags - {"linear"}):
        return {"select": None, "linear": linear}
    select = Select(
        names=names or None, kernel_size=sizes or None, stages=stages or None,
        **{flag: flag in flags for flag in _FLAGS},
    )  # fmt: skip
    return {"select": select, "linear": linear}


def _size(value: str, entry: str) -> int | tuple[int, ...]:
    numbers = [_number(part, entry) for part in value.replace("×", "x").split("x")]
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _number(value: str, entry: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"select: {entry!r} received; needed: {FORM}")
    return int(value)
