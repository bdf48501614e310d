"""Results as lines of JSON, one each, so that a script that was stopped goes on with what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from decoupled_nets._files import write_text

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """The lines of a record, which is made if there is none; half a line of a killed process is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text or not path.exists():
        write_text(path, whole)
    return [json.loads(line) for line in whole.splitlines()]


def append(path: Path, line: Line) -> None:
    """Put a line at the end of a record."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def with_settings(lines: list[Line], settings: Line) -> list[Line]:
    """The lines that were measured with these settings."""
    return [line for line in lines if settings.items() <= line.items()]
