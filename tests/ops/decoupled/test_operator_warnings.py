"""Constants that an operator does not have."""

import pytest

import decoupled_nets as dn


def test_a_constant_that_is_ignored_warns() -> None:
    with pytest.warns(UserWarning, match=r"k = 0\.5 is ignored: the angle 'cos' has none"):
        dn.Operator("tanh", "cos", k=0.5)
    with pytest.warns(UserWarning, match=r"beta = 0\.5 is ignored: the magnitude 'tanh' has none"):
        dn.Operator("tanh", beta=0.5)
    dn.Operator("seg", "sigmoid", beta=0.25, k=0.5)
    dn.Operator("tanh", beta=1.0)
