"""What torch knows of the ops, with and without kernels; kernels and Python know the same functions."""

from __future__ import annotations

import pytest
import torch

from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled import cpu, kernels, reference
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.register import SCHEMAS

ops = torch.ops.decoupled_nets


def test_every_op_has_its_schema_here():
    names = {name.partition("::")[2].partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    assert set(SCHEMAS) == {name for name in names if name.startswith(("patch_norm", "epilogue", "radial"))}


@pytest.mark.parametrize("name", SCHEMAS)
def test_shapes_are_known_always_and_code_only_where_there_are_kernels(name):
    own = torch._C._dispatch_has_kernel_for_dispatch_key
    assert own(f"decoupled_nets::{name}", "Meta")
    assert own(f"decoupled_nets::{name}", "CPU") == backend.status.loaded


@pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
def test_the_compiled_code_knows_the_functions_that_say_so():
    named = {name for name in magnitudes if magnitudes[name].kernel and magnitudes[name].learned is None}
    assert set(cpu.MAGNITUDES) == {*named, kernels.GIVEN}
    assert set(cpu.ANGLES) == {name for name in angles if angles[name].kernel}


def test_whatever_has_kernels_has_a_reference():
    assert {name for name in magnitudes if magnitudes[name].kernel} <= {*reference.H, *reference.LEARNED_H}
    assert {name for name in angles if angles[name].kernel} <= {*reference.G, *reference.LEARNED_G}
