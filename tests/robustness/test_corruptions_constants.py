"""The corruptions' constants beside the published ones."""

from __future__ import annotations

import pytest
from corruption_formulas import BOTH, TABLE

from decoupled_nets.robustness.corruptions import corruption_named


@pytest.mark.parametrize("name", sorted(set(TABLE)))
@BOTH
def test_constants(name: str, constants: str) -> None:
    own = list(corruption_named(name).constants[constants])
    if name == "elastic_transform" and constants == "imagenet":
        own = [tuple(round(share * 224 / 244, 9) for share in one) for one in own]
    if name == "frost":
        own = [one[:2] for one in own]  # the third is the texture's
    assert own == TABLE[name][constants]
