"""Configurations of parts, and their flat names."""

from dataclasses import dataclass, field

import pytest

from decoupled_nets._options import Flat, defaults, flat, owners
from decoupled_nets.compare import CompareConfig
from decoupled_nets.data import DataConfig
from decoupled_nets.training import MachineConfig, OptimConfig, TrainConfig


@dataclass(frozen=True)
class Inner:
    a: int = 1
    b: str = "x"


@dataclass(frozen=True)
class Outer(Flat):
    inner: Inner = field(default_factory=lambda: Inner(a=5))
    c: float = 2.0


def test_flat_and_back():
    config = Outer.of(a=3, c=4.0)
    assert config == Outer(Inner(3, "x"), 4.0)
    assert config.flat() == flat(config) == {"a": 3, "b": "x", "c": 4.0}
    assert Outer.of(**config.flat()) == config
    assert defaults(Outer) == {"a": 5, "b": "x", "c": 2.0}
    assert Outer.of() == Outer()
    with pytest.raises(TypeError, match="Outer has no option 'd'; known: a, b, c"):
        Outer.of(d=1)


@pytest.mark.parametrize("kind", [TrainConfig, CompareConfig])
def test_no_two_parts_have_a_field_of_one_name(kind):
    names = owners(kind)
    assert list(flat(kind())) == list(names)
    assert (names["lr"], names["seed"], names["train_size"]) == (OptimConfig, MachineConfig, DataConfig)
    assert names["task"] is kind
    parts = {owner for owner in names.values() if owner is not kind}
    own = len(kind.__dataclass_fields__) - len(parts)
    assert len(names) == own + sum(len(part.__dataclass_fields__) for part in parts)
