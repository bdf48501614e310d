"""The grammar of error messages: what was received; needed: what is needed; what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import decoupled_nets

ROOT = Path(decoupled_nets.__file__).parent
#: Rooms whose messages still have the older form ("... received, ... needed").
OLDER: tuple[str, ...] = ()


def messages() -> Iterator[tuple[str, str]]:
    """Where an error is raised, and its text, with {} for what is filled in."""
    for path in sorted(ROOT.rglob("*.py")):
        where = path.relative_to(ROOT)
        if where.parts[0] in OLDER:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call) or not node.exc.args:
                continue
            if ast.unparse(node.exc.func) != "KeyboardInterrupt":
                yield f"{where}:{node.lineno}", text_of(node.exc.args[0])


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def faults(text: str) -> list[str]:
    """What a message does against the grammar."""
    found = []
    if re.search(r"\breceived\b", text) and "; needed: " not in text:
        found.append("'received' without '; needed: '")
    if re.search(r"\bneeded\b(?!: )|[^;] needed: |Needed", text):
        found.append("'needed' that does not follow '; ' and precede ': '")
    if re.search(r"expected.*\bgot\b|\. [A-Z]|\.$|^[A-Z][a-z]+ ", text):
        found.append("sentences; parts are separated by '; '")
    return found


def test_messages_have_one_grammar():
    every = dict(messages())
    assert len(every) > 150
    assert {where: (text, odd) for where, text in every.items() if (odd := faults(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "width = 0 received",
        "width = 0 received, a positive number needed",
        "width = 0 received: needed: a positive number",
        "a positive number expected, got 0",
        "width = 0 received; needed: a positive number. Use another",
    ],
)
def test_faults_are_found(text: str):
    assert faults(text)
    assert not faults("width = 0 received; needed: a positive number; --width sets it")
