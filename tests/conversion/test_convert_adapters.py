"""Adapters around layers, such as LoRA: left, and so is what they adapt."""

from __future__ import annotations

import pytest
from torch import nn

import decoupled_nets as dn


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8)
    )


def reasons(report) -> dict[str, str]:
    return {fate.name: fate.reason for fate in report.left}


class LowRank(nn.Module):
    """As peft puts an adapter around a layer."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.ModuleDict({"default": nn.Conv2d(8, 2, 3, stride=2, groups=1, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Conv2d(2, 8, 1, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


@pytest.mark.parametrize("select", [None, lambda name, module: True])
def test_adapters_and_what_they_adapt_are_left(select):
    model = network()
    model[3] = LowRank(model[3])
    report = dn.convert(model, select=select)
    assert [fate.name for fate in report.converted] == ["0"]
    assert reasons(report)["3.lora_A.default"] == "an adapter (test_convert_adapters)"
    assert (
        reasons(report)["3.base_layer"] == "has an adapter that is to be merged first (test_convert_adapters)"
    )


def test_adapters_of_peft():
    peft = pytest.importorskip("peft", reason="of no extra: the adapters above are made like its own")
    config = peft.LoraConfig(target_modules=["3"], r=2)
    model = network()
    model = peft.get_peft_model(model, config)
    report = dn.convert(model)
    assert [fate.name for fate in report.converted] == ["base_model.model.0"]
    assert {reason for name, reason in reasons(report).items() if "lora_A" in name} == {"an adapter (peft)"}
    assert report.notes == ()


def test_a_child_named_base_layer_need_not_be_a_layer():
    model = nn.Module()
    model.base_layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))  # timm's DLA
    model.level = nn.Conv2d(8, 8, 3)
    assert len(dn.convert(model).converted) == 2
