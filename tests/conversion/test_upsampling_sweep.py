"""torchvision's and smp's networks: the calls that are taken and left are those of the table in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import decoupled_nets as dn

pytest.importorskip("segmentation_models_pytorch")
from upsampling_networks import HEAD, NETWORKS, row

PAGE = Path(__file__).parents[2] / "docs" / "upsampling.md"


def leaves(model, example):
    """What it gives; of a detector the maps of its pyramid, as weights drawn at random find nothing."""
    if isinstance(example, list):
        model, example = model.backbone, torch.stack(example)
    with torch.no_grad():
        return [y for y in torch.utils._pytree.tree_leaves(model(example)) if isinstance(y, torch.Tensor)]


@pytest.mark.sweep
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_table(name):
    model, example = NETWORKS[name]()
    model.eval()
    before, keys = leaves(model, example), list(model.state_dict())
    report = dn.convert_upsampling(model, example)
    assert row(name, report) in PAGE.read_text()
    after = leaves(model, example)
    assert [y.shape for y in after] == [y.shape for y in before]
    if report.converted and all("nearest" in fate.was for fate in report.converted):
        for got, wanted in zip(after, before, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
    assert set(keys) <= set(model.state_dict())
    dn.revert(model)
    assert list(model.state_dict()) == keys
    assert all(torch.equal(a, b) for a, b in zip(leaves(model, example), before, strict=True))


def test_the_table_has_no_other_rows():
    text = PAGE.read_text()
    table = text[text.index(HEAD) + len(HEAD) :].lstrip().split("\n\n")[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()] == list(NETWORKS)
