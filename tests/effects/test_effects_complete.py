"""No option without a test of its effect."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from proofs import PROVEN

from decoupled_nets._options import owners
from decoupled_nets.cli.main import COMMANDS, main
from decoupled_nets.cli.options import Options

#: Commands as they are called, to their own options beside the fields of their configuration.
CALLS = {
    "train": [], "compare": [], "reproduce": ["cvpr2018-table2"], "data": [], "export": ["x"],
    "bench conv": [], "bench ddf": [],
    "attack": ["x"], "corrupt": ["x"], "distil": ["x"], "plot operators": [],
    "upsample": ["x", "y", "--weights", "z"], "plot filters": ["--checkpoint", "x"],
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


def test_every_field_has_a_test_of_its_effect(command):
    _, options = command
    fields = owners(options.config)
    missing = [name for name, owner in fields.items() if (owner.__name__, name) not in PROVEN]
    assert missing == [], f"of {options.config.__name__}: write a test with @proves"


def test_every_other_option_has_one(command):
    name, options = command
    fields = set(owners(options.config))
    own = {a.dest for a in options.parser._actions} - fields - set(EXCEPTIONS)
    assert [dest for dest in sorted(own) if (name, dest) not in PROVEN] == []


def test_every_command_is_asked():
    assert {name.split()[0] for name in CALLS} | WITHOUT == set(COMMANDS)


def test_what_is_proven_exists(command):
    """A field that is gone takes its tests along."""
    name, options = command
    fields = {(owner.__name__, field) for field, owner in owners(options.config).items()}
    known = fields | {(name, action.dest) for action in options.parser._actions}
    named = {first for first, _ in known}
    assert {key for key in PROVEN if key[0] in named} - known == set()
