"""No option without a test of its effect."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
from proofs import PROVEN

from decoupled_nets.cli.main import COMMANDS, main
from decoupled_nets.cli.options import Options

#: Commands as they are called, to their own options beside the fields of their configuration.
CALLS = {
    "train": [], "compare": [], "data": [], "export": ["x"], "bench conv": [], "bench ddf": [],
    "plot operators": [], "plot filters": ["--checkpoint", "x"],
}  # fmt: skip
#: What needs no test of its effect, and why.
EXCEPTIONS = {
    "help": "test_cli.py reads it",
    "print_config": "jsonargparse's own",
}
#: Commands without options of jsonargparse's: test_cli.py calls them.
WITHOUT = {"doctor"}


class Parsed(Exception):
    """Brings the options out before the command runs."""


@pytest.fixture(params=CALLS)
def command(request, monkeypatch):
    def stop(self, argv):
        raise Parsed(self)

    for path in Path(__file__).parent.glob("test_effects_*.py"):
        importlib.import_module(path.stem)
    monkeypatch.setattr(Options, "parse", stop)
    with pytest.raises(Parsed) as parsed:
        main([*request.param.split(), *CALLS[request.param]])
    return request.param, parsed.value.args[0]


def owner(config: type, field: str) -> str:
    """The first configuration, from the bottom, that has the field."""
    return next(c.__name__ for c in reversed(config.__mro__) if field in vars(c).get("__annotations__", {}))


def test_every_field_has_a_test_of_its_effect(command):
    _, options = command
    fields = [f.name for f in dataclasses.fields(options.config)]
    missing = [name for name in fields if (owner(options.config, name), name) not in PROVEN]
    assert missing == [], f"of {options.config.__name__}: write a test with @proves"


def test_every_other_option_has_one(command):
    name, options = command
    fields = {f.name for f in dataclasses.fields(options.config)}
    own = {a.dest for a in options.parser._actions} - fields - set(EXCEPTIONS)
    assert [dest for dest in sorted(own) if (name, dest) not in PROVEN] == []


def test_every_command_is_asked():
    assert {name.split()[0] for name in CALLS} | WITHOUT == set(COMMANDS)


def test_what_is_proven_exists(command):
    """A field that is gone takes its tests along."""
    name, options = command
    fields = {(owner(options.config, f.name), f.name) for f in dataclasses.fields(options.config)}
    known = fields | {(name, action.dest) for action in options.parser._actions}
    owners = {first for first, _ in known}
    base = {c.__name__ for c in options.config.__mro__}
    assert {key for key in PROVEN if key[0] in owners & ({name} | base)} - known == set()
