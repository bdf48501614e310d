"""What of a learned operator stands behind ``+`` in its shorthand: ``spline-spline+monotone+groups=8``."""

from __future__ import annotations

from typing import Any

from .learned import CONSTRAINTS

#: Options with a number: how they are written, of what kind, and what they are.
_NUMBERS: dict[str, tuple[type, str]] = {"lipschitz": (float, "lipschitz"), "groups": (int, "channel_groups")}


def options_of(texts: list[str]) -> dict[str, Any]:
    """The arguments of an operator from its options.

    Raises:
        ValueError: one is unknown, has no number, or is there twice.

    Example:
        >>> options_of(["monotone", "groups=8"])
        {'constraints': ['monotone'], 'channel_groups': 8}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if text in CONSTRAINTS and text not in found.get("constraints", ()):
            found.setdefault("constraints", []).append(text)
            continue
        try:
            kind, argument = _NUMBERS[name if equals else ""]
            number = kind(value)
        except (KeyError, ValueError):
            argument = ""
        if not argument or argument in found:
            forms = ", ".join([*CONSTRAINTS, *(f"{name}=NUMBER" for name in _NUMBERS)])
            raise ValueError(f"operator option {text!r} received; needed: {forms}, each once, between '+'")
        found[argument] = number
    return found


def spelled(constraints: tuple[str, ...], lipschitz: float | None, groups: int) -> str:
    """What :func:`options_of` reads, each with ``+`` before it; what is usual is left out.

    Example:
        >>> spelled(("bounded", "monotone"), 2.0, 8)
        '+bounded+monotone+lipschitz=2.0+groups=8'
    """
    texts = list(constraints)
    texts += [] if lipschitz is None else [f"lipschitz={lipschitz!r}".replace("e+", "e")]
    texts += [] if groups == 1 else [f"groups={groups}"]
    return "".join(f"+{text}" for text in texts)
