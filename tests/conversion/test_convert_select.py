"""Which layers a selection takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import decoupled_nets as dn
from decoupled_nets.conversion.select import stage_of


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(4, 4, 5, padding=2, groups=4)
        self.downsample = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
        self.fc = nn.Linear(4, 4)


def network() -> nn.Module:
    return nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 4, (1, 7)),
            "layer1": nn.Sequential(Block()),
            "layer2": nn.Sequential(Block(), Block()),
            "head": nn.Linear(4, 10),
        }
    )


def names(select, **options) -> list[str]:
    return [fate.name for fate in dn.convert(network(), select=select, **options).converted]


EVERYTHING = dn.Select(kernel_size="any", shortcuts=True, depthwise=True, classifier=True)


@pytest.mark.parametrize(
    ("select", "taken"),
    [
        (None, ["stem", "layer1.0.conv2", "layer2.0.conv2", "layer2.1.conv2"]),
        (dn.Select(), ["stem", "layer1.0.conv2", "layer2.0.conv2", "layer2.1.conv2"]),
        ("layer2", ["layer2.0.conv2", "layer2.1.conv2"]),
        ("layer2.1.*", ["layer2.1.conv2"]),
        (["stem", "*.1.conv*"], ["stem", "layer2.1.conv2"]),
        (dn.Select(stages=1), ["layer1.0.conv2"]),
        (dn.Select(stages=(1, 2), names="*.0.*"), ["layer1.0.conv2", "layer2.0.conv2"]),
        (dn.Select(kernel_size=1, stages=1), ["layer1.0.conv1"]),
        (dn.Select(kernel_size=(1, 7)), ["stem"]),
        (dn.Select(kernel_size=[1, (1, 7)], stages=[1]), ["layer1.0.conv1"]),
        (dn.Select(kernel_size=5, depthwise=True, stages=1), ["layer1.0.depthwise"]),
        (dn.Select(shortcuts=True, stages=1), ["layer1.0.conv2", "layer1.0.downsample.0"]),
        (lambda name, module: name.endswith("0.depthwise"), ["layer1.0.depthwise", "layer2.0.depthwise"]),
        (lambda name, module: module.kernel_size == (1, 1) and "layer1" in name, ["layer1.0.conv1"]),
    ],
)
def test_selections(select, taken):
    assert names(select) == taken


def test_linear_layers_on_request():
    assert [n for n in names(None, linear=True) if "fc" in n or n == "head"] == [
        "layer1.0.fc",
        "layer2.0.fc",
        "layer2.1.fc",
    ]
    assert len(names(EVERYTHING, linear=True)) == 17
    assert len(names(EVERYTHING)) == 13


def test_reasons():
    report = dn.convert(network(), select="layer1", linear=True)
    reasons = {fate.name: fate.reason for fate in report.left}
    assert reasons["stem"] == "not among the names"
    assert reasons["layer1.0.conv1"] == "1×1"
    assert reasons["layer1.0.depthwise"] == "depth-wise"
    assert reasons["layer1.0.downsample.0"] == "on a shortcut"
    assert dn.convert(network(), select=dn.Select(stages=1)).left[-1].reason == "in another stage"
    assert {f.reason for f in dn.convert(network(), linear=True).left if f.name == "head"} == {
        "gives the outputs"
    }


def test_what_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'layer7' matches no module .*did you mean 'layer"):
        names("layer7")
    with pytest.raises(ValueError, match=r"stage 3 received, but it has \[1, 2\]"):
        names(dn.Select(stages=3))
    with pytest.raises(ValueError, match="no name in it has a number of a stage"):
        dn.convert(nn.Conv2d(3, 3, 3), select=dn.Select(stages=3))


@pytest.mark.parametrize(
    "select",
    [
        dn.Select(kernel_size=np.int64(5), depthwise=True, stages=np.int32(1)),
        dn.Select(kernel_size=[np.int16(5), (np.int64(9), 9)], depthwise=True, stages=np.array([1])),
        dn.Select(kernel_size=(np.int64(5), np.int64(5)), depthwise=True, stages=(np.int64(1),)),
    ],
)
def test_integers_of_numpy(select):
    assert names(select) == ["layer1.0.depthwise"]


@pytest.mark.parametrize(
    ("select", "error", "text"),
    [
        (
            dn.Select(kernel_size=4),
            ValueError,
            "kernel_size 4 received; needed: one of those it has, 1×1, 1×7, 3×3, 5×5",
        ),
        (
            dn.Select(kernel_size=[4, (7, 1)]),
            ValueError,
            "received; needed: one of those it has, 1×1, 1×7, 3×3, 5×5",
        ),
        ("head", ValueError, "no convolution in 'head'; linear=True takes linear layers, too"),
        (["*.fc", "head"], ValueError, r"no convolution in '\*\.fc', 'head'"),
        (dn.Select(kernel_size="all"), TypeError, "kernel_size = 'all' received; needed: a whole number"),
        (dn.Select(kernel_size=3.0), TypeError, "kernel_size = 3.0 received; needed: a whole number"),
        (dn.Select(stages="3"), TypeError, "stages = '3' received; needed: a whole number"),
    ],
)
def test_slips_are_errors(select, error, text):
    with pytest.raises(error, match=text):
        names(select)


def test_what_is_there_but_not_taken_is_no_slip():
    assert names("head", linear=True) == []
    assert names("layer1.0.downsample") == []
    assert names(dn.Select(kernel_size=5)) == []
    assert names(["stem", "head"]) == ["stem"]


def test_classifiers():
    squeeze = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 10, 1))
    report = dn.convert(squeeze, select=dn.Select(kernel_size="any"))
    assert [fate.reason for fate in report.left] == ["gives the outputs"]

    class Timm(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(4, 10, 3)
            self.last = nn.Conv2d(4, 10, 3)

        def get_classifier(self):
            return self.head

    assert [f.name for f in dn.convert(Timm()).converted] == ["last"]


def test_a_downsampling_between_stages_is_no_shortcut():
    stage = nn.Module()
    stage.downsample = nn.Sequential(nn.Conv2d(4, 8, 2, stride=2))
    stage.blocks = nn.Sequential(nn.Conv2d(8, 8, 3))
    assert [f.name for f in dn.convert(stage).converted] == ["downsample.0", "blocks.0"]


def test_a_shared_layer_is_selected_by_any_of_its_names():
    layer = nn.Conv2d(3, 3, 3)
    model = nn.ModuleDict({"a": layer, "b": layer})
    assert dn.convert(model, select="b").converted[0].names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("layer3.0.conv1", 3),
        ("stages.2.blocks.1.conv", 2),
        ("features.denseblock4.denselayer2.conv2", 4),
        ("s2.b1.conv2.conv", 2),
        ("trunk_output.block3.block3-0.f.b.0", 3),
        ("blocks.5.0.conv_dw", 5),
        ("stem.conv1", None),
        ("conv2", None),
    ],
)
def test_stages(name, stage):
    assert stage_of(name) == stage


def test_example_names_of_networks():
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    report = dn.convert(model, select=dn.Select(stages=4))
    assert len(report.converted) == 4
